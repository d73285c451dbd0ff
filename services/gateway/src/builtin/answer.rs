//! What a built-in answers.

use domain::{Error, ErrorCode, RawValue, Result};
use serde::Serialize;
use serde_json::value::to_raw_value;
use serde_json::{Map, Value};

use crate::error;
use crate::operations::ToolResult;
use crate::result::Settled;

/// What a built-in answers.
pub(crate) struct Answer {
    /// `None`: the structured content as text.
    text: Option<String>,
    structured: Box<RawValue>,
    /// How it is counted when it is an answer and no success.
    failed: Option<ErrorCode>,
    /// For the audit log's record of the end.
    facts: Vec<(&'static str, Value)>,
}

impl Answer {
    /// A value, and as text the same.
    ///
    /// # Errors
    /// `internal` when it cannot be written, which its type excludes.
    pub(super) fn of(value: &impl Serialize) -> Result<Self> {
        Ok(Self {
            text: None,
            structured: to_raw_value(value).map_err(Error::internal)?,
            failed: None,
            facts: Vec::new(),
        })
    }

    /// A value with a text of its own.
    ///
    /// # Errors
    /// As [`Answer::of`].
    pub(super) fn with_text(text: impl Into<String>, value: &impl Serialize) -> Result<Self> {
        Ok(Self {
            text: Some(text.into()),
            ..Self::of(value)?
        })
    }

    /// The same as the end of something that went wrong.
    pub(super) fn failed(mut self, code: ErrorCode) -> Self {
        self.failed = Some(code);
        self
    }

    /// Adds a fact for the audit log.
    pub(super) fn about(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.facts.push((key, value.into()));
        self
    }

    /// The facts for the audit log.
    pub(crate) fn take_facts(&mut self) -> Vec<(&'static str, Value)> {
        std::mem::take(&mut self.facts)
    }

    /// The result of the call.
    ///
    /// # Errors
    /// As [`Answer::of`].
    pub(crate) fn into_result(self) -> Result<Settled> {
        let text = self.text.as_deref().unwrap_or(self.structured.get());
        let content = error::text_block(text).map_err(Error::internal)?;
        let structured_content = Some(self.structured);
        let result = ToolResult {
            content,
            structured_content,
            is_error: self.failed.is_some(),
            meta: Map::new(),
        };
        Ok((result, self.failed))
    }
}
