//! Writes. Each locks the catalogue's row before it reads anything, so what it reads is still true
//! when it commits, and the next writer comes only when readers see it.

use std::sync::Arc;

use domain::{CatalogVersion, Error, Lockfile, Result, Revision, TenantId, ToolName, ToolRecord};
use jiff::Timestamp;
use sqlx::postgres::{PgArguments, PgRow};

use super::super::{Answer, Import, NewRevision, Once, Refusal, Verdict, again};
use super::arguments::arguments;
use super::commit::{self, Receipt};
use super::failure::{Failure, leaves_connection};
use super::link::{Link, Session};
use super::read::{column, int, one, version};
use super::sql;

/// An open transaction; dropped without a commit it is rolled back by the server.
pub(super) struct Write<'a> {
    link: &'a Link,
    session: Session,
}

impl<'a> Write<'a> {
    /// Opens a transaction with statements that begin it and take its lock.
    pub(super) async fn begin(link: &'a Link, with: &'static str) -> Result<Self, Failure> {
        let session = link.session().await?;
        let mut write = Self { link, session };
        if let Err(error) = write.session.run(with, false).await {
            return Err(write.failed(error).await);
        }
        Ok(write)
    }

    pub(super) async fn rows(
        &mut self,
        statement: &'static str,
        arguments: PgArguments,
    ) -> Result<Vec<PgRow>, Failure> {
        match self.session.query(statement, arguments).await {
            Ok(rows) => Ok(rows),
            Err(error) => Err(self.failed(error).await),
        }
    }

    /// Ends the transaction without a change.
    pub(super) async fn give_up(mut self) {
        if let Err(error) = self.session.run("ROLLBACK", true).await {
            tracing::debug!(%error, "a transaction ends with its connection");
        }
    }

    /// Makes the change. `row` has what its end can be found out by.
    pub(super) async fn commit(mut self, row: &PgRow) -> Result<(), Failure> {
        let receipt = Receipt::of(row)?;
        let Err(error) = self.session.run("COMMIT", true).await else {
            return Ok(());
        };
        let link = self.link;
        // A session that is still there would keep the transaction open, and the end unknown.
        drop(self);
        commit::find_out(link, &receipt, error).await
    }

    /// Makes the change and keeps its answer, both or neither.
    async fn finish(
        mut self,
        row: &PgRow,
        once: Option<&Once>,
        made: ToolRecord,
    ) -> Result<ToolRecord, Failure> {
        if once.is_none() {
            self.commit(row).await?;
            return Ok(made);
        }
        let answer = Answer::Stored(Box::new(made));
        self.keep(once, &answer).await?;
        self.commit(row).await?;
        Ok(answer.record()?)
    }

    /// Makes a change that may as well be made twice, or be lost.
    pub(super) async fn commit_unasked(mut self) -> Result<(), Failure> {
        Ok(self.session.run("COMMIT", true).await?)
    }

    /// Keeps the connection when the server only refused a statement.
    async fn failed(&mut self, error: sqlx::Error) -> Failure {
        if leaves_connection(&error)
            && let Err(error) = self.session.run("ROLLBACK", true).await
        {
            tracing::debug!(%error, "a transaction ends with its connection");
        }
        error.into()
    }
}

fn revision(row: &PgRow) -> Result<Revision> {
    Ok(Revision(column::<i64>(row, "revision")?.unsigned_abs()))
}

/// The columns from the definition on: spec, digest, code, its bytes, made at, made by, changed, lockfile, the
/// revision whose lockfile it keeps, whether the configuration made it.
fn definition(mut arguments: PgArguments, tool: &NewRevision) -> Result<PgArguments> {
    use sqlx::Arguments as _;
    let spec = serde_json::to_string(&tool.spec).map_err(Error::internal)?;
    let changed = serde_json::to_string(&tool.changed).map_err(Error::internal)?;
    arguments.add(spec).map_err(Error::internal)?;
    arguments
        .add(&tool.code_digest.as_bytes()[..])
        .map_err(Error::internal)?;
    arguments
        .add(tool.code.as_bytes())
        .map_err(Error::internal)?;
    arguments
        .add(int(tool.code.len() as u64))
        .map_err(Error::internal)?;
    arguments
        .add(tool.made_at.as_millisecond())
        .map_err(Error::internal)?;
    // Text of Postgres holds no NUL; a subject of a token never has one either.
    arguments
        .add(tool.made_by.replace('\0', "\u{fffd}"))
        .map_err(Error::internal)?;
    arguments.add(changed).map_err(Error::internal)?;
    arguments
        .add(tool.lock.as_ref().map(Lockfile::text))
        .map_err(Error::internal)?;
    arguments
        .add(tool.lock_of.map(|revision| int(revision.0)))
        .map_err(Error::internal)?;
    arguments.add(tool.declared).map_err(Error::internal)?;
    Ok(arguments)
}

fn record(
    tool: &NewRevision,
    revision: Revision,
    version: CatalogVersion,
    created_at: Timestamp,
) -> ToolRecord {
    ToolRecord {
        tenant: tool.tenant.clone(),
        name: tool.name.clone(),
        spec: tool.spec.clone(),
        code_digest: tool.code_digest,
        code_size_bytes: tool.code.len() as u64,
        revision,
        version,
        created_at,
        updated_at: tool.made_at,
    }
}

pub(super) async fn create(link: &Link, tool: NewRevision, max_tools: u32) -> Verdict<ToolRecord> {
    let arguments = arguments![
        tool.tenant.as_str(),
        tool.name.as_str(),
        i64::from(max_tools)
    ];
    let arguments = &definition(arguments, &tool)?;
    let tool = &tool;
    let once = tool.once.as_ref();
    link.attempt(|| async move {
        let mut write = Write::begin(link, sql::LOCK).await?;
        if let Some(before) = write.answered(once).await? {
            write.give_up().await;
            return Ok(again(before, Answer::record)?);
        }
        let row = one(write.rows(sql::CREATE, arguments.clone()).await?)?;
        let refusal = match column::<&str>(&row, "outcome")? {
            "made" => {
                let made = record(tool, revision(&row)?, version(&row)?, tool.made_at);
                return write.finish(&row, once, made).await.map(Ok);
            }
            "exists" => Refusal::Exists,
            _ => Refusal::Full,
        };
        write.give_up().await;
        Ok(Err(refusal))
    })
    .await
}

pub(super) async fn replace(
    link: &Link,
    tool: NewRevision,
    based_on: Revision,
    keep: u32,
) -> Verdict<ToolRecord> {
    let keep = i64::from(keep.max(1));
    let arguments = arguments![tool.tenant.as_str(), tool.name.as_str(), int(based_on.0)];
    let arguments = &definition(arguments, &tool)?;
    let next = Revision(based_on.0 + 1);
    let place = (&tool.tenant, &tool.name);
    let tool = &tool;
    let once = tool.once.as_ref();
    link.attempt(|| async move {
        let mut write = Write::begin(link, sql::LOCK).await?;
        if let Some(before) = write.answered(once).await? {
            write.give_up().await;
            return Ok(again(before, Answer::record)?);
        }
        let rows = write.rows(sql::REPLACE, arguments.clone()).await?;
        let current = match rows.first() {
            None => Err(Refusal::Missing),
            Some(row) if version(row)?.0 == 0 => Err(Refusal::Moved(revision(row)?)),
            Some(row) => Ok(row),
        };
        let row = match current {
            Ok(row) => row,
            Err(refusal) => {
                write.give_up().await;
                return Ok(Err(refusal));
            }
        };
        // No tool has more revisions than the number of its newest.
        if int(next.0) > keep {
            prune(&mut write, place, keep).await?;
        }
        let created_at = column::<i64>(row, "created_at")?;
        let created_at = Timestamp::from_millisecond(created_at).map_err(Error::internal)?;
        let made = record(tool, next, version(row)?, created_at);
        write.finish(row, once, made).await.map(Ok)
    })
    .await
}

/// Drops all but the newest `keep` revisions, and code that no revision has any more.
async fn prune(
    write: &mut Write<'_>,
    (tenant, name): (&TenantId, &ToolName),
    keep: i64,
) -> Result<(), Failure> {
    let arguments = arguments![tenant.as_str(), name.as_str(), keep];
    write.rows(sql::PRUNE, arguments).await.map(|_| ())
}

pub(super) async fn delete(
    link: &Link,
    (tenant, name): (&TenantId, &ToolName),
    expected: Option<Revision>,
    keep_deleted: u32,
    once: Option<&Once>,
) -> Verdict<CatalogVersion> {
    let expected = expected.map(|revision| int(revision.0));
    let arguments = &arguments![tenant.as_str(), name.as_str(), expected];
    let forget = &arguments![tenant.as_str(), i64::from(keep_deleted)];
    link.attempt(|| async move {
        let mut write = Write::begin(link, sql::LOCK).await?;
        if let Some(before) = write.answered(once).await? {
            write.give_up().await;
            return Ok(again(before, Answer::deletion)?);
        }
        let rows = write.rows(sql::BURY, arguments.clone()).await?;
        let refusal = match rows.first() {
            None => Refusal::Missing,
            Some(row) if version(row)?.0 == 0 => Refusal::Moved(revision(row)?),
            Some(row) => {
                prune(&mut write, (tenant, name), 0).await?;
                write.rows(sql::FORGET, forget.clone()).await?;
                let version = version(row)?;
                write.keep(once, &Answer::Deleted(version)).await?;
                write.commit(row).await?;
                return Ok(Ok(version));
            }
        };
        write.give_up().await;
        Ok(Err(refusal))
    })
    .await
}

pub(super) async fn put_lock(
    link: &Link,
    tenant: &TenantId,
    name: &ToolName,
    revision: Revision,
    lock: &Lockfile,
) -> Result<()> {
    let arguments = &arguments![tenant.as_str(), name.as_str(), int(revision.0), lock.text()];
    link.attempt(|| async move {
        let mut write = Write::begin(link, sql::LOCK).await?;
        write.rows(sql::PUT_LOCK, arguments.clone()).await?;
        // Made twice it is the same; lost, the next call makes it.
        write.commit_unasked().await
    })
    .await
}

pub(super) async fn import(link: &Link, tools: Vec<Import>, note: &str) -> Verdict<CatalogVersion> {
    let mut rows = Vec::with_capacity(tools.len());
    for Import {
        tool,
        revision,
        created_at,
    } in &tools
    {
        let place = arguments![tool.tenant.as_str(), tool.name.as_str(), int(revision.0)];
        let mut arguments = definition(place, tool)?;
        sqlx::Arguments::add(&mut arguments, created_at.as_millisecond())
            .map_err(Error::internal)?;
        rows.push(arguments);
    }
    drop(tools);
    let (rows, note) = (Arc::new(rows), &arguments![note]);
    let rows = &rows;
    link.attempt(|| async move {
        let mut write = Write::begin(link, sql::LOCK).await?;
        let used = one(write.rows(sql::EVER_USED, arguments![]).await?)?;
        if column::<bool>(&used, "used")? {
            write.give_up().await;
            return Ok(Err(Refusal::Exists));
        }
        for row in rows.iter() {
            write.rows(sql::IMPORT, row.clone()).await?;
        }
        let row = one(write.rows(sql::IMPORTED, note.clone()).await?)?;
        write.commit(&row).await?;
        Ok(Ok(version(&row)?))
    })
    .await
}
