//! Packages of npm and PyPI: real ones from the registries that this machine reaches, and hostile ones
//! from a registry of the tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed helper fails its test"
)]

mod ahead;
mod begins;
mod cache;
mod hostile;
mod hostile_wheels;
mod real;
mod rig;
mod server;
