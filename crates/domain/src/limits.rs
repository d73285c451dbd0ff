//! Limits: the fixed ones of the contract, and the typed ones that a call carries.

use std::time::Duration;

/// Longest title of a tool, in characters.
pub const TITLE_CHARS: usize = 120;
/// Longest description of a tool, in characters.
pub const DESCRIPTION_CHARS: usize = 4_000;
/// Longest code of a tool, in characters.
pub const CODE_CHARS: usize = 200_000;
/// Shortest and longest time of a call that a tool may ask for, in milliseconds.
pub const TIMEOUT_MS: std::ops::RangeInclusive<u32> = 1_000..=120_000;
/// The time of a call when the tool says nothing, in milliseconds.
pub const DEFAULT_TIMEOUT_MS: u32 = 30_000;
/// The image of a tool that names none.
pub const DEFAULT_IMAGE: &str = "node:lts-slim";
/// The image of Python code that names none, where every image is allowed.
pub const DEFAULT_PYTHON_IMAGE: &str = "python:3-slim";
/// Most dependencies a tool may name; configuration may allow fewer.
pub const DEPENDENCIES: usize = 64;
/// Most tags of a tool.
pub const TAGS: usize = 32;
/// Longest tag, in bytes.
pub const TAG_BYTES: usize = 64;
/// Most scopes a tool may require.
pub const REQUIRED_SCOPES: usize = 16;
/// Largest schema of a tool, in bytes of JSON.
pub const SCHEMA_BYTES: usize = 65_536;
/// Largest annotations of a tool, in bytes of JSON.
pub const ANNOTATIONS_BYTES: usize = 4_096;

/// What one call may use. The gateway fills it from the tool and its configuration, the executor
/// clamps it to its own ceiling (it trusts nobody's), the sandbox applies it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLimits {
    /// Wall time from the moment the executor takes the call, queueing not included.
    pub timeout: Duration,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// CPU, in thousandths of a core.
    pub cpu_millis: u32,
    /// Result, log and printed text together, in bytes.
    pub max_output_bytes: u64,
}

impl RunLimits {
    /// The smaller of each limit.
    #[must_use]
    pub fn clamp_to(self, ceiling: RunLimits) -> RunLimits {
        RunLimits {
            timeout: self.timeout.min(ceiling.timeout),
            memory_bytes: self.memory_bytes.min(ceiling.memory_bytes),
            cpu_millis: self.cpu_millis.min(ceiling.cpu_millis),
            max_output_bytes: self.max_output_bytes.min(ceiling.max_output_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clamping_never_raises_a_limit() {
        let asked = RunLimits {
            timeout: Duration::from_secs(9),
            memory_bytes: 10,
            cpu_millis: 500,
            max_output_bytes: 70,
        };
        let ceiling = RunLimits {
            timeout: Duration::from_secs(5),
            memory_bytes: 100,
            cpu_millis: 100,
            max_output_bytes: 700,
        };
        let got = asked.clamp_to(ceiling);
        assert_eq!(got.timeout, ceiling.timeout);
        assert_eq!(got.memory_bytes, 10);
        assert_eq!(got.cpu_millis, 100);
        assert_eq!(got.max_output_bytes, 70);
    }
}
