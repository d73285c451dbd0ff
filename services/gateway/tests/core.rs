//! The gateway's core with fakes at its ports.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod core {
    pub(crate) mod rig;

    mod admin;
    mod arguments;
    mod audit;
    mod cache;
    mod catalogue;
    mod lifecycle;
    mod listing;
    mod locks;
    mod notifications;
    mod profile;
    mod refusals;
    mod rights;
    mod sandbox;
}
