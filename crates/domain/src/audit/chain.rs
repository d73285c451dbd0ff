//! The chain: each line carries the SHA-256 of the line before it.
//!
//! The hash is over the bytes of the line before without its line break, whatever that line is. The
//! last two members of a line are `seq`, its number in its segment, and `prev`, that hash in
//! hexadecimal. A segment begins with `seq` 1: where there is no line before it `prev` is
//! [`NOTHING`], and where the lines before it have no chain (the Node server wrote them) `prev` is
//! the hash of the last one all the same. Files that rotation has put aside hold the same chain:
//! the first line of a file carries the hash of the last line of the file before it.

use std::borrow::Cow;

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The hash that stands for no line: 32 zero bytes.
pub const NOTHING: [u8; 32] = [0; 32];

/// A place in the chain: what the next line has to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Number of the next line, from 1.
    pub seq: u64,
    /// SHA-256 of the line before it.
    pub prev: [u8; 32],
}

#[derive(Deserialize)]
struct Chained<'a> {
    seq: u64,
    #[serde(borrow)]
    prev: Cow<'a, str>,
}

impl Link {
    /// The first line of a log.
    pub const FIRST: Self = Self {
        seq: 1,
        prev: NOTHING,
    };

    /// The place after `line`, which has no line break: the next number when the line is part of a
    /// chain, the first of a new segment when it is not.
    #[must_use]
    pub fn after(line: &[u8]) -> Self {
        Self {
            seq: number_of(line).map_or(1, |seq| seq.saturating_add(1)),
            prev: Sha256::digest(line).into(),
        }
    }

    /// `prev` as the line has it: 64 hexadecimal digits.
    #[must_use]
    pub fn prev_hex(&self) -> String {
        hex::encode(self.prev)
    }
}

/// The place that a line says it has; `None` for a line without a chain.
#[must_use]
pub fn place_of(line: &[u8]) -> Option<Link> {
    let Chained { seq, prev } = serde_json::from_slice(line).ok()?;
    // Only as it is written: another case of a digit would be another line.
    let written = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let mut hash = NOTHING;
    let is_hash = prev.len() == 64 && prev.bytes().all(written);
    (is_hash && seq > 0 && hex::decode_to_slice(&*prev, &mut hash).is_ok())
        .then_some(Link { seq, prev: hash })
}

/// The number of a line in its segment; `None` for a line without a chain.
#[must_use]
pub fn number_of(line: &[u8]) -> Option<u64> {
    place_of(line).map(|place| place.seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_goes_on_and_a_log_without_one_begins_a_segment() {
        let line = format!(
            r#"{{"timestamp":"t","seq":41,"prev":"{}"}}"#,
            Link::FIRST.prev_hex()
        );
        let after = Link::after(line.as_bytes());
        assert_eq!(after.seq, 42);
        assert_eq!(after.prev_hex(), hex::encode(Sha256::digest(&line)));
        for old in [
            r#"{"timestamp":"t","action":"http.auth","result":"success"}"#,
            r#"{"seq":3,"prev":"no hash"}"#,
            r#"{"seq":-3,"prev":"0000000000000000000000000000000000000000000000000000000000000000"}"#,
            "not JSON",
        ] {
            let after = Link::after(old.as_bytes());
            assert_eq!(after.seq, 1, "{old}");
            assert_eq!(after.prev_hex(), hex::encode(Sha256::digest(old)), "{old}");
        }
    }
}
