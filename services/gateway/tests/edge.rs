//! The edges, HTTP and stdio, against a core that is a fake: what a client sees on the wire.

mod edge {
    pub mod fake;
    pub mod rig;

    mod front;
    mod listen;
    mod malformed;
    mod methods;
    mod sockets;
    mod stdio;
    mod streams;
}
