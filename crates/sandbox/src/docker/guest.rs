//! The guest agents, one for each language, and what they are handed.

use std::time::Duration;

use domain::error::{Error, Result};
use domain::runner::{Call, LogLevel};
use domain::tool::Runtime;
use serde::Serialize;
use serde_json::value::RawValue;

use super::pool::Key;
use crate::Job;
use crate::wire::{self, Nonce, ToChild};

/// The agent for Node.js: one script in several files. It is an argument of `node`, so that images
/// need nothing of ours and daemons may be anywhere.
const NODE: &str = concat!(
    include_str!("../../guest/1-kept.js"),
    include_str!("../../guest/2-frames.js"),
    include_str!("../../guest/3-printed.js"),
    include_str!("../../guest/4-end.js"),
    include_str!("../../guest/5-run.js"),
    include_str!("../../guest/6-realm.js"),
    include_str!("../../guest/7-ahead.js"),
    include_str!("../../guest/8-input.js"),
);

/// The agent for Python, for `python3` in the same way.
const PYTHON: &str = concat!(
    include_str!("../../guest/python/1-kept.py"),
    include_str!("../../guest/python/2-frames.py"),
    include_str!("../../guest/python/3-printed.py"),
    include_str!("../../guest/python/4-values.py"),
    include_str!("../../guest/python/5-end.py"),
    include_str!("../../guest/python/6-context.py"),
    include_str!("../../guest/python/7-run.py"),
    include_str!("../../guest/python/8-input.py"),
    include_str!("../../guest/python/9-again.py"),
    include_str!("../../guest/python/10-ahead.py"),
    include_str!("../../guest/python/11-same.py"),
    include_str!("../../guest/python/12-begin.py"),
);

/// Linux takes arguments up to 128 KiB each.
const _: () = assert!(NODE.len() < 100 << 10 && PYTHON.len() < 100 << 10);

/// How long after its deadline a call that nobody ends ends itself.
const MARGIN: Duration = Duration::from_secs(5);

/// Part of the memory that JavaScript's heap may fill, in percent. The rest is the runtime's own,
/// and what is outside of the heap.
const HEAP_PERCENT: u64 = 75;

/// Environment variables that the code sees, besides those of the profile.
const VISIBLE: [&str; 5] = ["PATH", "HOME", "TMPDIR", "LANG", "TZ"];

/// What the agent is told when it starts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Options<'a> {
    max_age_ms: u128,
    margin_ms: u128,
    memory_bytes: u64,
    env: Vec<&'a str>,
}

/// What describes a call besides its arguments and code.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    nonce: String,
    tool: &'a str,
    revision: Option<u64>,
    request_id: &'a str,
    /// Not a point in time: the daemon's machine may have another clock.
    left_ms: u128,
    max_output_bytes: u64,
    log_level: Option<LogLevel>,
    wants_progress: bool,
    client_capabilities: Option<&'a RawValue>,
    /// Whether the agent gets ready for another call after this one: see `docker/shared.rs`.
    shared: bool,
}

/// The program that runs the agent of a language: what an image has to have in its `PATH`.
pub(super) const fn program(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Node => "node",
        Runtime::Python => "python3",
    }
}

/// The program and its arguments in a container of this kind. `env` names the variables that the
/// profile sets.
pub(super) fn command(key: &Key, max_age: Duration, env: &[String]) -> Vec<String> {
    let own = env.iter().filter_map(|entry| entry.split('=').next());
    let options = Options {
        max_age_ms: max_age.as_millis(),
        margin_ms: MARGIN.as_millis(),
        memory_bytes: key.memory_bytes,
        env: own
            .filter(|name| *name != "NODE_OPTIONS")
            .chain(VISIBLE)
            .collect(),
    };
    let options = serde_json::to_string(&options).unwrap_or_default();
    let heap = (key.memory_bytes >> 20) * HEAP_PERCENT / 100;
    let limit = format!("--max-old-space-size={heap}");
    let arguments: &[&str] = match key.runtime {
        Runtime::Node => &[&limit, "-e", NODE],
        // Nothing of the environment, of the working directory or of a user's own packages changes what
        // the agent imports; it puts back what the code is to find. No bytecode is written.
        Runtime::Python => &["-I", "-B", "-c", PYTHON],
    };
    let all = [program(key.runtime)]
        .into_iter()
        .chain(arguments.iter().copied());
    all.map(ToOwned::to_owned).chain([options]).collect()
}

/// Whether a call can be handed over at all.
///
/// # Errors
/// `invalid_argument`: it is too large.
pub(super) fn check(call: &Call) -> Result<()> {
    // What describes a call is small, but for what the client declared.
    let capabilities = call.client_capabilities.as_ref();
    let head = 4_096 + call.tool.len() + capabilities.map_or(0, |raw| raw.get().len());
    if call.args.get().len() + call.code.len() + head >= wire::MAX_TO_CHILD {
        return Err(
            Error::invalid("args", "arguments and code together are too large")
                .with_limit(format!("{} bytes", wire::MAX_TO_CHILD)),
        );
    }
    Ok(())
}

/// The frame of a call: the length of the head, the head as JSON, the length of the arguments, the
/// arguments as JSON, the code.
///
/// # Errors
/// As [`check`].
pub(super) fn encode(job: &Job, nonce: &Nonce, shared: bool) -> Result<Vec<u8>> {
    let call = &job.call;
    let head = Head {
        nonce: uuid::Uuid::from_bytes(*nonce).simple().to_string(),
        tool: &call.tool,
        revision: call.revision.map(|revision| revision.0),
        request_id: job.request_id.as_str(),
        left_ms: job.time_left().as_millis(),
        max_output_bytes: call.limits.max_output_bytes,
        log_level: call.log_level,
        wants_progress: call.wants_progress,
        client_capabilities: call.client_capabilities.as_deref(),
        shared,
    };
    let head = serde_json::to_vec(&head).map_err(Error::internal)?;
    wire::encode_sized(&head, call.args.get(), &call.code).ok_or_else(|| {
        Error::invalid("args", "arguments and code together are too large")
            .with_limit(format!("{} bytes", wire::MAX_TO_CHILD))
    })
}

/// The frame that says that the call is cancelled.
pub(super) fn cancel() -> Vec<u8> {
    wire::encode_to_child(ToChild::Cancel, &[]).unwrap_or_default()
}
