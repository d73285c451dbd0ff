//! Rows of the store that cannot be read: named once each, however many followers come to them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use domain::CatalogVersion;

/// Rows that are remembered; beyond that they may be named again.
const REMEMBERED: usize = 4_096;

/// What was named already.
#[derive(Debug, Default)]
pub(crate) struct Unreadable {
    named: Mutex<HashMap<String, CatalogVersion>>,
}

impl Unreadable {
    /// Names a row in the log and in the audit, unless it was named at this version.
    pub(crate) fn name(&self, place: &str, version: CatalogVersion, reason: &str) {
        // A map that a panic left is as good as any: at worst a row is named twice.
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.get(place) == Some(&version) {
            return;
        }
        if named.len() >= REMEMBERED {
            named.clear();
        }
        named.insert(place.to_owned(), version);
        drop(named);
        tracing::warn!(
            target: "audit",
            action = "catalogue.row.skipped",
            // Not `target`: a line of the log has that already, the word after which it is sorted.
            tool = place,
            version = version.0,
            reason,
            "a stored tool cannot be read; it is left out, the others are served"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_row_is_named_once_for_each_version() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let unreadable = Unreadable::default();
            for (place, version) in [("t/a", 1), ("t/a", 1), ("t/b", 1), ("t/a", 2), ("t/a", 2)] {
                unreadable.name(place, CatalogVersion(version), "why");
            }
        });
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let named: Vec<(String, u64)> = log
            .lines()
            .map(|line| {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(event["target"], "audit");
                let fields = &event["fields"];
                assert_eq!(fields["action"], "catalogue.row.skipped");
                assert_eq!(fields["reason"], "why");
                let place = fields["tool"].as_str().unwrap().to_owned();
                (place, fields["version"].as_u64().unwrap())
            })
            .collect();
        let expected = [("t/a", 1), ("t/b", 1), ("t/a", 2)];
        assert_eq!(
            named,
            expected.map(|(place, version)| (place.to_owned(), version))
        );
    }
}
