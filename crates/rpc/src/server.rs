//! The ports as services: every request's identity is checked before anything else, and the caller
//! is known from it alone.

mod answer;
mod audit;
mod callers;
mod catalog;
mod connection;
mod fleet;
mod health;
mod incoming;
mod keys;
mod policy;
mod runner;
mod serve;
mod sessions;
mod watch;

pub use self::incoming::Incoming;
pub use self::serve::{ServeError, Server};

/// How long the caller is still willing to wait, in milliseconds.
pub(crate) const BUDGET_HEADER: http::HeaderName =
    http::HeaderName::from_static("dynamic-mcp-budget-ms");
/// The id of the request from outside.
pub(crate) const REQUEST_ID_HEADER: http::HeaderName =
    http::HeaderName::from_static("x-request-id");
