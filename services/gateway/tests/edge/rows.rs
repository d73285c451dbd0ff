//! The rows of the threat tables 2.3 (HTTP, 29 to 39) and 2.4 (MCP, 40 to 53) that no other test of
//! the edges covers; docs/http.md says where each row is.

mod addresses;
mod ends;
mod heads;
mod messages;
mod slow;
mod tls;
