//! Fakes and builders for tests.

pub mod http;
pub mod mcp;
pub mod process;
