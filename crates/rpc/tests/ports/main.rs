//! The ports over gRPC: against fakes, on every transport, with everything that can go wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, its setup too"
)]

mod catalog;
mod fleet;
mod health;
mod identity;
mod limits;
mod links;
mod mutual;
mod raw;
mod runner;
mod sessions;
mod setup;
mod silence;
mod unbounded;
