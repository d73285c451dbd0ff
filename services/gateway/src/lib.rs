//! The stateless MCP endpoint.

pub mod operations;
