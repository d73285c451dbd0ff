//! An answer as it is kept.

use std::time::Duration;

use domain::RawValue;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::operations::ToolResult;

/// `_meta` key of an answer that comes from the cache.
pub(super) const META_CACHE: &str = "dynamic-mcp/cache";

#[derive(Serialize)]
struct Written<'a> {
    made_at: i64,
    content: &'a RawValue,
    structured: Option<&'a RawValue>,
    meta: &'a Map<String, Value>,
}

/// A successful result, and when it was made.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    /// Milliseconds since 1970, by the clock of the gateway that kept it.
    made_at: i64,
    content: Box<RawValue>,
    structured: Option<Box<RawValue>>,
    meta: Map<String, Value>,
}

impl Answer {
    pub(super) fn encode(result: &ToolResult) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Written {
            made_at: Timestamp::now().as_millisecond(),
            content: &result.content,
            structured: result.structured_content.as_deref(),
            meta: &result.meta,
        })
    }

    pub(super) fn decode(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }

    /// How old it is; zero by a clock that is behind.
    pub(super) fn age(&self) -> Duration {
        let millis = Timestamp::now()
            .as_millisecond()
            .saturating_sub(self.made_at);
        Duration::from_millis(u64::try_from(millis).unwrap_or_default())
    }

    pub(super) fn into_result(self) -> ToolResult {
        ToolResult {
            content: self.content,
            structured_content: self.structured,
            is_error: false,
            meta: self.meta,
        }
    }
}
