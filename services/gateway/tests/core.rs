//! The gateway's core with fakes at its ports.

mod core {
    pub mod rig;

    mod admin;
    mod arguments;
    mod catalogue;
    mod lifecycle;
    mod listing;
    mod notifications;
    mod profile;
    mod refusals;
}
