//! The writers of metrics whose labels need a bound.

use std::time::Duration;

use http::{Method, StatusCode};

use super::{Metrics, ToolLabel};

impl Metrics {
    /// The label for a tool of this name: its own name for the first [`MAX_TOOL_LABELS`] names of
    /// this process, [`OTHER_TOOL`] after that.
    ///
    /// [`MAX_TOOL_LABELS`]: super::MAX_TOOL_LABELS
    /// [`OTHER_TOOL`]: super::OTHER_TOOL
    #[must_use]
    pub fn tool_label(&self, name: &str) -> ToolLabel {
        self.tool_labels.get(name)
    }

    /// Counts one execution of a tool. `status` is `ok` or the text of the error code, never text of
    /// a user.
    pub fn record_tool(&self, tool: &ToolLabel, status: &'static str) {
        self.tool_executions
            .with_label_values(&[tool.as_str(), status])
            .inc();
    }

    /// Records one HTTP request. `route` is the pattern that matched, never the path that was asked
    /// for; methods that HTTP does not define count as `OTHER`.
    pub fn record_request(
        &self,
        method: &Method,
        route: &'static str,
        status: StatusCode,
        took: Duration,
    ) {
        self.request_duration
            .with_label_values(&[method_label(method), route, status.as_str()])
            .observe(took.as_secs_f64());
    }
}

pub(crate) fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "TRACE" => "TRACE",
        "CONNECT" => "CONNECT",
        _ => "OTHER",
    }
}
