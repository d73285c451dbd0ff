//! Sessions on the Docker engine, with an agent on Node.js and one on Python.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed helper fails its test"
)]

mod code;
mod commands;
mod ends;
mod files;
mod packages;
mod rig;
mod tree;
