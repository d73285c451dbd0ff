//! Tools and every revision of them, kept and watched; and the directory of executors.
//!
//! [`Registry`] holds the rules and implements the ports [`domain::Catalog`] and
//! [`domain::fleet::Fleet`]; a [`Store`] holds the rows. [`SqliteStore`] is the one for a single
//! machine, [`PostgresStore`] the one that several registries share. Nothing here reads the environment or knows of gRPC: whoever composes the service opens
//! a store, lets the registry import what the Node server left
//! ([`Registry::import_node_store`], [`Registry::import_node_table`]), and serves it.

mod audit;
mod catalog;
pub mod declared;
mod feed;
mod fleet;
mod import;
mod internal;
mod keys;
mod registry;
pub mod service;
mod settings;
pub mod store;
mod unreadable;

pub use import::{ImportError, ImportReport, InvalidRecord, StorePaths};
pub use registry::Registry;
pub use settings::Settings;
pub use store::Store;
pub use store::postgres::{PostgresError, PostgresSettings, PostgresStore, SynchronousCommit};
pub use store::sqlite::{OpenError, SqliteStore};
