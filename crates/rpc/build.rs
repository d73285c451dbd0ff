//! Compiles the protocol without protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let root = "../../proto";
    let files = ["catalog", "runner", "fleet", "session", "audit", "keys"]
        .map(|service| format!("{root}/dynamic_mcp/v1/{service}.proto"));
    println!("cargo::rerun-if-changed={root}");
    let descriptors = protox::compile(files, [root])?;
    // The clients are ours (src/client/link.rs): a request is encoded once, hashed, signed and sent.
    tonic_prost_build::configure()
        .build_client(false)
        .compile_fds(descriptors)?;
    Ok(())
}
