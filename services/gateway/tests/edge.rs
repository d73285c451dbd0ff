//! The edges, HTTP and stdio, against a core that is a fake: what a client sees on the wire.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod edge {
    mod fake;
    mod rig;
    mod server;

    mod front;
    mod header_rules;
    mod http_rules;
    mod keys;
    mod limits;
    mod listen;
    mod malformed;
    mod methods;
    mod rows;
    mod sockets;
    mod stdio;
    mod streams;
    mod tokens;
}
