//! The system calls that a sandbox may make: an allow-list of our own. What is not on it answers
//! EPERM; what a C library or a runtime falls back from answers ENOSYS.

use std::sync::OnceLock;

use serde_json::Value;

/// The profile as it is kept, with reasons.
const SOURCE: &str = include_str!("seccomp/profile.json");

/// The profile as Docker takes it: one line of JSON.
pub(crate) fn profile() -> &'static str {
    static LINE: OnceLock<String> = OnceLock::new();
    LINE.get_or_init(|| {
        // Checked by a test; Docker would refuse what is no JSON.
        let parsed: Result<Value, _> = serde_json::from_str(SOURCE);
        parsed.map_or_else(|_| SOURCE.to_owned(), |value| value.to_string())
    })
}

#[cfg(test)]
mod tests;
