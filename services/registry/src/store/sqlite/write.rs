//! Writes: each is one transaction that holds SQLite's write lock from its first statement, so
//! what it reads is still true when it writes.

use domain::{CatalogVersion, Error, Lockfile, Result, Revision, TenantId, ToolName, ToolRecord};
use jiff::Timestamp;
use sqlx::{Sqlite, Transaction};

use super::super::row::Head;
use super::super::{Answer, Import, NewRevision, Once, Refusal, Verdict, again};
use super::failure::{commit_failed, failed};
use super::read::int;
use super::{SqliteStore, sql};

/// An open transaction; dropped without a commit it is rolled back.
pub(super) struct Write<'a> {
    store: &'a SqliteStore,
    transaction: Transaction<'static, Sqlite>,
}

impl<'a> Write<'a> {
    pub(super) async fn begin(store: &'a SqliteStore) -> Result<Self> {
        let transaction = store
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(|error| failed(&store.presence, error))?;
        Ok(Self { store, transaction })
    }

    pub(super) async fn commit(self) -> Result<()> {
        self.transaction
            .commit()
            .await
            .map_err(|error| commit_failed(&self.store.presence, error))
    }

    /// Makes the change and keeps its answer, both or neither.
    async fn finish(mut self, once: Option<&Once>, made: ToolRecord) -> Result<ToolRecord> {
        if once.is_none() {
            self.commit().await?;
            return Ok(made);
        }
        let answer = Answer::Stored(Box::new(made));
        self.keep(once, &answer).await?;
        self.commit().await?;
        answer.record()
    }

    pub(super) fn connection(&mut self) -> &mut sqlx::SqliteConnection {
        &mut self.transaction
    }

    pub(super) fn failed(&self) -> impl Fn(sqlx::Error) -> Error + use<'a> {
        let store = self.store;
        move |error| failed(&store.presence, error)
    }

    async fn head(&mut self, tenant: &TenantId, name: &ToolName) -> Result<Option<Head>> {
        let failed = self.failed();
        sqlx::query_as(sql::HEAD)
            .bind(tenant.as_str())
            .bind(name.as_str())
            .fetch_optional(self.connection())
            .await
            .map_err(failed)
    }

    /// The revision of a tool that is there, if it is the expected one.
    async fn live(
        &mut self,
        tenant: &TenantId,
        name: &ToolName,
        expected: Option<Revision>,
    ) -> Verdict<Head> {
        let Some(head) = self.head(tenant, name).await?.filter(|head| !head.deleted) else {
            return Ok(Err(Refusal::Missing));
        };
        let current = Revision(head.revision.unsigned_abs());
        if expected.is_some_and(|expected| expected != current) {
            return Ok(Err(Refusal::Moved(current)));
        }
        Ok(Ok(head))
    }

    pub(super) async fn bump(&mut self) -> Result<CatalogVersion> {
        let failed = self.failed();
        let version: i64 = sqlx::query_scalar(sql::BUMP)
            .fetch_one(self.connection())
            .await
            .map_err(failed)?;
        Ok(CatalogVersion(version.unsigned_abs()))
    }

    /// Writes code, head and revision under the next version.
    async fn put(
        &mut self,
        tool: NewRevision,
        revision: Revision,
        created_at: Timestamp,
    ) -> Result<ToolRecord> {
        let failed = self.failed();
        let version = self.bump().await?;
        let spec = serde_json::to_string(&tool.spec).map_err(Error::internal)?;
        let changed = serde_json::to_string(&tool.changed).map_err(Error::internal)?;
        sqlx::query(sql::PUT_CODE)
            .bind(tool.tenant.as_str())
            .bind(&tool.code_digest.as_bytes()[..])
            .bind(tool.code.as_bytes())
            .execute(self.connection())
            .await
            .map_err(&failed)?;
        sqlx::query(sql::PUT_HEAD)
            .bind(tool.tenant.as_str())
            .bind(tool.name.as_str())
            .bind(int(revision.0))
            .bind(int(version.0))
            .bind(created_at.as_millisecond())
            .execute(self.connection())
            .await
            .map_err(&failed)?;
        sqlx::query(sql::PUT_REVISION)
            .bind(tool.tenant.as_str())
            .bind(tool.name.as_str())
            .bind(int(revision.0))
            .bind(int(version.0))
            .bind(spec)
            .bind(&tool.code_digest.as_bytes()[..])
            .bind(int(tool.code.len() as u64))
            .bind(tool.made_at.as_millisecond())
            .bind(tool.made_by)
            .bind(changed)
            .bind(tool.lock.as_ref().map(Lockfile::text))
            .bind(tool.lock_of.map(|revision| int(revision.0)))
            .bind(tool.declared)
            .execute(self.connection())
            .await
            .map_err(&failed)?;
        Ok(ToolRecord {
            tenant: tool.tenant,
            name: tool.name,
            spec: tool.spec,
            code_digest: tool.code_digest,
            code_size_bytes: tool.code.len() as u64,
            revision,
            version,
            created_at,
            updated_at: tool.made_at,
        })
    }

    /// Drops all but the newest `keep` revisions, and code that no revision has any more.
    async fn prune(&mut self, tenant: &TenantId, name: &ToolName, keep: u32) -> Result<()> {
        let failed = self.failed();
        let mut digests: Vec<Vec<u8>> = sqlx::query_scalar(sql::TAKE_OLDEST_REVISIONS)
            .bind(tenant.as_str())
            .bind(name.as_str())
            .bind(keep)
            .fetch_all(self.connection())
            .await
            .map_err(&failed)?;
        digests.sort_unstable();
        digests.dedup();
        for digest in digests {
            sqlx::query(sql::DROP_UNUSED_CODE)
                .bind(tenant.as_str())
                .bind(digest)
                .execute(self.connection())
                .await
                .map_err(&failed)?;
        }
        Ok(())
    }

    /// The number that names which are not known start above.
    async fn revision_floor(&mut self, tenant: &TenantId) -> Result<u64> {
        let failed = self.failed();
        let floor: Option<i64> = sqlx::query_scalar(sql::REVISION_FLOOR)
            .bind(tenant.as_str())
            .fetch_optional(self.connection())
            .await
            .map_err(failed)?;
        Ok(floor.unwrap_or_default().unsigned_abs())
    }

    /// Forgets all but the newest `keep` deleted names. Followers from before them start again.
    async fn forget(&mut self, tenant: &TenantId, keep: u32) -> Result<()> {
        let failed = self.failed();
        let forgotten: Vec<(i64, i64)> = sqlx::query_as(sql::FORGET_OLDEST)
            .bind(tenant.as_str())
            .bind(keep)
            .fetch_all(self.connection())
            .await
            .map_err(&failed)?;
        for (revision, version) in forgotten {
            sqlx::query(sql::RAISE_FLOOR)
                .bind(tenant.as_str())
                .bind(revision)
                .execute(self.connection())
                .await
                .map_err(&failed)?;
            sqlx::query(sql::RAISE_FIRST_VERSION)
                .bind(version)
                .execute(self.connection())
                .await
                .map_err(&failed)?;
        }
        Ok(())
    }
}

pub(super) async fn create(
    store: &SqliteStore,
    tool: NewRevision,
    max_tools: u32,
) -> Verdict<ToolRecord> {
    let mut write = Write::begin(store).await?;
    let once = tool.once.clone();
    if let Some(before) = write.answered(once.as_ref()).await? {
        return again(before, Answer::record);
    }
    let head = write.head(&tool.tenant, &tool.name).await?;
    if head.as_ref().is_some_and(|head| !head.deleted) {
        return Ok(Err(Refusal::Exists));
    }
    let failed = write.failed();
    let live: i64 = sqlx::query_scalar(sql::COUNT_LIVE)
        .bind(tool.tenant.as_str())
        .fetch_one(write.connection())
        .await
        .map_err(failed)?;
    if live >= i64::from(max_tools) {
        return Ok(Err(Refusal::Full));
    }
    let last = match head {
        Some(head) => head.revision.unsigned_abs(),
        None => write.revision_floor(&tool.tenant).await?,
    };
    let revision = Revision(last + 1);
    let created_at = tool.made_at;
    let record = write.put(tool, revision, created_at).await?;
    write.finish(once.as_ref(), record).await.map(Ok)
}

pub(super) async fn replace(
    store: &SqliteStore,
    tool: NewRevision,
    based_on: Revision,
    keep: u32,
) -> Verdict<ToolRecord> {
    let mut write = Write::begin(store).await?;
    let once = tool.once.clone();
    if let Some(before) = write.answered(once.as_ref()).await? {
        return again(before, Answer::record);
    }
    let head = match write.live(&tool.tenant, &tool.name, Some(based_on)).await? {
        Ok(head) => head,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let created_at = Timestamp::from_millisecond(head.created_at).map_err(Error::internal)?;
    let record = write
        .put(tool, Revision(based_on.0 + 1), created_at)
        .await?;
    write
        .prune(&record.tenant, &record.name, keep.max(1))
        .await?;
    write.finish(once.as_ref(), record).await.map(Ok)
}

pub(super) async fn delete(
    store: &SqliteStore,
    (tenant, name): (&TenantId, &ToolName),
    expected: Option<Revision>,
    keep_deleted: u32,
    once: Option<&Once>,
) -> Verdict<CatalogVersion> {
    let mut write = Write::begin(store).await?;
    if let Some(before) = write.answered(once).await? {
        return again(before, Answer::deletion);
    }
    if let Err(refusal) = write.live(tenant, name, expected).await? {
        return Ok(Err(refusal));
    }
    let version = write.bump().await?;
    let failed = write.failed();
    sqlx::query(sql::BURY)
        .bind(tenant.as_str())
        .bind(name.as_str())
        .bind(int(version.0))
        .execute(write.connection())
        .await
        .map_err(failed)?;
    write.prune(tenant, name, 0).await?;
    write.forget(tenant, keep_deleted).await?;
    write.keep(once, &Answer::Deleted(version)).await?;
    write.commit().await?;
    Ok(Ok(version))
}

pub(super) async fn put_lock(
    store: &SqliteStore,
    tenant: &TenantId,
    name: &ToolName,
    revision: Revision,
    lock: &Lockfile,
) -> Result<()> {
    let mut write = Write::begin(store).await?;
    let failed = write.failed();
    sqlx::query(sql::PUT_LOCK)
        .bind(tenant.as_str())
        .bind(name.as_str())
        .bind(int(revision.0))
        .bind(lock.text())
        .execute(write.connection())
        .await
        .map_err(failed)?;
    write.commit().await
}

pub(super) async fn import(
    store: &SqliteStore,
    tools: Vec<Import>,
    note: &str,
) -> Verdict<CatalogVersion> {
    let mut write = Write::begin(store).await?;
    let failed = write.failed();
    let used: bool = sqlx::query_scalar(sql::EVER_USED)
        .fetch_one(write.connection())
        .await
        .map_err(&failed)?;
    if used {
        return Ok(Err(Refusal::Exists));
    }
    let mut version = CatalogVersion::default();
    for import in tools {
        version = write
            .put(import.tool, import.revision, import.created_at)
            .await?
            .version;
    }
    sqlx::query(sql::PUT_META)
        .bind("import")
        .bind(note)
        .execute(write.connection())
        .await
        .map_err(&failed)?;
    write.commit().await?;
    Ok(Ok(version))
}
