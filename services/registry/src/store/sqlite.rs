//! The store of a single machine: one SQLite file in WAL mode. One connection writes, a few read;
//! a commit is synced to disk before it is acknowledged.

mod answers;
mod audit;
mod failure;
mod keys;
mod lease;
mod open;
mod presence;
mod read;
pub(crate) mod sql;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::fleet::ExecutorInfo;
use domain::tool::ToolWithCode;
use domain::{CatalogVersion, Lockfile, Result, Revision, TenantId, ToolName, ToolRecord};
use sqlx::SqlitePool;

pub use self::open::OpenError;
use self::presence::Presence;
use super::{
    Answer, Change, DeclaredHead, Hints, Import, NewRevision, Once, Span, Standing, Store, Verdict,
};

/// The registry's tables in one SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
    presence: Arc<Presence>,
    hints: Arc<Hints>,
}

impl SqliteStore {
    /// Opens the file, creating it (0600) and its directory (0700) when they are not there, and
    /// brings its tables up to date.
    ///
    /// # Errors
    /// A sentence that names the file and what to do: not a store, of a newer version, damaged,
    /// not to be opened.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        open::open(path).await
    }

    /// The store as it is, for a look: nothing is made, changed or brought up to date. `None` when
    /// there is no file.
    ///
    /// # Errors
    /// The file is there and cannot be used.
    pub fn look(path: &Path) -> Result<Option<Self>, OpenError> {
        open::look(path)
    }

    /// Where the store is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn create(&self, tool: NewRevision, max_tools: u32) -> Verdict<ToolRecord> {
        write::create(self, tool, max_tools).await
    }

    async fn replace(
        &self,
        tool: NewRevision,
        based_on: Revision,
        keep: u32,
    ) -> Verdict<ToolRecord> {
        write::replace(self, tool, based_on, keep).await
    }

    async fn delete(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        expected: Option<Revision>,
        keep_deleted: u32,
        once: Option<&Once>,
    ) -> Verdict<CatalogVersion> {
        write::delete(self, (tenant, name), expected, keep_deleted, once).await
    }

    async fn answered(&self, once: &Once) -> Verdict<Option<Answer>> {
        answers::answered(self, once).await
    }

    async fn import(&self, tools: Vec<Import>, note: &str) -> Verdict<CatalogVersion> {
        write::import(self, tools, note).await
    }

    async fn is_unused(&self) -> Result<bool> {
        read::is_unused(self).await
    }

    async fn load(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        revision: Option<Revision>,
    ) -> Result<Option<ToolWithCode>> {
        read::load(self, tenant, name, revision).await
    }

    async fn declared(&self) -> Result<Vec<DeclaredHead>> {
        read::declared(self).await
    }

    async fn standing(&self, tenant: &TenantId, name: &ToolName) -> Result<Option<Standing>> {
        read::standing(self, tenant, name).await
    }

    async fn count(&self, tenant: &TenantId) -> Result<u64> {
        read::count(self, tenant).await
    }

    async fn load_lock(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        revision: Revision,
    ) -> Result<Option<Option<String>>> {
        read::load_lock(self, tenant, name, revision).await
    }

    async fn put_lock(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        revision: Revision,
        lock: &Lockfile,
    ) -> Result<()> {
        write::put_lock(self, tenant, name, revision, lock).await
    }

    async fn span(&self) -> Result<Span> {
        read::span(self).await
    }

    async fn changes(
        &self,
        after: CatalogVersion,
        deletions_after: CatalogVersion,
        limit: u32,
    ) -> Result<Vec<Change>> {
        read::changes(self, after, deletions_after, limit).await
    }

    async fn renew(&self, executor: &ExecutorInfo, lease: Duration, max: u32) -> Result<bool> {
        lease::renew(self, executor, lease, max).await
    }

    async fn leave(&self, id: &str) -> Result<()> {
        lease::leave(self, id).await
    }

    async fn executors(&self) -> Result<BTreeMap<String, ExecutorInfo>> {
        lease::executors(self).await
    }

    fn hints(&self) -> &Hints {
        &self.hints
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
