//! The archive of audit logs.

use async_trait::async_trait;
use domain::Result;
use domain::audit::archive::{Head, LogName, Search, Segment};
use sqlx::postgres::{PgArguments, PgRow};

use super::super::audit::{
    Append, AuditStore, Hit, Kept, MAX_PAGE_BYTES, Row, SegmentRow, Totals, head, most,
};
use super::arguments::arguments;
use super::failure::Failure;
use super::link::Link;
use super::read::{column, int, one};
use super::write::Write;
use super::{PostgresStore, sql};

#[async_trait]
impl AuditStore for PostgresStore {
    async fn audit_head(&self, log: &LogName) -> Result<Option<Head>> {
        let arguments = arguments![log.as_str()];
        head_of(&one(self.link.read(sql::AUDIT_STATE, arguments).await?)?)
    }

    async fn append_audit(&self, append: Append, kept: Kept) -> Result<Option<Head>> {
        let (append, link) = (&append, &self.link);
        link.attempt(|| async move { once(link, append, &kept).await })
            .await
    }

    async fn audit_segments(
        &self,
        log: Option<&LogName>,
        after: Option<(&LogName, u64)>,
        limit: u32,
    ) -> Result<Vec<Segment>> {
        let arguments = arguments![
            log.map(LogName::as_str),
            after.map(|(log, _)| log.as_str()),
            after.map(|(_, number)| int(number)),
            i64::from(limit)
        ];
        let rows = self.link.read(sql::AUDIT_SEGMENTS, arguments).await?;
        let segment = |row: &PgRow| {
            let row = SegmentRow {
                log: column(row, "log")?,
                number: column(row, "number")?,
                start: column(row, "start")?,
                first_seq: column(row, "first_seq")?,
                missing: column(row, "missing")?,
                seq: column(row, "seq")?,
                hash: column(row, "hash")?,
                began_at: column(row, "began_at")?,
                updated_at: column(row, "updated_at")?,
            };
            row.read()
        };
        rows.iter().map(segment).collect()
    }

    async fn search_audit(&self, search: &Search) -> Result<(Vec<Hit>, bool)> {
        let plain =
            |text: &Option<String>| text.as_ref().map(|text| text.replace('\0', "\u{fffd}"));
        let arguments = arguments![
            search.since.map(|at| at.as_millisecond()),
            search.until.map(|at| at.as_millisecond()),
            plain(&search.actor),
            plain(&search.action),
            search.tenant.as_ref().map(|tenant| tenant.as_str()),
            plain(&search.target),
            plain(&search.outcome),
            search.before.map(int),
            i64::from(search.limit) + 1,
            MAX_PAGE_BYTES
        ];
        let rows = self.link.read(sql::SEARCH_AUDIT, arguments).await?;
        let hits: i64 = match rows.first() {
            Some(row) => column(row, "hits")?,
            None => 0,
        };
        let mut found = Vec::with_capacity(rows.len());
        for row in rows.iter().take(search.limit as usize) {
            found.push(Hit {
                id: column(row, "id")?,
                log: column(row, "log")?,
                segment: column(row, "segment")?,
                line: column(row, "line")?,
            });
        }
        let more = most(found.len() as u64) < hits;
        Ok((found, more))
    }
}

fn head_of(state: &PgRow) -> Result<Option<Head>> {
    let (seq, hash): (Option<i64>, Option<&[u8]>) = (column(state, "seq")?, column(state, "hash")?);
    match (seq, hash) {
        (Some(seq), Some(hash)) => head(seq, hash).map(Some),
        _ => Ok(None),
    }
}

/// Whether a commit was made that was not answered is seen the next time: the head is another one
/// then, and nothing is added twice.
async fn once(link: &Link, append: &Append, kept: &Kept) -> Result<Option<Head>, Failure> {
    let mut write = Write::begin(link, sql::LOCK_AUDIT).await?;
    let log = append.log.as_str();
    let state = one(write.rows(sql::AUDIT_STATE, arguments![log]).await?)?;
    let current = head_of(&state)?;
    if current != append.after {
        write.give_up().await;
        return Ok(current);
    }
    let numbers = append.numbers(column(&state, "number")?);
    let at = append.at.as_millisecond();
    for (part, number) in append.parts.iter().zip(&numbers) {
        let (seq, hash) = (int(part.head.seq), &part.head.hash[..]);
        let (statement, arguments) = match part.begins {
            Some((start, first, missing)) => {
                let (first, missing) = (int(first), int(missing));
                let start = start.as_str();
                let arguments = arguments![log, *number, start, first, missing, seq, hash, at];
                (sql::PUT_AUDIT_SEGMENT, arguments)
            }
            None => (
                sql::MOVE_AUDIT_HEAD,
                arguments![log, *number, seq, hash, at],
            ),
        };
        write.rows(statement, arguments).await?;
    }
    write
        .rows(sql::PUT_AUDIT_RECORDS, records(append, &numbers)?)
        .await?;
    let totals = Totals {
        rows: column(&state, "rows")?,
        bytes: column(&state, "bytes")?,
        oldest: column(&state, "oldest")?,
    };
    let counted = arguments![
        most(append.rows.len() as u64),
        append.bytes(),
        most(kept.rows),
        most(kept.bytes),
        kept.since.as_millisecond(),
        totals.to_look_at(append, kept)
    ];
    write.rows(sql::COUNT_AUDIT_RECORDS, counted).await?;
    write.commit_unasked().await?;
    Ok(append.parts.last().map(|part| part.head))
}

fn records(append: &Append, numbers: &[i64]) -> Result<PgArguments> {
    let rows = &append.rows;
    let number = |row: &Row| numbers.get(row.part).copied().unwrap_or_default();
    let all = |text: fn(&Row) -> &str| rows.iter().map(text).collect::<Vec<&str>>();
    let some = |text: fn(&Row) -> Option<&str>| rows.iter().map(text).collect::<Vec<_>>();
    Ok(arguments![
        append.at.as_millisecond(),
        append.log.as_str(),
        rows.iter().map(number).collect::<Vec<i64>>(),
        rows.iter().map(|row| int(row.seq)).collect::<Vec<i64>>(),
        rows.iter().map(|row| row.at).collect::<Vec<i64>>(),
        all(|row| &row.actor),
        some(|row| row.tenant.as_deref()),
        all(|row| &row.action),
        some(|row| row.target.as_deref()),
        all(|row| &row.outcome),
        all(|row| &row.line)
    ])
}
