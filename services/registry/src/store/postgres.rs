//! The store that several registries share: a Postgres database, version 13 or newer.
//!
//! All writers lock one row first, so versions are given in the order in which readers see them. A
//! write is three exchanges: lock, one statement that decides and does everything, commit. Word of
//! it goes to the other registries with the commit.

mod answers;
mod arguments;
mod audit;
mod commit;
mod failure;
mod keys;
mod lease;
mod link;
mod listen;
mod open;
mod read;
mod settings;
pub(crate) mod sql;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::fleet::ExecutorInfo;
use domain::tool::ToolWithCode;
use domain::{CatalogVersion, Lockfile, Result, Revision, TenantId, ToolName, ToolRecord};
use telemetry::Metrics;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::link::Link;
use self::listen::Listener;
pub use self::open::PostgresError;
pub use self::settings::{PostgresSettings, SynchronousCommit};
use super::{
    Answer, Change, DeclaredHead, Hints, Import, NewRevision, NodeTable, Once, Span, Standing,
    Store, Verdict,
};

/// How long the connections may take to be closed.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// The registry's tables in one schema of a Postgres database.
pub struct PostgresStore {
    link: Link,
    place: String,
    schema: String,
    hints: Arc<Hints>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl PostgresStore {
    /// Reaches the database, trying as often as the settings say, brings its tables up to date and
    /// begins to listen for changes.
    ///
    /// # Errors
    /// A sentence that says where, how often it was tried, what happened and what to do.
    pub async fn open(
        settings: PostgresSettings,
        metrics: Arc<Metrics>,
    ) -> Result<Self, PostgresError> {
        let options = open::options(&settings)?;
        open::prepare(&options, &settings).await?;
        let place = open::place(&options);
        let schema = settings.schema.clone();
        let link = Link::new(options.clone(), &settings);
        let hints = Arc::<Hints>::default();
        let name = options.get_application_name().unwrap_or_default();
        let listener = Listener {
            options: options
                .clone()
                .application_name(&format!("{name} listener")),
            settings,
            link: link.clone(),
            hints: Arc::clone(&hints),
            metrics,
        };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(listener.run(stop.clone()));
        Ok(Self {
            link,
            place,
            schema,
            hints,
            tasks,
            stop,
        })
    }

    /// The store as it is, for a look: nothing is made or brought up to date, nothing is listened to,
    /// and nobody is asked before the first question.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub fn look(settings: PostgresSettings) -> Result<Self, PostgresError> {
        let options = open::options(&settings)?;
        Ok(Self {
            place: open::place(&options),
            schema: settings.schema.clone(),
            link: Link::new(options, &settings),
            hints: Arc::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Host, port and database, for people.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PostgresStore")
            .field("place", &self.place)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn create(&self, tool: NewRevision, max_tools: u32) -> Verdict<ToolRecord> {
        write::create(&self.link, tool, max_tools).await
    }

    async fn replace(
        &self,
        tool: NewRevision,
        based_on: Revision,
        keep: u32,
    ) -> Verdict<ToolRecord> {
        write::replace(&self.link, tool, based_on, keep).await
    }

    async fn delete(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        expected: Option<Revision>,
        keep_deleted: u32,
        once: Option<&Once>,
    ) -> Verdict<CatalogVersion> {
        write::delete(&self.link, (tenant, name), expected, keep_deleted, once).await
    }

    async fn answered(&self, once: &Once) -> Verdict<Option<Answer>> {
        answers::answered(&self.link, once).await
    }

    async fn import(&self, tools: Vec<Import>, note: &str) -> Verdict<CatalogVersion> {
        write::import(&self.link, tools, note).await
    }

    async fn is_unused(&self) -> Result<bool> {
        read::is_unused(&self.link).await
    }

    async fn load(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        revision: Option<Revision>,
    ) -> Result<Option<ToolWithCode>> {
        read::load(&self.link, tenant, name, revision).await
    }

    async fn declared(&self) -> Result<Vec<DeclaredHead>> {
        read::declared(&self.link).await
    }

    async fn standing(&self, tenant: &TenantId, name: &ToolName) -> Result<Option<Standing>> {
        read::standing(&self.link, tenant, name).await
    }

    async fn count(&self, tenant: &TenantId) -> Result<u64> {
        read::count(&self.link, tenant).await
    }

    async fn load_lock(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        revision: Revision,
    ) -> Result<Option<Option<String>>> {
        read::load_lock(&self.link, tenant, name, revision).await
    }

    async fn put_lock(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        revision: Revision,
        lock: &Lockfile,
    ) -> Result<()> {
        write::put_lock(&self.link, tenant, name, revision, lock).await
    }

    async fn span(&self) -> Result<Span> {
        read::span(&self.link).await
    }

    async fn changes(
        &self,
        after: CatalogVersion,
        deletions_after: CatalogVersion,
        limit: u32,
    ) -> Result<Vec<Change>> {
        read::changes(&self.link, after, deletions_after, limit).await
    }

    async fn renew(&self, executor: &ExecutorInfo, lease: Duration, max: u32) -> Result<bool> {
        lease::renew(&self.link, executor, lease, max).await
    }

    async fn leave(&self, id: &str) -> Result<()> {
        lease::leave(&self.link, id).await
    }

    async fn executors(&self) -> Result<BTreeMap<String, ExecutorInfo>> {
        lease::executors(&self.link).await
    }

    async fn node_table(&self) -> Result<Option<NodeTable>> {
        read::node_table(&self.link, &self.schema).await
    }

    fn hints(&self) -> &Hints {
        &self.hints
    }

    async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        let closed = async {
            self.tasks.wait().await;
            self.link.pool.close().await;
        };
        if tokio::time::timeout(CLOSE_WITHIN, closed).await.is_err() {
            tracing::warn!(
                place = self.place,
                "the database does not answer; its connections are dropped"
            );
        }
    }
}
