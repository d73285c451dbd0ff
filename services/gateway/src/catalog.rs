//! The catalogue as this gateway sees it: a snapshot kept fresh by the registry's change feed and
//! by the gateway's own writes, read without locks and without RPCs.

pub(crate) mod entry;
mod feed;
pub(crate) mod snapshot;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use domain::{CatalogChange, CatalogVersion, Result, TenantId, ToolName, ToolRecord, ToolSpec};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use self::entry::Entry;
use self::snapshot::{Books, Snapshot, Tools, Touched};

/// After this long without a word of the feed the snapshot counts as stale: a name that it does
/// not know is asked of the registry. The feed speaks at least every five seconds.
const STALE_AFTER: Duration = Duration::from_secs(11);

/// Most tenants whose changes are listened to before those that nobody listens to are dropped.
const IDLE_SUBSCRIPTIONS: usize = 1_024;

/// What is known of the feed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FeedStatus {
    /// Whether the feed is open.
    pub(crate) connected: bool,
    /// When it last said that everything was sent.
    pub(crate) last_sync: Option<Instant>,
}

impl FeedStatus {
    /// Time since the snapshot was last known to be complete; `None` before the first time.
    pub(crate) fn age(self) -> Option<Duration> {
        self.last_sync.map(|at| at.elapsed())
    }
}

#[derive(Debug, Default)]
struct Writer {
    live: Books,
    /// A whole catalogue that is arriving; readers see it when it is complete.
    staging: Option<Books>,
    synced: CatalogVersion,
    generations: u64,
}

/// The snapshot and what keeps it.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    current: ArcSwap<Snapshot>,
    writer: Mutex<Writer>,
    status: Mutex<FeedStatus>,
    first_sync: watch::Sender<bool>,
    listeners: Mutex<HashMap<TenantId, watch::Sender<u64>>>,
}

/// A [`CatalogChange`] with the work done that needs no lock.
enum Step {
    Reset,
    Put(Arc<Entry>),
    Remove(TenantId, ToolName, CatalogVersion),
    Synced(CatalogVersion),
}

impl Catalogue {
    /// A tenant's tools now.
    pub(crate) fn tools(&self, tenant: &TenantId) -> Arc<Tools> {
        self.current.load().of(tenant)
    }

    /// A tenant's tool of this name, served or not.
    pub(crate) fn find(&self, tenant: &TenantId, name: &str) -> Option<Arc<Entry>> {
        self.current.load().of(tenant).find(name).map(Arc::clone)
    }

    /// The names of the tools, of every tenant, that are such.
    pub(crate) fn names(&self, such: impl Fn(&ToolSpec) -> bool) -> BTreeSet<ToolName> {
        let snapshot = self.current.load();
        let found = snapshot.all().filter(|entry| such(&entry.record.spec));
        found.map(|entry| entry.record.name.clone()).collect()
    }

    /// Version and size of the snapshot.
    pub(crate) fn extent(&self) -> (CatalogVersion, usize) {
        let snapshot = self.current.load();
        (snapshot.version, snapshot.count)
    }

    /// What is known of the feed.
    pub(crate) fn status(&self) -> FeedStatus {
        *self.status.lock()
    }

    /// Whether a name that is not in the snapshot may exist all the same.
    pub(crate) fn is_stale(&self) -> bool {
        let status = self.status();
        !status.connected || status.age().is_none_or(|age| age > STALE_AFTER)
    }

    /// Whether the snapshot was ever complete.
    pub(crate) fn has_synced(&self) -> bool {
        *self.first_sync.borrow()
    }

    /// Waits until the snapshot is complete for the first time.
    pub(crate) async fn wait_synced(&self) {
        let mut first = self.first_sync.subscribe();
        // The sender lives in self, so waiting can only end well.
        if first.wait_for(|synced| *synced).await.is_err() {
            tracing::error!("the catalogue went away while its first sync was awaited");
        }
    }

    /// Follows changes of a tenant's list: a new number whenever `tools/list` may show something
    /// else. Changes in quick succession come as one.
    pub(crate) fn subscribe(&self, tenant: &TenantId) -> watch::Receiver<u64> {
        let mut listeners = self.listeners.lock();
        if listeners.len() >= IDLE_SUBSCRIPTIONS {
            listeners.retain(|_, sender| sender.receiver_count() > 0);
        }
        listeners.entry(tenant.clone()).or_default().subscribe()
    }

    /// Takes over what a write or a lookup of this gateway has just learnt, so that its answer and
    /// the next list agree. Older than what the feed has told, it is dropped.
    ///
    /// # Errors
    /// `internal` as [`Entry::new`].
    pub(crate) fn learn(&self, record: ToolRecord) -> Result<Arc<Entry>> {
        let entry = Arc::new(Entry::new(record)?);
        self.learn_step(entry.record.version, |books, touched| {
            books.put(&entry, touched)
        });
        Ok(entry)
    }

    /// Takes over that this gateway has just deleted a tool.
    pub(crate) fn learn_removal(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        version: CatalogVersion,
    ) {
        self.learn_step(version, |books, touched| {
            books.remove(tenant, name, version, touched)
        });
    }

    fn learn_step(&self, version: CatalogVersion, step: impl Fn(&mut Books, &mut Touched)) {
        let mut writer = self.writer.lock();
        if let Some(staging) = &mut writer.staging {
            step(staging, &mut Touched::new());
        }
        if version > writer.synced {
            let mut touched = Touched::new();
            step(&mut writer.live, &mut touched);
            self.publish(&mut writer, &touched);
        }
    }

    /// Takes a batch of the feed over. Gives back when those of its changes were made that the
    /// snapshot followed as they came, not as a part of a whole catalogue.
    ///
    /// # Errors
    /// `internal` as [`Entry::new`].
    fn apply(&self, changes: Vec<CatalogChange>) -> Result<Vec<Timestamp>> {
        let steps = changes
            .into_iter()
            .map(prepare)
            .collect::<Result<Vec<_>>>()?;
        let mut touched = Touched::new();
        let mut synced = false;
        let mut followed = Vec::new();
        let mut writer = self.writer.lock();
        for step in steps {
            let following = writer.staging.is_none() && writer.synced > CatalogVersion::default();
            let Writer { live, staging, .. } = &mut *writer;
            let mut unseen = Touched::new();
            let (books, seen) = match staging {
                Some(staging) => (staging, &mut unseen),
                None => (live, &mut touched),
            };
            match step {
                Step::Reset => writer.staging = Some(Books::default()),
                Step::Put(entry) => {
                    if following {
                        followed.push(entry.record.updated_at);
                    }
                    books.put(&entry, seen);
                }
                Step::Remove(tenant, name, version) => {
                    books.remove(&tenant, &name, version, seen);
                }
                Step::Synced(version) => {
                    if let Some(whole) = writer.staging.take() {
                        let tenants = writer.live.tenants().into_iter().chain(whole.tenants());
                        touched.extend(tenants.map(|tenant| (tenant, true)));
                        writer.live = whole;
                    }
                    writer.synced = version;
                    writer.live.forget_deletions(version);
                    synced = true;
                }
            }
        }
        if synced || !touched.is_empty() {
            self.publish(&mut writer, &touched);
        }
        drop(writer);
        if synced {
            self.status.lock().last_sync = Some(Instant::now());
            self.first_sync.send_replace(true);
        }
        Ok(followed)
    }

    fn publish(&self, writer: &mut Writer, touched: &Touched) {
        let Writer {
            live,
            synced,
            generations,
            ..
        } = writer;
        let snapshot = live.snapshot(&self.current.load(), touched, *synced, generations);
        let snapshot = Arc::new(snapshot);
        self.current.store(Arc::clone(&snapshot));
        let listeners = self.listeners.lock();
        for tenant in touched
            .iter()
            .filter(|(_, shows)| **shows)
            .map(|(tenant, _)| tenant)
        {
            if let Some(listener) = listeners.get(tenant) {
                listener.send_modify(|changes| *changes += 1);
            }
        }
    }
}

fn prepare(change: CatalogChange) -> Result<Step> {
    Ok(match change {
        CatalogChange::Reset => Step::Reset,
        CatalogChange::Upserted(record) => Step::Put(Arc::new(Entry::new(*record)?)),
        CatalogChange::Removed {
            tenant,
            name,
            version,
        } => Step::Remove(tenant, name, version),
        CatalogChange::Synced(version) => Step::Synced(version),
    })
}

#[cfg(test)]
mod tests;
