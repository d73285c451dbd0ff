//! Writes with an idempotency key: what they were answered is kept beside what they changed, in the
//! same transaction, so that the same request gets the same answer and is made once.

use std::time::Duration;

use domain::idempotency::{IdempotencyKey, RequestDigest};
use domain::{
    CatalogVersion, CodeDigest, Error, Result, Revision, TenantId, ToolName, ToolRecord, ToolSpec,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Refusal, Verdict};

/// How long an answer is kept.
pub const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// Most answers that are kept of a tenant; the oldest go first.
pub const MOST_KEPT: u32 = 10_000;

/// A write that is made once, however often it is sent.
#[derive(Debug, Clone)]
pub struct Once {
    /// Whose write it is.
    pub tenant: TenantId,
    /// Subject of who sends it: the same key of another caller is another key.
    pub subject: String,
    /// The key.
    pub key: IdempotencyKey,
    /// What the request asks for.
    pub request: RequestDigest,
    /// Now.
    pub at: Timestamp,
}

impl Once {
    /// Answers from before this time (milliseconds since 1970) are no longer good.
    pub(super) fn oldest(&self) -> i64 {
        let kept = i64::try_from(KEPT_FOR.as_millis()).unwrap_or(i64::MAX);
        self.at.as_millisecond().saturating_sub(kept)
    }

    /// The subject as both databases hold it: text of Postgres has no NUL.
    pub(super) fn subject(&self) -> String {
        self.subject.replace('\0', "\u{fffd}")
    }

    /// What a kept answer means for this request.
    ///
    /// # Errors
    /// Refusals: `Reused` when it was the answer to another request.
    pub(super) fn answered(&self, request: &[u8], answer: &str) -> Verdict<Answer> {
        if request != self.request.as_bytes() {
            return Ok(Err(Refusal::Reused));
        }
        Answer::parse(answer).map(Ok)
    }
}

/// What a write was answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The revision that it made.
    Stored(Box<ToolRecord>),
    /// The version of the deletion.
    Deleted(CatalogVersion),
}

/// The same as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kept {
    #[serde(rename_all = "camelCase")]
    Stored {
        tenant: TenantId,
        name: ToolName,
        spec: Box<ToolSpec>,
        code_digest: Vec<u8>,
        code_size_bytes: u64,
        revision: Revision,
        version: CatalogVersion,
        created_at: i64,
        updated_at: i64,
    },
    Deleted {
        version: CatalogVersion,
    },
}

impl Answer {
    /// The answer as text.
    pub(super) fn text(&self) -> Result<String> {
        let kept = match self {
            Answer::Deleted(version) => Kept::Deleted { version: *version },
            Answer::Stored(record) => Kept::Stored {
                tenant: record.tenant.clone(),
                name: record.name.clone(),
                spec: Box::new(record.spec.clone()),
                code_digest: record.code_digest.as_bytes().to_vec(),
                code_size_bytes: record.code_size_bytes,
                revision: record.revision,
                version: record.version,
                created_at: record.created_at.as_millisecond(),
                updated_at: record.updated_at.as_millisecond(),
            },
        };
        serde_json::to_string(&kept).map_err(Error::internal)
    }

    fn parse(text: &str) -> Result<Self> {
        let time = |millis| Timestamp::from_millisecond(millis).map_err(Error::internal);
        Ok(match serde_json::from_str(text).map_err(Error::internal)? {
            Kept::Deleted { version } => Answer::Deleted(version),
            Kept::Stored {
                tenant,
                name,
                spec,
                code_digest,
                code_size_bytes,
                revision,
                version,
                created_at,
                updated_at,
            } => Answer::Stored(Box::new(ToolRecord {
                tenant,
                name,
                spec: *spec,
                code_digest: CodeDigest::from_bytes(&code_digest)?,
                code_size_bytes,
                revision,
                version,
                created_at: time(created_at)?,
                updated_at: time(updated_at)?,
            })),
        })
    }

    /// The record of a write that made a revision.
    ///
    /// # Errors
    /// `internal`: the digest of a request says what kind of write it was.
    pub(crate) fn record(self) -> Result<ToolRecord> {
        match self {
            Answer::Stored(record) => Ok(*record),
            Answer::Deleted(_) => Err(Error::internal("a deletion was kept for another write")),
        }
    }

    /// The version of a deletion.
    ///
    /// # Errors
    /// As [`Answer::record`].
    pub(crate) fn deletion(self) -> Result<CatalogVersion> {
        match self {
            Answer::Deleted(version) => Ok(version),
            Answer::Stored(_) => Err(Error::internal("another write was kept for a deletion")),
        }
    }
}

/// The answer of the first time, or why there is none for this request.
pub(super) fn again<T>(
    before: std::result::Result<Answer, Refusal>,
    read: fn(Answer) -> Result<T>,
) -> Verdict<T> {
    match before {
        Ok(answer) => read(answer).map(Ok),
        Err(refusal) => Ok(Err(refusal)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_it_was_kept() {
        let spec = r#"{"description":"é\u0000","image":"node:lts-slim","timeoutMs":30000,
            "dependencies":[],"enabled":true,"inputSchema":{"type":"object",  "x":1e400}}"#;
        let millis = |at| Timestamp::from_millisecond(at).unwrap();
        let record = ToolRecord {
            tenant: TenantId::default(),
            name: ToolName::parse("a.tool").unwrap(),
            spec: serde_json::from_str(spec).unwrap(),
            code_digest: CodeDigest::of("return 1"),
            code_size_bytes: 8,
            revision: Revision(7),
            version: CatalogVersion(1_700_000_000_123),
            created_at: millis(1_700_000_000_001),
            updated_at: millis(1_700_000_000_002),
        };
        for answer in [
            Answer::Stored(Box::new(record)),
            Answer::Deleted(CatalogVersion(9)),
        ] {
            let text = answer.text().unwrap();
            assert!(!text.contains('\0'), "{text}");
            assert_eq!(Answer::parse(&text).unwrap(), answer);
        }
    }
}
