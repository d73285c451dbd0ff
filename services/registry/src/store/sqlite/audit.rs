//! The archive of audit logs.

use async_trait::async_trait;
use domain::Result;
use domain::audit::archive::{Head, LogName, Search, Segment};

use super::super::audit::{
    Append, AuditStore, Hit, Kept, MAX_PAGE_BYTES, Part, SegmentRow, Totals, head, most,
};
use super::failure::failed;
use super::read::int;
use super::write::Write;
use super::{SqliteStore, sql};

type State = (i64, i64, Option<i64>, i64, Option<i64>, Option<Vec<u8>>);
type SegmentColumns = (String, i64, String, i64, i64, i64, Vec<u8>, i64, i64);

#[async_trait]
impl AuditStore for SqliteStore {
    async fn audit_head(&self, log: &LogName) -> Result<Option<Head>> {
        let state: State = sqlx::query_as(sql::AUDIT_STATE)
            .bind(log.as_str())
            .fetch_one(&self.readers)
            .await
            .map_err(|error| failed(&self.presence, error))?;
        head_of(&state)
    }

    async fn append_audit(&self, append: Append, kept: Kept) -> Result<Option<Head>> {
        let mut write = Write::begin(self).await?;
        let failed = write.failed();
        let state: State = sqlx::query_as(sql::AUDIT_STATE)
            .bind(append.log.as_str())
            .fetch_one(write.connection())
            .await
            .map_err(&failed)?;
        let current = head_of(&state)?;
        if current != append.after {
            return Ok(current);
        }
        let numbers = append.numbers(state.3);
        let at = append.at.as_millisecond();
        for (part, number) in append.parts.iter().zip(&numbers) {
            put(&mut write, &append, part, *number).await?;
        }
        for row in &append.rows {
            sqlx::query(sql::PUT_AUDIT_RECORD)
                .bind(at)
                .bind(append.log.as_str())
                .bind(numbers.get(row.part).copied().unwrap_or_default())
                .bind(int(row.seq))
                .bind(row.at)
                .bind(&row.actor)
                .bind(&row.tenant)
                .bind(&row.action)
                .bind(&row.target)
                .bind(&row.outcome)
                .bind(&row.line)
                .execute(write.connection())
                .await
                .map_err(&failed)?;
        }
        let totals = Totals {
            rows: state.0,
            bytes: state.1,
            oldest: state.2,
        };
        drop_oldest(&mut write, &append, totals, &kept).await?;
        let head = append.parts.last().map(|part| part.head);
        write.commit().await?;
        Ok(head)
    }

    async fn audit_segments(
        &self,
        log: Option<&LogName>,
        after: Option<(&LogName, u64)>,
        limit: u32,
    ) -> Result<Vec<Segment>> {
        let rows: Vec<SegmentColumns> = sqlx::query_as(sql::AUDIT_SEGMENTS)
            .bind(log.map(LogName::as_str))
            .bind(after.map(|(log, _)| log.as_str()))
            .bind(after.map(|(_, number)| int(number)))
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| failed(&self.presence, error))?;
        let segment = |row: SegmentColumns| {
            let (log, number, start, first_seq, missing, seq, hash, began_at, updated_at) = row;
            let row = SegmentRow {
                log,
                number,
                start,
                first_seq,
                missing,
                seq,
                hash,
                began_at,
                updated_at,
            };
            row.read()
        };
        rows.into_iter().map(segment).collect()
    }

    async fn search_audit(&self, search: &Search) -> Result<(Vec<Hit>, bool)> {
        let rows: Vec<(i64, String, i64, String, i64)> = sqlx::query_as(sql::SEARCH_AUDIT)
            .bind(search.since.map(|at| at.as_millisecond()))
            .bind(search.until.map(|at| at.as_millisecond()))
            .bind(&search.actor)
            .bind(&search.action)
            .bind(search.tenant.as_ref().map(|tenant| tenant.as_str()))
            .bind(&search.target)
            .bind(&search.outcome)
            .bind(search.before.map(int))
            .bind(i64::from(search.limit) + 1)
            .bind(MAX_PAGE_BYTES)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| failed(&self.presence, error))?;
        let hits = rows.first().map_or(0, |row| row.4);
        let mut found: Vec<Hit> = rows
            .into_iter()
            .map(|(id, log, segment, line, _)| Hit {
                id,
                log,
                segment,
                line,
            })
            .collect();
        found.truncate(search.limit as usize);
        let more = most(found.len() as u64) < hits;
        Ok((found, more))
    }
}

fn head_of(state: &State) -> Result<Option<Head>> {
    match (state.4, &state.5) {
        (Some(seq), Some(hash)) => head(seq, hash).map(Some),
        _ => Ok(None),
    }
}

/// Begins a segment, or moves the head of one.
async fn put(write: &mut Write<'_>, append: &Append, part: &Part, number: i64) -> Result<()> {
    let failed = write.failed();
    let (log, at) = (append.log.as_str(), append.at.as_millisecond());
    let query = match part.begins {
        Some((start, first, missing)) => sqlx::query(sql::PUT_AUDIT_SEGMENT)
            .bind(log)
            .bind(number)
            .bind(start.as_str())
            .bind(int(first))
            .bind(int(missing)),
        None => sqlx::query(sql::MOVE_AUDIT_HEAD).bind(log).bind(number),
    };
    query
        .bind(int(part.head.seq))
        .bind(&part.head.hash[..])
        .bind(at)
        .execute(write.connection())
        .await
        .map(|_| ())
        .map_err(failed)
}

async fn drop_oldest(
    write: &mut Write<'_>,
    append: &Append,
    totals: Totals,
    kept: &Kept,
) -> Result<()> {
    let failed = write.failed();
    let (mut rows, mut bytes) = (most(append.rows.len() as u64), append.bytes());
    let look_at = totals.to_look_at(append, kept);
    if look_at > 0 {
        let (last, gone, freed): (i64, i64, i64) = sqlx::query_as(sql::AUDIT_TO_DROP)
            .bind(totals.rows + rows)
            .bind(totals.bytes + bytes)
            .bind(most(kept.rows))
            .bind(most(kept.bytes))
            .bind(kept.since.as_millisecond())
            .bind(look_at)
            .fetch_one(write.connection())
            .await
            .map_err(&failed)?;
        sqlx::query(sql::DROP_AUDIT_RECORDS)
            .bind(last)
            .execute(write.connection())
            .await
            .map_err(&failed)?;
        (rows, bytes) = (rows - gone, bytes - freed);
    }
    sqlx::query(sql::COUNT_AUDIT_RECORDS)
        .bind(rows)
        .bind(bytes)
        .execute(write.connection())
        .await
        .map(|_| ())
        .map_err(failed)
}
