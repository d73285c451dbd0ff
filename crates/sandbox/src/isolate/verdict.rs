//! What the end of a child means for the caller.

use std::os::unix::process::ExitStatusExt;

use domain::error::ErrorCode;
use domain::runner::Failure;
use nix::sys::signal::Signal;

use super::spawn::Ended;
use crate::verdict::failure;

/// What Rust's runtime writes before it aborts because memory was refused. Code in a sandbox cannot
/// write there.
const REFUSED_MEMORY: &str = "memory allocation of ";

/// A child that ended without a report.
pub(super) fn of_end(ended: &Ended, memory_bytes: u64, cpu_seconds: u64) -> Failure {
    let signal = ended.status.and_then(|status| status.signal());
    let signal = signal.and_then(|signal| Signal::try_from(signal).ok());
    match signal {
        Some(_) if ended.stderr.contains(REFUSED_MEMORY) => failure(
            ErrorCode::OutOfMemory,
            format!("the code used more than its memory limit of {memory_bytes} bytes"),
        ),
        Some(Signal::SIGXCPU) => failure(
            ErrorCode::Timeout,
            format!("the code used more than its {cpu_seconds} s of CPU time and was stopped"),
        ),
        Some(signal) => {
            tracing::warn!(%signal, stderr = ended.stderr, "a sandbox was killed");
            failure(
                ErrorCode::ToolFailed,
                format!("the sandbox was killed by {signal}, which the executor did not send"),
            )
        }
        None => {
            tracing::error!(%ended, "a sandbox ended without a report");
            failure(
                ErrorCode::ToolFailed,
                "the sandbox ended before the code returned",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::*;

    fn ended(raw: i32, stderr: &str) -> Failure {
        let status = Some(ExitStatus::from_raw(raw));
        of_end(
            &Ended {
                status,
                stderr: stderr.to_owned(),
            },
            5,
            7,
        )
    }

    #[test]
    fn out_of_memory_is_told_by_the_runtime_and_never_guessed_from_a_signal() {
        let refused = ended(6, "memory allocation of 12 bytes failed\n");
        assert_eq!(refused.code, ErrorCode::OutOfMemory);
        assert_eq!(ended(6, "").code, ErrorCode::ToolFailed);
        assert_eq!(ended(9, "").code, ErrorCode::ToolFailed);
        assert!(ended(9, "").message.contains("SIGKILL"));
        assert_eq!(ended(24, "").code, ErrorCode::Timeout);
        assert!(ended(24, "").message.contains("7 s of CPU"));
        assert_eq!(ended(0, "").code, ErrorCode::ToolFailed);
        assert_eq!(ended(101 << 8, "panicked").code, ErrorCode::ToolFailed);
    }
}
