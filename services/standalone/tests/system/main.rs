//! The whole product as real processes, each scenario on every way of running it.
#![allow(missing_docs, reason = "a test binary has no public items")]

mod clients;
mod deployment;
mod lifecycle;
