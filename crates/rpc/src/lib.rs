//! gRPC: the only crate that speaks it.
//!
//! Each port of the domain has a client adapter ([`client`]) that turns method calls into signed
//! requests, and a server adapter ([`server`]) that turns requests whose identity was checked into
//! method calls. The generated code is private; errors cross by one table (`status`).
//!
//! [`Endpoint`] says where a service is: TCP, a Unix socket, or a [`pipe`] within the process.

pub mod client;
mod connect;
mod convert;
mod endpoint;
mod method;
mod pb;
mod pipe;
pub mod server;
mod status;
mod tls;

pub use endpoint::Endpoint;
pub use pipe::{PipeDialer, PipeListener, pipe};
pub use tls::{Certificates, Tls, service_uri};
