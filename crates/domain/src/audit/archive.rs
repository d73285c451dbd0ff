//! What the registry keeps of the gateways' audit logs: how far each log has come, for ever, and a
//! copy of its records to search in, bounded.
//!
//! A gateway's file stays the truth. The registry notes the head of each log, which is the number and
//! the hash of the last line that it was shown; lines that are cut off the end of a file, which show
//! in no chain, show against that.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::chain::{self, Link};
use crate::call::CallContext;
use crate::error::{Error, Result};
use crate::id::TenantId;

/// Most lines of one batch.
pub const MAX_BATCH_LINES: usize = 2_000;
/// Most bytes of the lines of one batch; one line alone may be longer.
pub const MAX_BATCH_BYTES: usize = 1 << 20;
/// Most records of one page.
pub const MAX_PAGE: u32 = 1_000;

/// Which log it is: the host that wrote it and a random part, made with the file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogName(String);

impl LogName {
    /// Parses `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
    ///
    /// # Errors
    /// `invalid_argument` naming the field `log`.
    pub fn parse(text: &str) -> Result<Self> {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let first = text.as_bytes().first();
        let good = text.len() <= 128
            && first.is_some_and(u8::is_ascii_alphanumeric)
            && text.bytes().all(inner);
        if good {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::invalid("log", "is not the name of an audit log")
            .with_limit("1-128 of A-Z a-z 0-9 . _ -, a letter or digit first"))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for LogName {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<LogName> for String {
    fn from(name: LogName) -> Self {
        name.0
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The end of a log: its last line. As text `SEQ:HASH`, the hash as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Head {
    /// Number of the line in its segment, from 1.
    pub seq: u64,
    /// SHA-256 of the line without its line break.
    pub hash: [u8; 32],
}

impl Head {
    /// The head of a log whose last line this is; `None` for a line without a chain.
    #[must_use]
    pub fn of(line: &[u8]) -> Option<Self> {
        Some(Self {
            seq: chain::number_of(line)?,
            hash: Sha256::digest(line).into(),
        })
    }

    /// What the line after it has to carry.
    #[must_use]
    pub fn next(&self) -> Link {
        Link {
            seq: self.seq.saturating_add(1),
            prev: self.hash,
        }
    }

    /// The hash as 64 hexadecimal digits.
    #[must_use]
    pub fn hash_hex(&self) -> String {
        hex::encode(self.hash)
    }
}

impl fmt::Display for Head {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.seq, self.hash_hex())
    }
}

impl FromStr for Head {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (seq, hash) = text.split_once(':')?;
            let mut bytes = [0; 32];
            hex::decode_to_slice(hash, &mut bytes).ok()?;
            Some(Self {
                seq: seq.parse().ok().filter(|seq| *seq > 0)?,
                hash: bytes,
            })
        };
        parse().ok_or_else(|| {
            Error::invalid("head", "is not a head of an audit log")
                .with_limit("SEQ:HASH with 64 hexadecimal digits")
        })
    }
}

/// Why a new segment of a log began at the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SegmentStart {
    /// The log was not known before.
    First,
    /// The chain itself begins again with number 1: the file was new, or held lines without a chain.
    Restart,
    /// Lines were rotated away before they were shipped; the segment says how many.
    Gap,
    /// The line does not carry the hash of the last one that was acknowledged, or that one is gone from
    /// the files: what the registry was shown before was changed or taken away.
    Mismatch,
}

impl SegmentStart {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::First, Self::Restart, Self::Gap, Self::Mismatch];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Restart => "restart",
            Self::Gap => "gap",
            Self::Mismatch => "mismatch",
        }
    }

    /// How a segment begins whose first line carries `link`, behind what was acknowledged, and how
    /// many lines were never shown. `lost`: the acknowledged line is nowhere in the files. `None`: it
    /// goes on with the segment that is there.
    #[must_use]
    pub fn of(acknowledged: Option<&Head>, link: &Link, lost: bool) -> Option<(Self, u64)> {
        let Some(head) = acknowledged else {
            return Some((Self::First, link.seq - 1));
        };
        let next = head.next();
        match link.seq {
            _ if *link == next => None,
            1 if !lost => Some((Self::Restart, 0)),
            seq if seq > next.seq => Some((Self::Gap, seq - next.seq)),
            _ => Some((Self::Mismatch, 0)),
        }
    }
}

/// One segment of a log as the registry knows it. It is never forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Which log.
    pub log: LogName,
    /// The segment's number within the log, from 1.
    pub number: u64,
    /// Why it began.
    pub start: SegmentStart,
    /// Number of its first line.
    pub first_seq: u64,
    /// Lines before it that were never shown.
    pub missing: u64,
    /// Its last line.
    pub head: Head,
    /// When its first line came.
    pub began_at: Timestamp,
    /// When its last line came.
    pub updated_at: Timestamp,
}

/// Lines that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Which log.
    pub log: LogName,
    /// The head that they follow as far as the sender knows; `None`: the registry holds nothing.
    pub after: Option<Head>,
    /// Whole lines without line breaks, oldest first; each is part of a chain.
    pub lines: Vec<String>,
    /// The line of `after` is nowhere in the sender's files.
    pub lost: bool,
}

/// Which records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// Not before this moment.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
    /// The actor's subject, exactly.
    pub actor: Option<String>,
    /// The action, exactly.
    pub action: Option<String>,
    /// The caller's tenant.
    pub tenant: Option<TenantId>,
    /// The target, exactly: a tool's name.
    pub target: Option<String>,
    /// `result` of the record, exactly.
    pub outcome: Option<String>,
    /// Only records that came before this one: [`Page::next`] of the page before.
    pub before: Option<u64>,
    /// Most records, 1 to [`MAX_PAGE`].
    pub limit: u32,
}

/// One record that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its number at the registry: later ones came later.
    pub id: u64,
    /// Its log.
    pub log: LogName,
    /// Its segment of the log.
    pub segment: u64,
    /// The line as it was written.
    pub line: String,
}

/// Records, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The records.
    pub records: Vec<Found>,
    /// [`Search::before`] of the next page; `None` on the last one.
    pub next: Option<u64>,
}

/// What the registry keeps of audit logs.
#[async_trait]
pub trait Archive: Send + Sync {
    /// The last line of a log that is kept for good; `None` when the log is not known. For services
    /// only.
    ///
    /// # Errors
    /// `permission_denied`, `unavailable`.
    async fn head(&self, context: &CallContext, log: &LogName) -> Result<Option<Head>>;

    /// Takes lines and answers with the head that the log has then, kept for good. When that is not
    /// the one after the lines, [`Batch::after`] was not the head and nothing was taken: somebody
    /// else ships the same log. For services only.
    ///
    /// # Errors
    /// `permission_denied`, `invalid_argument`, `unavailable`.
    async fn append(&self, context: &CallContext, batch: Batch) -> Result<Option<Head>>;

    /// Segments by log and number, at most [`MAX_PAGE`], those after `after`; of one log only when
    /// one is named. For services only.
    ///
    /// # Errors
    /// `permission_denied`, `unavailable`.
    async fn segments(
        &self,
        context: &CallContext,
        log: Option<&LogName>,
        after: Option<(LogName, u64)>,
    ) -> Result<Vec<Segment>>;

    /// Finds records. A caller from outside needs `mcp:admin` and sees its own tenant's only.
    ///
    /// # Errors
    /// `permission_denied`, `invalid_argument`, `unavailable`.
    async fn search(&self, context: &CallContext, search: Search) -> Result<Page>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_what_it_writes() {
        let head = Head {
            seq: 7,
            hash: [0xab; 32],
        };
        assert_eq!(head.to_string().parse::<Head>().unwrap(), head);
        for bad in ["", "7", "0:00", "7:xyz", "-1:ab", "7:abab"] {
            assert!(bad.parse::<Head>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_segment_begins_for_one_of_four_reasons() {
        let head = Head {
            seq: 7,
            hash: [1; 32],
        };
        let link = |seq, prev| Link { seq, prev };
        let of = |link: Link| SegmentStart::of(Some(&head), &link, false);
        assert_eq!(of(head.next()), None);
        assert_eq!(of(link(1, [9; 32])), Some((SegmentStart::Restart, 0)));
        assert_eq!(of(link(12, [9; 32])), Some((SegmentStart::Gap, 4)));
        assert_eq!(of(link(8, [9; 32])), Some((SegmentStart::Mismatch, 0)));
        assert_eq!(of(link(5, [9; 32])), Some((SegmentStart::Mismatch, 0)));
        let lost = |link: Link| SegmentStart::of(Some(&head), &link, true);
        assert_eq!(lost(head.next()), None);
        assert_eq!(lost(link(1, [0; 32])), Some((SegmentStart::Mismatch, 0)));
        assert_eq!(lost(link(12, [9; 32])), Some((SegmentStart::Gap, 4)));
        let first = SegmentStart::of(None, &link(3, [9; 32]), false);
        assert_eq!(first, Some((SegmentStart::First, 2)));
    }

    #[test]
    fn names_of_logs_are_names_of_files_and_hosts() {
        for good in ["a", "gateway-7f.example-0a1b", "9"] {
            assert_eq!(LogName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a/b", "a b", "ä", &"x".repeat(129)] {
            assert!(LogName::parse(bad).is_err(), "{bad}");
        }
    }
}
