//! gRPC: generated code, conversions, client and server adapters of the ports.
