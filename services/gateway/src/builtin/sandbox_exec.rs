//! `sandbox.exec`.

use std::fmt::Write as _;

use domain::session::{CommandResult, Exec};
use domain::{ErrorCode, Result, SessionId};
use serde::{Deserialize, Serialize};

use super::sandbox::{session_property, timeout_of, timeout_property};
use super::view::admin_property;
use super::{Answer, Definition, Hints, Invocation, Kind};
use crate::settings::Profile;

pub(super) const DEFINITION: Definition = Definition {
    kind: Kind::SandboxExec,
    name: "sandbox.exec",
    title: "Execute Shell Commands In Session",
    description: "Run one or more shell commands in an active sandbox session",
    input: concat!(
        r#"{"type":"object","properties":{"#,
        session_property!(),
        r#","commands":{"type":"array","minItems":1,"maxItems":20,
        "items":{"type":"string","minLength":1,"maxLength":65536},
        "description":"Run one after another by sh -c in /workspace, also when one fails"},"#,
        timeout_property!(),
        ",",
        admin_property!(),
        r#"},"required":["sessionId","commands"],"additionalProperties":false}"#
    ),
    output: r#"{"type":"object","properties":{
        "results":{"type":"array","items":{"type":"object","properties":{
        "exitCode":{"type":"integer"},
        "signal":{"type":"string","description":"What ended it, if a signal did"},
        "stdout":{"type":"string"},
        "stderr":{"type":"string"},
        "durationMs":{"type":"integer","minimum":0},
        "truncated":{"type":"boolean","description":"Whether output was dropped"},
        "stdoutBytes":{"type":"integer","description":"How much there was, when truncated"},
        "stderrBytes":{"type":"integer"},
        "timedOut":{"type":"boolean"},
        "outOfMemory":{"type":"boolean"}},
        "required":["exitCode","stdout","stderr","durationMs","truncated"],
        "additionalProperties":false}},
        "notRun":{"type":"integer",
        "description":"Commands that were not begun because the request's time was over"}},
        "required":["results"],"additionalProperties":false}"#,
    hints: Hints::DESTROYS,
    profile: Profile::Enterprise,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    session_id: String,
    commands: Vec<String>,
    timeout_ms: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Results<'a> {
    results: Vec<OneResult<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_run: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OneResult<'a> {
    exit_code: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<&'a str>,
    stdout: &'a str,
    stderr: &'a str,
    duration_ms: u128,
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stdout_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr_bytes: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    timed_out: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    out_of_memory: bool,
}

impl<'a> OneResult<'a> {
    fn of(result: &'a CommandResult) -> Self {
        Self {
            exit_code: result.exit_code,
            signal: result.signal.as_deref(),
            stdout: &result.stdout,
            stderr: &result.stderr,
            duration_ms: result.duration.as_millis(),
            truncated: result.truncated,
            stdout_bytes: result.truncated.then_some(result.stdout_bytes),
            stderr_bytes: result.truncated.then_some(result.stderr_bytes),
            timed_out: result.timed_out,
            out_of_memory: result.out_of_memory,
        }
    }
}

pub(super) async fn run(invocation: &Invocation<'_>) -> Result<Answer> {
    invocation.need_admin()?;
    let arguments: Arguments = invocation.parse()?;
    let id = SessionId::parse(&arguments.session_id)?;
    let timeout = timeout_of(invocation.gateway.settings(), arguments.timeout_ms);
    let exec = Exec {
        commands: arguments.commands.clone(),
        timeout,
    };
    let context = invocation.context_now();
    let running = invocation.gateway.sessions().exec(&context, &id, exec);
    let results = invocation.operated(running).await?;
    let not_run = arguments.commands.len().saturating_sub(results.len());
    let codes: Vec<i32> = results.iter().map(|result| result.exit_code).collect();
    let answer = Answer::with_text(
        text(&arguments.commands, &results, not_run),
        &Results {
            results: results.iter().map(OneResult::of).collect(),
            not_run: (not_run > 0).then_some(not_run),
        },
    )?
    .about("exitCodes", codes);
    // A command that fails has an exit code, and the call did what it was asked to.
    let killed = |wanted: fn(&CommandResult) -> bool| results.iter().any(wanted);
    Ok(if killed(|result| result.out_of_memory) {
        answer.failed(ErrorCode::OutOfMemory)
    } else if not_run > 0 || killed(|result| result.timed_out) {
        answer.failed(ErrorCode::Timeout)
    } else {
        answer
    })
}

/// Each command with what it wrote, as the Node server showed it, and how it ended when that was not
/// well.
fn text(commands: &[String], results: &[CommandResult], not_run: usize) -> String {
    let mut text = String::new();
    for (command, result) in commands.iter().zip(results) {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        let parts = [result.stdout.trim(), result.stderr.trim()];
        text.push_str("$ ");
        text.push_str(command);
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            text.push('\n');
            text.push_str(part);
        }
        let took = result.duration.as_millis();
        let end = if result.out_of_memory {
            "(killed: out of memory)".to_owned()
        } else if result.timed_out {
            format!("(killed: its time was over after {took} ms)")
        } else if let Some(signal) = &result.signal {
            format!("(ended by {signal})")
        } else if result.exit_code != 0 {
            format!("(exit code {})", result.exit_code)
        } else {
            String::new()
        };
        for note in [
            end.as_str(),
            if result.truncated {
                "...<truncated>"
            } else {
                ""
            },
        ] {
            if !note.is_empty() {
                text.push('\n');
                text.push_str(note);
            }
        }
    }
    if not_run > 0 && write!(text, "\n\n({not_run} not run: the request's time was over)").is_err()
    {
        // Writing into a String does not fail.
        text.push_str("\n\n(some not run)");
    }
    text
}
