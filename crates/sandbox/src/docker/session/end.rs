//! Why a session is no more, in a sentence.

use std::io;

use domain::error::{ErrorCode, Result};
use nix::sys::signal::Signal;

use crate::SessionEnd;
use crate::docker::daemon::End;

/// With these codes the agent ends by itself; the first two are its timer's and a lost stream's.
const BY_ITSELF: [i64; 2] = [0, 70];
/// It was told nonsense: somebody else read or wrote its input.
const NONSENSE: i64 = 71;
/// What an operation had started could not be killed.
const NOT_KILLED: i64 = 75;

/// What ended a session, or took it from us.
#[derive(Debug)]
pub(super) enum Cause {
    /// Its owner, or whoever held it, was done with it.
    Stopped,
    /// The executor goes down.
    Shutdown,
    /// Its time was over.
    Lifetime,
    /// The stream of its container ended or broke.
    Gone(Option<io::Error>),
    /// The agent is there and does not answer.
    Silent,
}

fn end(code: ErrorCode, message: impl Into<String>) -> SessionEnd {
    SessionEnd {
        code,
        message: message.into(),
    }
}

/// The ends that need no look at the container.
pub(super) fn of_cause(cause: &Cause) -> Option<SessionEnd> {
    Some(match cause {
        Cause::Stopped => end(ErrorCode::Cancelled, "the session was stopped"),
        Cause::Shutdown => end(
            ErrorCode::Unavailable,
            "the executor of the session shut down; the session is gone",
        ),
        Cause::Lifetime => end(
            ErrorCode::Timeout,
            "the session reached the end of its lifetime",
        ),
        Cause::Silent => end(
            ErrorCode::ToolFailed,
            "the session was ended: its agent did not answer any more; \
             something in the session stopped it",
        ),
        Cause::Gone(Some(error)) if error.kind() == io::ErrorKind::InvalidData => end(
            ErrorCode::ToolFailed,
            "the session was ended: something in it wrote into its agent's stream",
        ),
        Cause::Gone(_) => return None,
    })
}

/// The end of a session whose container ended by itself. `killed_before` says whether memory had run
/// out earlier: the daemon remembers that for as long as the container lives.
pub(super) fn of_container(
    ended: Result<End>,
    memory_bytes: u64,
    killed_before: bool,
) -> SessionEnd {
    let lost = |what: &str| {
        let message = format!("the session is gone: {what}");
        end(ErrorCode::Unavailable, message)
    };
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) => {
            tracing::warn!(%error, "how a session's container ended is not known");
            return lost("the Docker daemon cannot be reached");
        }
    };
    if ended.running {
        return lost("the connection to its container was lost");
    }
    let Some(code) = ended.exit_code else {
        return lost("its container was removed by somebody else");
    };
    if BY_ITSELF.contains(&code) {
        return lost("its container ended with the connection to it");
    }
    let signal = i32::try_from(code)
        .ok()
        .and_then(|code| code.checked_sub(128));
    let signal = signal.and_then(|number| Signal::try_from(number).ok());
    let failed = |what: String| {
        let message = format!("the session's container ended: {what}");
        end(ErrorCode::ToolFailed, message)
    };
    match (signal, code) {
        (Some(Signal::SIGKILL), _) if ended.oom_killed && !killed_before => end(
            ErrorCode::OutOfMemory,
            format!(
                "the session's container ended: it used more than its {memory_bytes} bytes of memory"
            ),
        ),
        (Some(signal), _) => failed(format!("{signal} was sent to its agent from within")),
        (None, NONSENSE) => failed("something in it read or wrote its agent's input".to_owned()),
        (None, NOT_KILLED) => {
            failed("what an operation had started could not be stopped".to_owned())
        }
        (None, code) => failed(format!("its agent ended with exit code {code}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(exit_code: i64, oom_killed: bool) -> Result<End> {
        Ok(End {
            running: false,
            exit_code: Some(exit_code),
            oom_killed,
            error: None,
        })
    }

    #[test]
    fn fault_02_23_the_end_of_a_container_is_told_and_not_guessed() {
        let of = |code, oom, before| of_container(ended(code, oom), 5, before);
        assert_eq!(of(137, true, false).code, ErrorCode::OutOfMemory);
        assert_eq!(of(137, false, false).code, ErrorCode::ToolFailed);
        assert!(of(137, false, false).message.contains("SIGKILL"));
        assert_eq!(of(137, true, true).code, ErrorCode::ToolFailed);
        assert_eq!(of(71, false, false).code, ErrorCode::ToolFailed);
        assert_eq!(of(0, false, false).code, ErrorCode::Unavailable);
        let running = End {
            running: true,
            exit_code: None,
            oom_killed: false,
            error: None,
        };
        let lost = of_container(Ok(running), 5, false);
        assert_eq!(lost.code, ErrorCode::Unavailable);
    }
}
