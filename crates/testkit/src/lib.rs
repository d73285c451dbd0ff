//! Fakes and builders for tests: ports in memory, identities, and a link that can be broken.

pub mod audit;
mod build;
mod catalog;
mod fleet;
mod identity;
mod link;
mod runner;
mod sessions;

pub mod certificates;
pub mod conformance;
pub mod docker;
pub mod es256;
pub mod frames;
pub mod http;
pub mod issuer;
pub mod keys;
pub mod mcp;
pub mod otlp;
pub mod postgres;
pub mod pprof;
pub mod process;
pub mod receiver;
pub mod redis;
pub use build::{call, context, draft, outcome, raw, spec};
pub use catalog::FakeCatalog;
pub use fleet::FakeFleet;
pub use identity::Identity;
pub use link::Link;
pub use runner::{FakeRunner, Step};
pub use sessions::{FakeSessions, command_result};
