//! The stateless MCP endpoint.

pub mod mcp;
pub mod operations;
