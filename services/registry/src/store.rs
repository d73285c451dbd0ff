//! What the rules need of a database. [`sqlite`] is the store of a single machine, [`postgres`] the
//! one that several registries share.

pub mod audit;
mod executor_info;
mod hints;
pub mod keys;
mod once;
pub mod postgres;
mod row;
pub mod sqlite;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::fleet::ExecutorInfo;
use domain::tool::ToolWithCode;
use domain::{
    CatalogVersion, CodeDigest, Lockfile, Result, Revision, TenantId, ToolName, ToolRecord,
    ToolSpec,
};
use jiff::Timestamp;

pub use self::hints::Hints;
use self::once::again;
pub use self::once::{Answer, KEPT_FOR, MOST_KEPT, Once};

/// A checked revision on its way into the store, which gives it its number and its version.
#[derive(Debug, Clone)]
pub struct NewRevision {
    /// Whose tool it is.
    pub tenant: TenantId,
    /// The tool's name.
    pub name: ToolName,
    /// The definition.
    pub spec: ToolSpec,
    /// The code.
    pub code: Arc<str>,
    /// SHA-256 of the code.
    pub code_digest: CodeDigest,
    /// When it was made, in whole milliseconds.
    pub made_at: Timestamp,
    /// Subject of who made it.
    pub made_by: String,
    /// Names of the fields that differ from the revision before; empty for the first.
    pub changed: Vec<String>,
    /// What its dependencies resolved to.
    pub lock: Option<Lockfile>,
    /// The revision whose lockfile it keeps when it has none of its own.
    pub lock_of: Option<Revision>,
    /// Makes it once, however often it is sent: what was answered the first time is answered again.
    pub once: Option<Once>,
    /// Whether the configuration makes it: then the configuration alone changes the tool.
    pub declared: bool,
}

/// A tool that the configuration has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredHead {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name.
    pub name: ToolName,
    /// Its newest revision.
    pub revision: Revision,
}

/// At which revision a tool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The newest.
    pub revision: Revision,
    /// Whether the configuration made it.
    pub declared: bool,
}

/// A tool of another store, taken over with its numbers and times.
#[derive(Debug, Clone)]
pub struct Import {
    /// The tool as it is now.
    pub tool: NewRevision,
    /// Its revision.
    pub revision: Revision,
    /// When its name was created.
    pub created_at: Timestamp,
}

/// What a Node server kept in a table.
#[derive(Debug, Clone)]
pub struct NodeTable {
    /// Where it is, for people.
    pub place: String,
    /// Its records as JSON, in the shape of the Node server's JSON store.
    pub records: Vec<String>,
}

/// Why a write was not made. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A tool of that name is there.
    Exists,
    /// The tenant has as many tools as it may have.
    Full,
    /// There is no tool of that name.
    Missing,
    /// The tool is at this revision and not at the expected one.
    Moved(Revision),
    /// The idempotency key was used for another request.
    Reused,
}

/// The outer error is a failing store, the inner one a rule.
pub type Verdict<T> = Result<std::result::Result<T, Refusal>>;

/// Which versions this store can tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Changes are known from here on; anything older is of another store or was forgotten.
    pub first: CatalogVersion,
    /// The newest version.
    pub current: CatalogVersion,
}

/// The newest change of one name.
#[derive(Debug, Clone)]
pub enum Change {
    /// The tool as it is now.
    Live(Box<ToolRecord>),
    /// The tool was deleted.
    Gone {
        /// Whose it was.
        tenant: TenantId,
        /// Its name.
        name: ToolName,
        /// Version of the deletion.
        version: CatalogVersion,
    },
    /// A row that cannot be read; everything else goes on without it.
    Unreadable {
        /// Tenant and name as stored.
        place: String,
        /// Version of the row.
        version: CatalogVersion,
        /// Why.
        reason: String,
    },
}

impl Change {
    /// The version of the change.
    #[must_use]
    pub fn version(&self) -> CatalogVersion {
        match self {
            Change::Live(record) => record.version,
            Change::Gone { version, .. } | Change::Unreadable { version, .. } => *version,
        }
    }
}

/// Keeps rows. Every write is one transaction that is durable when the method returns; all
/// writers of one database are in one order, which is the order of the catalogue's version.
///
/// Every method fails with `unavailable` while the database cannot be used and with `internal`
/// when it holds what it never should.
#[async_trait]
pub trait Store: audit::AuditStore + keys::KeyStore + Send + Sync {
    /// Makes the first revision of a tool, or the next one of a name that was deleted, unless the
    /// tenant then had more than `max_tools`.
    ///
    /// # Errors
    /// Refusals: `Exists`, `Full`, `Reused`.
    async fn create(&self, tool: NewRevision, max_tools: u32) -> Verdict<ToolRecord>;

    /// Makes the next revision when the tool is still at `based_on`, and drops the oldest beyond
    /// `keep`.
    ///
    /// # Errors
    /// Refusals: `Missing`, `Moved`, `Reused`.
    async fn replace(
        &self,
        tool: NewRevision,
        based_on: Revision,
        keep: u32,
    ) -> Verdict<ToolRecord>;

    /// Deletes a tool with its revisions and code; what stays is the name with its number. Of more
    /// than `keep_deleted` such names the oldest are forgotten: the tenant's unknown names start
    /// above their numbers, and [`Span::first`] moves past their deletion.
    ///
    /// # Errors
    /// Refusals: `Missing`, `Moved`, `Reused`.
    async fn delete(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        expected: Option<Revision>,
        keep_deleted: u32,
        once: Option<&Once>,
    ) -> Verdict<CatalogVersion>;

    /// What a write with this key was answered, if it was made and is not too long ago.
    ///
    /// # Errors
    /// Refusals: `Reused`.
    async fn answered(&self, once: &Once) -> Verdict<Option<Answer>>;

    /// Takes tools over into a store that never held one, all or nothing, and notes where they
    /// came from.
    ///
    /// # Errors
    /// Refusals: `Exists` when the store has held a tool.
    async fn import(&self, tools: Vec<Import>, note: &str) -> Verdict<CatalogVersion>;

    /// Whether it never held a tool.
    ///
    /// # Errors
    /// See the trait.
    async fn is_unused(&self) -> Result<bool>;

    /// A tool with its code, in its newest or another kept revision.
    ///
    /// # Errors
    /// See the trait.
    async fn load(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        revision: Option<Revision>,
    ) -> Result<Option<ToolWithCode>>;

    /// Every tool whose newest revision the configuration has made, by tenant and name.
    ///
    /// # Errors
    /// See the trait.
    async fn declared(&self) -> Result<Vec<DeclaredHead>>;

    /// At which revision a tool is, its definition unread; `None` where there is none.
    ///
    /// # Errors
    /// See the trait.
    async fn standing(&self, tenant: &TenantId, name: &ToolName) -> Result<Option<Standing>>;

    /// How many tools a tenant has.
    ///
    /// # Errors
    /// See the trait.
    async fn count(&self, tenant: &TenantId) -> Result<u64>;

    /// The lockfile of a kept revision as it is stored, if it has one; the outer `None` when there is no
    /// such revision.
    ///
    /// # Errors
    /// See the trait.
    async fn load_lock(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        revision: Revision,
    ) -> Result<Option<Option<String>>>;

    /// Stores the lockfile of a revision that has none. One that is there stays.
    ///
    /// # Errors
    /// See the trait.
    async fn put_lock(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        revision: Revision,
        lock: &Lockfile,
    ) -> Result<()>;

    /// First and newest version.
    ///
    /// # Errors
    /// See the trait.
    async fn span(&self) -> Result<Span>;

    /// The newest change of each name that has one after `after`, oldest first, at most `limit`;
    /// deletions only after `deletions_after`.
    ///
    /// # Errors
    /// See the trait.
    async fn changes(
        &self,
        after: CatalogVersion,
        deletions_after: CatalogVersion,
        limit: u32,
    ) -> Result<Vec<Change>>;

    /// Adds or renews an executor for `lease` by the database's clock, so that several registries
    /// agree; drops the expired. False when `max` others are there.
    ///
    /// # Errors
    /// See the trait.
    async fn renew(&self, executor: &ExecutorInfo, lease: Duration, max: u32) -> Result<bool>;

    /// Removes an executor, if it is there.
    ///
    /// # Errors
    /// See the trait.
    async fn leave(&self, id: &str) -> Result<()>;

    /// The executors whose lease runs, by id.
    ///
    /// # Errors
    /// See the trait.
    async fn executors(&self) -> Result<BTreeMap<String, ExecutorInfo>>;

    /// The records of the Node server's table beside our own tables, each as the JSON object of its
    /// JSON store, by name; `None` where there is no such table. It is only read.
    ///
    /// # Errors
    /// See the trait; `invalid_argument` when the table is of another shape or too large.
    async fn node_table(&self) -> Result<Option<NodeTable>> {
        Ok(None)
    }

    /// Where word of changes arrives: those of this process and, where the database tells of them,
    /// everybody's.
    fn hints(&self) -> &Hints;

    /// Finishes what runs and closes; later calls are `unavailable`.
    async fn close(&self);
}
