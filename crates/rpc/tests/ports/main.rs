//! The ports over gRPC: against fakes, on every transport, with everything that can go wrong.

mod catalog;
mod fleet;
mod health;
mod identity;
mod limits;
mod links;
mod raw;
mod runner;
mod setup;
