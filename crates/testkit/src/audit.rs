//! The audit log as a test reads it.

use std::path::{Path, PathBuf};

use domain::audit::Link;
use serde_json::Value;

/// Every record of the log at `path`, oldest first, rotated files included.
///
/// # Panics
/// When a line is no JSON, is torn, or does not carry the number and the hash that its place in the
/// chain asks for. The chain may begin anywhere: older files are rotated away.
#[must_use]
#[track_caller]
pub fn records(path: &Path) -> Vec<Value> {
    let aside = |number: u32| PathBuf::from(format!("{}.{number}", path.display()));
    let newest_first = (1..).map(aside).take_while(|path| path.exists());
    let mut files: Vec<PathBuf> = newest_first.collect();
    files.reverse();
    files.push(path.to_owned());
    let mut next: Option<Link> = None;
    let mut records = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(
            text.is_empty() || text.ends_with('\n'),
            "{} ends with a torn line",
            file.display()
        );
        for line in text.lines() {
            let record: Value = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{}: {error}: {line}", file.display()));
            if let (Some(link), Some(seq)) = (next, record.get("seq")) {
                assert_eq!(*seq, link.seq, "{line}");
                assert_eq!(record["prev"], link.prev_hex(), "{line}");
            }
            next = Some(Link::after(line.as_bytes()));
            records.push(record);
        }
    }
    records
}
