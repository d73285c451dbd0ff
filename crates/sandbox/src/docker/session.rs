//! Sessions: a container that stays, with an agent in it that owns what runs there.
//!
//! One task per session holds the stream, also while nothing happens, so that the end of the container
//! is known at once. Operations come to it one after another. The agent is the program of
//! `guest/session`, on Node.js or on Python, whichever the image has; code runs in a process of its own
//! that holds the same guest agent as a call's.

mod actor;
mod commands;
mod end;
mod files;
mod handle;
mod line;
mod open;
mod packages;
mod run;

use std::time::Duration;

use domain::tool::Runtime;
use serde::Serialize;

use super::guest;
use super::pool::Key;
use super::profile::{Purpose, WORKSPACE};

/// The agent for Node.js.
const NODE: &str = concat!(
    include_str!("../../guest/session/1-wire.js"),
    include_str!("../../guest/session/2-processes.js"),
    include_str!("../../guest/session/3-pipes.js"),
    include_str!("../../guest/session/4-exec.js"),
    include_str!("../../guest/session/5-run.js"),
    include_str!("../../guest/session/6-files.js"),
    include_str!("../../guest/session/7-unpack.js"),
    include_str!("../../guest/session/8-main.js"),
);

/// The same for Python.
const PYTHON: &str = concat!(
    include_str!("../../guest/session/1-wire.py"),
    include_str!("../../guest/session/2-processes.py"),
    include_str!("../../guest/session/3-pipes.py"),
    include_str!("../../guest/session/4-exec.py"),
    include_str!("../../guest/session/5-run.py"),
    include_str!("../../guest/session/6-files.py"),
    include_str!("../../guest/session/7-unpack.py"),
    include_str!("../../guest/session/8-main.py"),
);

/// Linux takes arguments up to 128 KiB each.
const _: () = assert!(NODE.len() < 100 << 10 && PYTHON.len() < 100 << 10);

/// The heap of the agent for Node.js, in MiB: it holds a bounded piece of output or of a file.
const HEAP_MIB: u32 = 64;

/// Where programs of the session look for an additional authority.
const CA_VARIABLES: [&str; 8] = [
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NPM_CONFIG_CAFILE",
    "CARGO_HTTP_CAINFO",
];

/// What the agent is told when it starts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Options {
    workspace: &'static str,
    max_age_ms: u128,
    ca_variables: [&'static str; 8],
    /// How many of the arguments that follow are the program for Node.js; the rest is Python's.
    node: usize,
}

/// The program and its arguments: the agent, what it is told, and the programs that run code.
pub(super) fn command(key: &Key, max_age: Duration, env: &[String]) -> Vec<String> {
    let program = |runtime| {
        let key = Key {
            runtime,
            purpose: Purpose::Call,
            ..key.clone()
        };
        guest::command(&key, max_age, env)
    };
    let (node, python) = (program(Runtime::Node), program(Runtime::Python));
    let options = Options {
        workspace: WORKSPACE,
        max_age_ms: max_age.as_millis(),
        ca_variables: CA_VARIABLES,
        node: node.len(),
    };
    let options = serde_json::to_string(&options).unwrap_or_default();
    let heap = format!("--max-old-space-size={HEAP_MIB}");
    let agent: &[&str] = match key.runtime {
        Runtime::Node => &[&heap, "-e", NODE],
        Runtime::Python => &["-I", "-B", "-c", PYTHON],
    };
    let all = [guest::program(key.runtime)]
        .into_iter()
        .chain(agent.iter().copied());
    let all = all.map(ToOwned::to_owned).chain([options]);
    all.chain(node).chain(python).collect()
}

#[cfg(test)]
mod tests;
