//! What the end of a container means for the caller.

use domain::error::{ErrorCode, Result};
use domain::runner::Failure;
use nix::sys::signal::Signal;

use super::daemon::End;
use crate::verdict::failure;
use crate::wire::Spent;

/// What V8 writes before it gives up because its heap is full. Code can write the same: then it
/// lies about its own end only.
const HEAP_FULL: &str = "JavaScript heap out of memory";

/// How it ends a process then.
const GIVES_UP: [Signal; 3] = [Signal::SIGABRT, Signal::SIGTRAP, Signal::SIGILL];

/// The limits that are named to the caller.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Memory, in bytes.
    pub(super) memory_bytes: u64,
    /// Processes and threads.
    pub(super) pids: i64,
}

/// A container whose stream ended without a report. `stderr` is the last that it wrote there.
pub(super) fn of_end(end: Result<End>, stderr: &str, limits: Limits) -> Failure {
    let end = match end {
        Ok(end) => end,
        Err(error) => {
            tracing::warn!(%error, "how a sandbox ended is not known");
            return lost("the Docker daemon cannot be reached");
        }
    };
    if end.running {
        return lost("the connection to the sandbox was lost");
    }
    let Some(code) = end.exit_code else {
        return lost("the sandbox was removed by somebody else");
    };
    // Docker's init passes a signal on as 128 and its number.
    let signal = i32::try_from(code)
        .ok()
        .and_then(|code| code.checked_sub(128));
    let signal = signal.and_then(|number| Signal::try_from(number).ok());
    let heap_full = signal.is_some_and(|it| GIVES_UP.contains(&it)) && stderr.contains(HEAP_FULL);
    if end.oom_killed || heap_full {
        return out_of_memory(limits.memory_bytes);
    }
    match (signal, end.error) {
        (Some(signal), _) => failure(
            ErrorCode::ToolFailed,
            format!("the sandbox was killed by {signal}, which the executor did not send"),
        ),
        (None, Some(error)) => {
            tracing::error!(error, "the Docker daemon could not run a sandbox");
            lost("the Docker daemon could not run the sandbox")
        }
        (None, None) => failure(
            ErrorCode::ToolFailed,
            format!("the sandbox ended with exit code {code} before the code returned"),
        ),
    }
}

/// The code's own failure in the light of what the kernel did to the sandbox: what the code makes
/// of a child that was killed, or that it could not start, need not say why.
pub(super) fn explained(mut told: Failure, spent: Spent, limits: Limits) -> Failure {
    if told.code != ErrorCode::ToolFailed {
        return told;
    }
    if spent.oom_kills > 0 {
        return out_of_memory(limits.memory_bytes);
    }
    if spent.pids_refused > 0 {
        let text = format!(
            " (the sandbox has no more than {} processes and threads)",
            limits.pids
        );
        told.message.push_str(&text);
    }
    told
}

/// More text than any call needs.
pub(super) fn of_flood(bytes: u64) -> Failure {
    failure(
        ErrorCode::OutputTooLarge,
        format!("the code printed more than {bytes} bytes and was stopped"),
    )
}

/// The agent's frames are not what an agent sends.
pub(super) fn of_nonsense() -> Failure {
    failure(
        ErrorCode::ToolFailed,
        "the sandbox broke the rules of its output and was stopped",
    )
}

/// No container has read the call.
pub(super) fn no_sandbox() -> Failure {
    failure(
        ErrorCode::Unavailable,
        "no sandbox could be started; nothing has run",
    )
}

fn out_of_memory(bytes: u64) -> Failure {
    failure(
        ErrorCode::OutOfMemory,
        format!("the code used more than its memory limit of {bytes} bytes"),
    )
}

fn lost(what: &str) -> Failure {
    Failure {
        may_have_run: true,
        ..failure(
            ErrorCode::Unavailable,
            format!("{what}; the tool may have run"),
        )
    }
}

#[cfg(test)]
mod tests {
    use domain::error::Error;

    use super::*;

    const LIMITS: Limits = Limits {
        memory_bytes: 5,
        pids: 7,
    };

    fn end(exit_code: Option<i64>, oom_killed: bool) -> Result<End> {
        Ok(End {
            running: false,
            exit_code,
            oom_killed,
            error: None,
        })
    }

    #[test]
    fn fault_02_out_of_memory_is_told_by_the_daemon_and_never_guessed_from_137() {
        assert_eq!(
            of_end(end(Some(137), true), "", LIMITS).code,
            ErrorCode::OutOfMemory
        );
        let killed = of_end(end(Some(137), false), "", LIMITS);
        assert_eq!(killed.code, ErrorCode::ToolFailed);
        assert!(killed.message.contains("SIGKILL"), "{killed:?}");
        let full = format!("FATAL ERROR: Reached heap limit Allocation failed - {HEAP_FULL}\n");
        assert_eq!(
            of_end(end(Some(134), false), &full, LIMITS).code,
            ErrorCode::OutOfMemory
        );
        assert_eq!(
            of_end(end(Some(1), false), &full, LIMITS).code,
            ErrorCode::ToolFailed
        );
        let aborted = of_end(end(Some(134), false), "", LIMITS);
        assert!(aborted.message.contains("SIGABRT"), "15: {aborted:?}");
    }

    #[test]
    fn fault_31_an_end_without_an_exit_is_no_success() {
        let running = End {
            running: true,
            exit_code: None,
            oom_killed: false,
            error: None,
        };
        for end in [
            Ok(running),
            end(None, false),
            Err(Error::unavailable("Docker daemon")),
        ] {
            let failure = of_end(end, "", LIMITS);
            assert_eq!(failure.code, ErrorCode::Unavailable);
            assert!(failure.may_have_run && failure.message.contains("may have run"));
        }
        let zero = of_end(end(Some(0), false), "", LIMITS);
        assert_eq!(zero.code, ErrorCode::ToolFailed);
    }

    #[test]
    fn fault_03_what_the_kernel_did_to_a_child_is_told() {
        let threw = || failure(ErrorCode::ToolFailed, "it broke");
        let killed = Spent {
            oom_kills: 1,
            ..Spent::default()
        };
        assert_eq!(
            explained(threw(), killed, LIMITS).code,
            ErrorCode::OutOfMemory
        );
        let refused = Spent {
            pids_refused: 3,
            ..Spent::default()
        };
        assert!(
            explained(threw(), refused, LIMITS)
                .message
                .contains("7 processes")
        );
        assert_eq!(explained(threw(), Spent::default(), LIMITS), threw());
    }
}
