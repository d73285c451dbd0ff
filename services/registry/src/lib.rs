//! Tools and every revision of them, kept and watched; and the directory of executors.
//!
//! [`Registry`] holds the rules and implements the ports [`domain::Catalog`] and
//! [`domain::fleet::Fleet`]; a [`Store`] holds the rows. [`SqliteStore`] is the one for a single
//! machine. Nothing here reads the environment or knows of gRPC: whoever composes the service
//! opens a store and serves the registry.

mod catalog;
mod feed;
mod fleet;
mod registry;
mod settings;
pub mod store;

pub use registry::Registry;
pub use settings::Settings;
pub use store::Store;
pub use store::sqlite::{OpenError, SqliteStore};
