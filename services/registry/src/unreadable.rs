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
            target = place,
            version = version.0,
            reason,
            "a stored tool cannot be read; it is left out, the others are served"
        );
    }
}
