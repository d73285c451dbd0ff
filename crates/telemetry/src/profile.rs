//! Profiles of the running process, in the format of pprof.

mod cpu;
mod dump;
mod format;
mod heap;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use self::cpu::cpu;
pub use self::heap::heap;

/// Longest time of CPU that may be profiled at once.
pub const MAX_CPU_TIME: Duration = Duration::from_secs(60);
/// Longest time that allocations may be sampled at once: what leaks slowly takes a while to be seen.
pub const MAX_HEAP_TIME: Duration = Duration::from_secs(600);

/// Why there is no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// There can be one at a time, of either kind.
    #[error("another profile is being taken; try again when it is done")]
    Busy,
    /// The profiler did not start or its samples could not be read.
    #[error("the profiler does not work here: {0}")]
    Failed(String),
}

static RUNNING: AtomicBool = AtomicBool::new(false);

/// The right to take a profile.
struct Running;

impl Running {
    fn begin() -> Result<Self, ProfileError> {
        let free = RUNNING.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        free.map(|_| Self).map_err(|_| ProfileError::Busy)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.store(false, Ordering::Release);
    }
}

/// Nanoseconds, as the format counts time.
fn nanos(length: Duration) -> i64 {
    i64::try_from(length.as_nanos()).unwrap_or(i64::MAX)
}
