//! The Docker engine: the conformance suite of every engine, and what is its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed helper fails its test"
)]

mod abuse;
mod data;
mod ends;
mod faults_daemon;
mod faults_deadman;
mod faults_neighbours;
mod faults_sessions;
mod faults_state;
mod isolation;
mod lifecycle;
mod memory;
mod pool;
mod proxy;
mod python_page;
mod rig;
mod shared;
mod walls;

#[path = "../suite"]
mod suite {
    pub(crate) mod abuse;
    mod cases;
    pub(crate) mod contract;
    pub(crate) mod faults;
    pub(crate) mod javascript;
    pub(crate) mod python;
    pub(crate) mod run;
    pub(crate) mod spoken;
}

mod docker_conformance {
    use super::rig::subject as docker;
    use super::suite;

    crate::conformance!(docker, javascript);
}

mod python_conformance {
    use super::rig::python_subject as docker;
    use super::suite;

    crate::conformance!(docker, python);
}
