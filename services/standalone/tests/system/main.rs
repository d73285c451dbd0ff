//! The whole product as real processes, each scenario on every way of running it.
#![allow(missing_docs, reason = "a test binary has no public items")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail as tests do"
)]

mod audit;
mod between;
mod cache;
mod canaries;
mod clients;
mod compose;
mod concurrency;
mod contract;
mod crash;
mod declared;
mod deployment;
mod faults;
mod golden;
mod history;
mod keys;
mod leaks;
mod lifecycle;
mod limits;
mod malformed;
mod matrix;
mod packages;
mod pages;
mod pairs;
mod piped;
mod processes;
mod production;
mod replicas;
mod rolling;
mod scale;
mod services;
mod sessions;
mod start;
mod table;
mod telemetry;
mod tokens;
mod upgrade;
