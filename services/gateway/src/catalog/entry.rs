//! One tool of the snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::{RawValue, Result, ToolRecord};
use serde::Serialize;

use crate::json_text;
use crate::mcp::ParamHeader;

/// What a tool without `inputSchema` takes: the one property of the Node server's tools.
pub(crate) const ARGS_SCHEMA: &str = r#"{"type":"object","properties":{"args":{"type":"object","description":"Handed to the tool's code as `args`","default":{}}},"additionalProperties":false}"#;

/// A tool as the gateway keeps it: the record, and its element of `tools/list` ready to be sent.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Unique in this process: what compiled schemas are kept by.
    pub(crate) id: u64,
    /// The record, without code.
    pub(crate) record: ToolRecord,
    /// JSON object for `tools/list`, on one line.
    pub(crate) listing: Box<str>,
    /// Whether the product has taken the name for itself: kept, but never served.
    pub(crate) shadowed: bool,
    /// Arguments that travel in headers too.
    pub(crate) param_headers: Arc<[ParamHeader]>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listing<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    description: &'a str,
    input_schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_schema: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<&'a RawValue>,
}

impl Entry {
    /// Prepares a record.
    ///
    /// # Errors
    /// `internal` when it cannot be written as JSON, which its types exclude.
    pub(crate) fn new(record: ToolRecord) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let spec = &record.spec;
        let default: &RawValue =
            serde_json::from_str(ARGS_SCHEMA).map_err(domain::Error::internal)?;
        let listing = serde_json::value::to_raw_value(&Listing {
            name: record.name.as_str(),
            title: spec.title.as_deref(),
            description: &spec.description,
            input_schema: spec.input_schema.as_deref().unwrap_or(default),
            output_schema: spec.output_schema.as_deref(),
            annotations: spec.annotations.as_deref(),
        })
        .map_err(domain::Error::internal)?;
        Ok(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            listing: json_text::one_line(&listing).into(),
            shadowed: record.name.is_reserved(),
            param_headers: spec
                .input_schema
                .as_deref()
                .map(param_headers)
                .unwrap_or_default(),
            record,
        })
    }

    /// Whether it is listed and can be called, scopes aside.
    pub(crate) fn served(&self) -> bool {
        self.record.spec.enabled && !self.shadowed
    }

    /// Whether `tools/list` shows the same for both.
    pub(crate) fn lists_like(&self, other: &Entry) -> bool {
        self.served() == other.served()
            && self.listing == other.listing
            && self.record.spec.required_scopes == other.record.spec.required_scopes
    }
}

fn param_headers(schema: &RawValue) -> Arc<[ParamHeader]> {
    if !schema.get().contains("x-mcp-header") {
        return Arc::default();
    }
    // The registry has checked the schema, so it can be read.
    serde_json::from_str(schema.get())
        .map(|schema| ParamHeader::of_schema(&schema))
        .unwrap_or_default()
}
