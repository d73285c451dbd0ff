//! Bounds for labels that a user chooses.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::RwLock;

/// Distinct tool names that get a label of their own, per process.
pub const MAX_TOOL_LABELS: usize = 1_000;

/// The label of every tool beyond [`MAX_TOOL_LABELS`]. No tool can have this name by accident that
/// matters: a tool called `other` shares the series.
pub const OTHER_TOOL: &str = "other";

/// A tool name that may be used as a label. Get one from [`Metrics::tool_label`] when a revision is
/// loaded and keep it: a call then records without looking anything up.
///
/// [`Metrics::tool_label`]: super::Metrics::tool_label
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolLabel(Arc<str>);

impl ToolLabel {
    /// The label's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug)]
pub(super) struct ToolLabels {
    known: RwLock<HashSet<Arc<str>>>,
    other: Arc<str>,
}

impl Default for ToolLabels {
    fn default() -> Self {
        Self {
            known: RwLock::default(),
            other: Arc::from(OTHER_TOOL),
        }
    }
}

impl ToolLabels {
    pub(super) fn get(&self, name: &str) -> ToolLabel {
        {
            let known = self.known.read();
            if let Some(label) = known.get(name) {
                return ToolLabel(Arc::clone(label));
            }
            if known.len() >= MAX_TOOL_LABELS {
                return ToolLabel(Arc::clone(&self.other));
            }
        }
        let mut known = self.known.write();
        // Another thread may have added it, or filled the set, between the two locks.
        if let Some(label) = known.get(name) {
            return ToolLabel(Arc::clone(label));
        }
        if known.len() >= MAX_TOOL_LABELS {
            return ToolLabel(Arc::clone(&self.other));
        }
        let label: Arc<str> = Arc::from(name);
        known.insert(Arc::clone(&label));
        ToolLabel(label)
    }
}
