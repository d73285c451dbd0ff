//! The stateless MCP endpoint.

mod access;
mod admin;
mod arguments;
pub mod audit;
mod blocks;
mod builtin;
pub mod cache;
mod call;
mod catalog;
mod code;
mod cursor;
mod edge;
mod error;
mod fleet;
mod gateway;
mod guard;
mod health;
pub mod http;
mod json_text;
pub mod keys;
pub mod limits;
mod listing;
mod locks;
pub mod mcp;
pub mod operations;
pub mod placement;
mod record;
mod resources;
mod result;
mod running;
mod schemas;
pub mod service;
pub mod settings;
pub mod stdio;

pub use gateway::Gateway;
