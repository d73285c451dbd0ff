//! Writes that may be sent twice and happen once: the key that a caller gives a write, and the digest
//! by which the same request is told from another one with the same key.

use std::fmt;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::id::{CodeDigest, Revision};
use crate::name::ToolName;
use crate::tool::{ToolDraft, ToolPatch};

/// Names one write of one caller: 1-128 printable ASCII characters without space. Whoever sends the
/// same request with the same key again gets the answer of the first time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Longest key, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// Parses a key.
    ///
    /// # Errors
    /// `invalid_argument` naming the field `idempotencyKey`.
    pub fn parse(text: &str) -> Result<Self> {
        let fits = (1..=Self::MAX_BYTES).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid("idempotencyKey", "is no idempotency key")
                .with_limit("1-128 printable ASCII characters without space"))
        }
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// What a write asks for, as a SHA-256. What the product finds out by itself (lockfiles) is no part of
/// it: that may be another the second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestDigest([u8; 32]);

impl RequestDigest {
    /// Of a creation.
    ///
    /// # Errors
    /// `internal` when the draft cannot be written as JSON, which its types exclude.
    pub fn of_create(draft: &ToolDraft) -> Result<Self> {
        let code = CodeDigest::of(&draft.code);
        Self::of(&("create", draft.name.as_str(), &draft.spec, code.as_bytes()))
    }

    /// Of a change.
    ///
    /// # Errors
    /// As [`RequestDigest::of_create`].
    pub fn of_update(
        name: &ToolName,
        patch: &ToolPatch,
        expected: Option<Revision>,
    ) -> Result<Self> {
        Self::of(&("update", name.as_str(), patch, expected))
    }

    /// Of a deletion.
    ///
    /// # Errors
    /// As [`RequestDigest::of_create`].
    pub fn of_delete(name: &ToolName, expected: Option<Revision>) -> Result<Self> {
        Self::of(&("delete", name.as_str(), expected))
    }

    fn of(request: &impl Serialize) -> Result<Self> {
        let json = serde_json::to_vec(request).map_err(Error::internal)?;
        Ok(Self(Sha256::digest(json).into()))
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The refusal of a key that was used for another request.
#[must_use]
pub fn reused() -> Error {
    Error::invalid("idempotencyKey", "was used for another request").with_fix(
        "give each request a key of its own; send the same key only with the same request",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tool::Change;

    fn draft(text: &str) -> ToolDraft {
        ToolDraft {
            name: ToolName::parse("a.tool").unwrap(),
            spec: serde_json::from_str(text).unwrap(),
            code: "return 1".into(),
            lock: None,
        }
    }

    #[test]
    fn a_key_is_a_short_word() {
        for good in [
            "a",
            "0b6e5c5e-6f0e-4c41-9f0d-3b1a6a0f3b57",
            &"k".repeat(128),
        ] {
            assert_eq!(IdempotencyKey::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", " ", "a b", "ä", "a\n", "\0", &"k".repeat(129)] {
            let error = IdempotencyKey::parse(bad).unwrap_err();
            assert_eq!(error.field(), Some("idempotencyKey"), "{bad:?}");
        }
    }

    #[test]
    fn requests_that_differ_have_digests_that_differ() {
        let one = draft(r#"{"description":"one"}"#);
        let mut digests = vec![RequestDigest::of_create(&one).unwrap()];
        let mut other = one.clone();
        other.code = "return 2".into();
        digests.push(RequestDigest::of_create(&other).unwrap());
        let other = draft(r#"{"description":"two"}"#);
        digests.push(RequestDigest::of_create(&other).unwrap());
        let name = one.name.clone();
        let patch = |title| ToolPatch {
            title,
            ..ToolPatch::default()
        };
        let code = ToolPatch {
            code: Some(Arc::from("return 1")),
            ..ToolPatch::default()
        };
        for (patch, expected) in [
            (patch(Change::Keep), None),
            (patch(Change::Keep), Some(Revision(1))),
            (patch(Change::Clear), None),
            (patch(Change::Set("t".to_owned())), None),
            (code, None),
        ] {
            digests.push(RequestDigest::of_update(&name, &patch, expected).unwrap());
        }
        for expected in [None, Some(Revision(1))] {
            digests.push(RequestDigest::of_delete(&name, expected).unwrap());
        }
        let different: std::collections::HashSet<_> = digests.iter().collect();
        assert_eq!(different.len(), digests.len());
        assert_eq!(RequestDigest::of_create(&one).unwrap(), digests[0]);
    }
}
