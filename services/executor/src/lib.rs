//! Runs calls in sandboxes: the [`Executor`] implements the port `Runner` on an engine.
//!
//! It trusts nobody's limits and nobody's decision: it authorises again, clamps again, and takes no
//! more calls at once than it has slots for.

pub mod doctor;
mod engine;
mod executor;
mod internal;
mod join;
pub mod service;
mod sessions;
mod slots;
mod stream;

pub use executor::{Executor, ExecutorStatus, Settings};
pub use join::{Membership, Stop, join};
pub use sessions::SessionSettings;
