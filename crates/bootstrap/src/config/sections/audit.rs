//! The audit log.

use std::path::PathBuf;

use crate::config::choice::choice;
use crate::config::key::{Key, Kind};
use crate::config::section::section;
use crate::units::ByteSize;

choice! {
    /// What happens to a call that cannot be recorded.
    pub enum AuditOnFailure {
        /// It is refused.
        Deny = "deny",
        /// It runs without a record, which is counted. Privileged operations are refused all the same.
        Allow = "allow",
    }
}

section! {
    /// The audit log.
    pub struct AuditConfig for PUBLIC {
        /// Whether calls and changes are recorded.
        pub enabled: Option<bool> = Key::kept("MCP_AUDIT_ENABLED", "audit.enabled")
            .kind(Kind::Bool).default_note("true for profile enterprise, else false");
        /// The file; its directory is made.
        pub file: PathBuf = Key::kept("MCP_AUDIT_FILE", "audit.filePath")
            .aliases(&["AUDIT_LOG_FILE"]).kind(Kind::Path).default(".dynamic-mcp/audit.log");
        /// Longest record; what is longer is cut and marked.
        pub max_event: ByteSize = Key::kept("MCP_AUDIT_MAX_EVENT_BYTES", "audit.maxEventBytes")
            .kind(Kind::Size(1_000, 1_000_000)).default("20000");
        /// Size at which a new file is begun.
        pub max_file: ByteSize = Key::kept("MCP_AUDIT_MAX_FILE_BYTES", "audit.maxFileBytes")
            .kind(Kind::Size(10_000, 1_000_000_000)).default("10000000");
        /// Full files that are kept besides the current one: `.1` is the newest.
        pub max_files: u32 = Key::kept("MCP_AUDIT_MAX_FILES", "audit.maxFiles")
            .kind(Kind::Integer(1, 100)).default("5");
        /// What happens to calls while records cannot be written.
        pub on_failure: AuditOnFailure = Key::added("MCP_AUDIT_ON_FAILURE", "audit.onFailure")
            .kind(Kind::Choice(AuditOnFailure::CHOICES)).default("deny");
    }
}

section! {
    /// What the registry keeps of the gateways' audit logs to search in, besides the heads that stay.
    pub struct AuditKeepConfig for CATALOG {
        /// Days that records are kept; older ones go when the next ones come.
        pub days: u32 = Key::added("MCP_AUDIT_KEEP_DAYS", "audit.keepDays")
            .kind(Kind::Integer(1, 36_500)).default("90");
        /// Records that are kept; the oldest go first.
        pub rows: u64 = Key::added("MCP_AUDIT_KEEP_ROWS", "audit.keepRows")
            .kind(Kind::Integer(1_000, 100_000_000)).default("1000000");
        /// Bytes of records that are kept; the oldest go first.
        pub bytes: ByteSize = Key::added("MCP_AUDIT_KEEP_BYTES", "audit.keepBytes")
            .kind(Kind::Size(1_000_000, 1_000_000_000_000)).default("1g");
    }
}
