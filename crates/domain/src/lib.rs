//! What dynamic-mcp is about, free of transport, storage and clocks.
//!
//! Everything else depends on this crate and this crate depends on nothing of ours. It holds the
//! identifiers, the tool record and its rules, the call and its events, the principal with the one
//! [`authorize`](principal::authorize) function, the closed list of [`ErrorCode`]s and the ports:
//! [`Catalog`] (what is this tool?) and [`Runner`] (run it) carry every call, [`Sessions`] those that
//! come back to the same sandbox.

pub mod audit;
pub mod call;
pub mod catalog;
pub mod data_mount;
pub mod dependency;
pub mod error;
pub mod fleet;
pub mod id;
pub mod idempotency;
pub mod image;
pub mod keys;
pub mod limits;
pub mod lockfile;
pub mod name;
pub mod principal;
pub mod runner;
pub mod schema;
pub mod session;
pub mod tool;
pub mod validate;

pub use call::{CallContext, TraceContext};
pub use catalog::{Catalog, CatalogChange, ChangeStream};
pub use data_mount::DataMount;
pub use error::{Error, ErrorCode, Result};
pub use id::{CallId, CatalogVersion, CodeDigest, RequestId, Revision, TenantId};
pub use idempotency::IdempotencyKey;
pub use lockfile::Lockfile;
pub use name::ToolName;
pub use principal::{Principal, Scope};
pub use runner::{Call, Outcome, Resolve, RunEvent, RunStream, Runner};
pub use session::{SessionId, Sessions};
pub use tool::{ToolDraft, ToolPatch, ToolRecord, ToolSpec};

pub use serde_json::value::RawValue;
