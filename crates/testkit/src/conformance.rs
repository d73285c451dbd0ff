//! What every implementation of a port has to do, whatever is behind it: run on the real service,
//! through gRPC, and on fakes.

pub mod catalog;
pub mod keys;
