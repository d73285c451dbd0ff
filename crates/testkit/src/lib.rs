//! Fakes and builders for tests.

pub mod conformance;
pub mod http;
pub mod keys;
pub mod mcp;
pub mod process;
