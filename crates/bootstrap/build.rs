//! Names the commit that a release is built from, for `--version`, `/health` and the metric.

#![allow(
    clippy::disallowed_methods,
    reason = "cargo speaks to a build script through its environment"
)]

use std::env;
use std::path::Path;

#[path = "build/git.rs"]
mod git;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-env-changed=DYNAMIC_MCP_COMMIT");
    // Who builds may know it better, where there is no repository: in an image, or from an archive.
    if env::var_os("DYNAMIC_MCP_COMMIT").is_some_and(|commit| !commit.is_empty()) {
        return;
    }
    // Everything else would be compiled again after each commit.
    if env::var("PROFILE").is_ok_and(|profile| profile != "release") {
        return;
    }
    let root = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    match git::commit("git", &Path::new(&root).join("../..")) {
        Ok(found) => {
            println!("cargo::rustc-env=DYNAMIC_MCP_COMMIT={}", found.commit);
            for path in found.watch {
                println!("cargo::rerun-if-changed={}", path.display());
            }
        }
        Err(why) => println!(
            "cargo::warning=the programs will not name their commit ({why}): set DYNAMIC_MCP_COMMIT"
        ),
    }
}
