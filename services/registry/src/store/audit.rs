//! What the archive of audit logs needs of a database.

use async_trait::async_trait;
use domain::Result;
use domain::audit::archive::{Head, LogName, Search, Segment, SegmentStart};
use jiff::Timestamp;

/// Most text of the lines of one page, in bytes; one line alone may be longer.
pub const MAX_PAGE_BYTES: i64 = 8 << 20;

/// How much of the copy is kept; the oldest records go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Most records.
    pub rows: u64,
    /// Most bytes of their lines.
    pub bytes: u64,
    /// Records that came before this moment go.
    pub since: Timestamp,
}

/// A record on its way into the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which of the parts of its batch it belongs to.
    pub part: usize,
    /// Its number in the chain.
    pub seq: u64,
    /// When it happened, in milliseconds since 1970.
    pub at: i64,
    /// Subject of the actor.
    pub actor: String,
    /// The caller's tenant.
    pub tenant: Option<String>,
    /// What.
    pub action: String,
    /// To what.
    pub target: Option<String>,
    /// How it ended.
    pub outcome: String,
    /// The line.
    pub line: String,
}

/// The lines of a batch that belong to one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Why a segment begins, number of its first line, and how many before it were never shown.
    /// `None`: the lines go on with the newest segment of the log.
    pub begins: Option<(SegmentStart, u64, u64)>,
    /// The last line.
    pub head: Head,
}

/// Checked lines on their way into the store.
#[derive(Debug, Clone)]
pub struct Append {
    /// Which log.
    pub log: LogName,
    /// The head that they follow.
    pub after: Option<Head>,
    /// Their segments, at least one; only the first may go on with what is there.
    pub parts: Vec<Part>,
    /// The records.
    pub rows: Vec<Row>,
    /// When they came.
    pub at: Timestamp,
}

impl Append {
    /// The numbers of the parts' segments, when the newest one of the log is `newest`; 0: none.
    pub(super) fn numbers(&self, newest: i64) -> Vec<i64> {
        let first = match self.parts.first() {
            Some(Part { begins: None, .. }) => newest,
            _ => newest + 1,
        };
        (first..).take(self.parts.len()).collect()
    }

    /// Bytes of the lines.
    pub(super) fn bytes(&self) -> i64 {
        let bytes: usize = self.rows.iter().map(|row| row.line.len()).sum();
        i64::try_from(bytes).unwrap_or(i64::MAX)
    }
}

/// One record of the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Its number.
    pub id: i64,
    /// Its log.
    pub log: String,
    /// Its segment.
    pub segment: i64,
    /// The line.
    pub line: String,
}

/// Keeps heads for ever and records for a while. Fails as a [`Store`](super::Store) does.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// The head of a log's newest segment.
    ///
    /// # Errors
    /// See the trait.
    async fn audit_head(&self, log: &LogName) -> Result<Option<Head>>;

    /// Adds lines when [`Append::after`] is the head of the log, and drops what is beyond `kept`.
    /// Answers with the head that the log has then. Made twice it is the same.
    ///
    /// # Errors
    /// See the trait.
    async fn append_audit(&self, append: Append, kept: Kept) -> Result<Option<Head>>;

    /// Segments by log and number, those after `after`.
    ///
    /// # Errors
    /// See the trait.
    async fn audit_segments(
        &self,
        log: Option<&LogName>,
        after: Option<(&LogName, u64)>,
        limit: u32,
    ) -> Result<Vec<Segment>>;

    /// Records, the newest first, at most [`Search::limit`] and [`MAX_PAGE_BYTES`], and whether
    /// there are more.
    ///
    /// # Errors
    /// See the trait.
    async fn search_audit(&self, search: &Search) -> Result<(Vec<Hit>, bool)>;
}

/// A segment as a row holds it.
pub(super) struct SegmentRow {
    pub(super) log: String,
    pub(super) number: i64,
    pub(super) start: String,
    pub(super) first_seq: i64,
    pub(super) missing: i64,
    pub(super) seq: i64,
    pub(super) hash: Vec<u8>,
    pub(super) began_at: i64,
    pub(super) updated_at: i64,
}

impl SegmentRow {
    pub(super) fn read(self) -> Result<Segment> {
        let start = SegmentStart::ALL
            .into_iter()
            .find(|start| start.as_str() == self.start)
            .ok_or_else(|| domain::Error::internal("a segment began for no known reason"))?;
        let moment = |millis| Timestamp::from_millisecond(millis).map_err(domain::Error::internal);
        Ok(Segment {
            log: LogName::parse(&self.log)?,
            number: self.number.unsigned_abs(),
            start,
            first_seq: self.first_seq.unsigned_abs(),
            missing: self.missing.unsigned_abs(),
            head: head(self.seq, &self.hash)?,
            began_at: moment(self.began_at)?,
            updated_at: moment(self.updated_at)?,
        })
    }
}

/// A head as a row holds it.
pub(super) fn head(seq: i64, hash: &[u8]) -> Result<Head> {
    let hash = <[u8; 32]>::try_from(hash).map_err(domain::Error::internal)?;
    Ok(Head {
        seq: seq.unsigned_abs(),
        hash,
    })
}

/// What the copy holds, as far as it says what has to go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    pub(super) rows: i64,
    pub(super) bytes: i64,
    /// When the oldest record came.
    pub(super) oldest: Option<i64>,
}

impl Totals {
    /// How many of the oldest records are looked at, once these were added: none while nothing has
    /// to go, else more than come, so that a smaller bound is reached in the end.
    pub(super) fn to_look_at(self, append: &Append, kept: &Kept) -> i64 {
        let added = i64::try_from(append.rows.len()).unwrap_or(i64::MAX);
        let over = self.rows + added > most(kept.rows)
            || self.bytes + append.bytes() > most(kept.bytes)
            || self
                .oldest
                .is_some_and(|oldest| oldest < kept.since.as_millisecond());
        if over { added + 4_000 } else { 0 }
    }
}

/// A bound of ours as a database's number.
pub(super) fn most(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
