//! What the end of a child means for the caller.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use domain::error::ErrorCode;
use domain::runner::Failure;
use nix::sys::signal::Signal;

use super::spawn::Ended;
use crate::verdict::failure;

/// What Rust's runtime writes before it aborts because memory was refused. Code in a sandbox cannot
/// write there.
const REFUSED_MEMORY: &str = "memory allocation of ";

/// The kill at the end of the call's CPU time.
pub(super) fn of_cpu(cpu: Duration) -> Failure {
    let millis = cpu.as_millis();
    failure(
        ErrorCode::Timeout,
        format!("the code used up its {millis} ms of CPU time and was stopped"),
    )
}

/// A child that ended without a report.
pub(super) fn of_end(ended: &Ended, memory_bytes: u64, cpu: Duration) -> Failure {
    let signal = ended.status.and_then(|status| status.signal());
    let signal = signal.and_then(|signal| Signal::try_from(signal).ok());
    // The kernel's own limit stands behind the engine's.
    let used = Duration::from_micros(ended.spent.map_or(0, |spent| spent.cpu_micros));
    let cpu_is_used = used >= cpu;
    if ended.went_on {
        tracing::error!("a sandbox closed its stream and went on");
        return failure(
            ErrorCode::ToolFailed,
            "the sandbox closed its stream and went on without it, and was stopped",
        );
    }
    match signal {
        Some(_) if ended.stderr.contains(REFUSED_MEMORY) => failure(
            ErrorCode::OutOfMemory,
            format!("the code used more than its memory limit of {memory_bytes} bytes"),
        ),
        // The kernel's way to end a process that has used up its CPU time.
        Some(Signal::SIGKILL | Signal::SIGXCPU) if cpu_is_used => of_cpu(cpu),
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
    use crate::wire::Spent;

    fn ended(raw: i32, stderr: &str, cpu_micros: u64) -> Failure {
        let ended = Ended {
            status: Some(ExitStatus::from_raw(raw)),
            stderr: stderr.to_owned(),
            spent: Some(Spent {
                cpu_micros,
                ..Spent::default()
            }),
            went_on: false,
        };
        of_end(&ended, 5, Duration::from_secs(7))
    }

    /// 2, 4: neither is guessed from a signal.
    #[test]
    fn fault_02_04_want_of_memory_and_of_time_are_told_by_accounts() {
        let refused = ended(6, "memory allocation of 12 bytes failed\n", 0);
        assert_eq!(refused.code, ErrorCode::OutOfMemory);
        assert_eq!(ended(6, "", 0).code, ErrorCode::ToolFailed);
        assert_eq!(ended(9, "", 6_900_000).code, ErrorCode::ToolFailed);
        assert_eq!(ended(24, "", 1_000).code, ErrorCode::ToolFailed);
        assert!(ended(9, "", 1).message.contains("SIGKILL"));
        let spent = ended(9, "", 7_100_000);
        assert_eq!(spent.code, ErrorCode::Timeout);
        assert!(spent.message.contains("7000 ms of CPU"));
        assert_eq!(ended(0, "", 9_000_000).code, ErrorCode::ToolFailed);
        assert_eq!(ended(101 << 8, "panicked", 0).code, ErrorCode::ToolFailed);
    }
}
