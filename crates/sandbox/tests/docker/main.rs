//! The Docker engine: the conformance suite of every engine, and what is its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed helper fails its test"
)]

mod abuse;
mod ends;
mod lifecycle;
mod rig;
mod walls;

#[path = "../suite"]
mod suite {
    mod cases;
    pub(crate) mod contract;
    pub(crate) mod faults;
    pub(crate) mod run;
}

mod docker_conformance {
    use super::rig::subject as docker;
    use super::suite;

    crate::conformance!(docker);
}
