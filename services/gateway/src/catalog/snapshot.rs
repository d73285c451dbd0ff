//! The snapshot that readers see, and the books from which it is made.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use domain::{CatalogVersion, TenantId, ToolName};

use super::entry::Entry;

/// The tools of one tenant at one moment.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    /// Sorted by name, also those that are disabled or shadowed.
    pub(crate) entries: Vec<Arc<Entry>>,
    /// Another number whenever `tools/list` may show something else; 0 for no tools at all.
    pub(crate) generation: u64,
    /// Whether some tool requires scopes, so that the list depends on the caller.
    pub(crate) scoped: bool,
}

impl Tools {
    /// The tool of this name, whether or not it is served.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Entry>> {
        self.entries
            .binary_search_by(|entry| entry.record.name.as_str().cmp(name))
            .ok()
            .map(|at| &self.entries[at])
    }

    /// The tools that come after this name.
    pub(crate) fn after(&self, name: Option<&str>) -> &[Arc<Entry>] {
        let start = name.map_or(0, |name| {
            self.entries
                .partition_point(|entry| entry.record.name.as_str() <= name)
        });
        &self.entries[start..]
    }
}

/// Every tenant's tools at one moment.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    tenants: HashMap<TenantId, Arc<Tools>>,
    /// Everything up to this version is in it.
    pub(crate) version: CatalogVersion,
    /// How many tools it holds.
    pub(crate) count: usize,
}

impl Snapshot {
    /// Every tool of every tenant.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.tenants.values().flat_map(|tools| tools.after(None))
    }

    /// A tenant's tools.
    pub(crate) fn of(&self, tenant: &TenantId) -> Arc<Tools> {
        self.tenants.get(tenant).cloned().unwrap_or_default()
    }
}

/// What is known of one tenant, in the order in which it was learnt.
#[derive(Debug, Default)]
struct Shelf {
    tools: BTreeMap<ToolName, Arc<Entry>>,
    /// Deletions that an older event could still try to undo.
    gone: HashMap<ToolName, CatalogVersion>,
}

/// Tenants that a step has changed, and whether their list shows it.
pub(super) type Touched = HashMap<TenantId, bool>;

/// What is known of every tenant. Only ever moves forward: of two facts about a name the one with
/// the higher version stays, in whatever order they come.
#[derive(Debug, Default)]
pub(super) struct Books {
    shelves: HashMap<TenantId, Shelf>,
}

impl Books {
    /// Notes that a tool was created or changed.
    pub(super) fn put(&mut self, entry: &Arc<Entry>, touched: &mut Touched) {
        let record = &entry.record;
        let shelf = self.shelves.entry(record.tenant.clone()).or_default();
        let newer = |known: Option<CatalogVersion>| known.is_none_or(|at| at < record.version);
        let old = shelf.tools.get(&record.name);
        if !newer(old.map(|old| old.record.version))
            || !newer(shelf.gone.get(&record.name).copied())
        {
            return;
        }
        let shows = old.map_or(entry.served(), |old| !old.lists_like(entry));
        *touched.entry(record.tenant.clone()).or_default() |= shows;
        shelf.gone.remove(&record.name);
        shelf.tools.insert(record.name.clone(), Arc::clone(entry));
    }

    /// Notes that a tool was deleted.
    pub(super) fn remove(
        &mut self,
        tenant: &TenantId,
        name: &ToolName,
        version: CatalogVersion,
        touched: &mut Touched,
    ) {
        let shelf = self.shelves.entry(tenant.clone()).or_default();
        if shelf
            .tools
            .get(name)
            .is_some_and(|known| known.record.version > version)
        {
            return;
        }
        let last = shelf.gone.entry(name.clone()).or_insert(version);
        *last = (*last).max(version);
        if let Some(old) = shelf.tools.remove(name) {
            *touched.entry(tenant.clone()).or_default() |= old.served();
        }
    }

    /// Forgets deletions that nothing can undo any more because the feed is past them.
    pub(super) fn forget_deletions(&mut self, synced: CatalogVersion) {
        for shelf in self.shelves.values_mut() {
            shelf.gone.retain(|_, version| *version > synced);
        }
        self.shelves
            .retain(|_, shelf| !shelf.tools.is_empty() || !shelf.gone.is_empty());
    }

    /// All tenants that have or had tools.
    pub(super) fn tenants(&self) -> HashSet<TenantId> {
        self.shelves.keys().cloned().collect()
    }

    /// A new snapshot: `old` with the touched tenants made anew.
    pub(super) fn snapshot(
        &self,
        old: &Snapshot,
        touched: &Touched,
        version: CatalogVersion,
        generations: &mut u64,
    ) -> Snapshot {
        let mut tenants = old.tenants.clone();
        for (tenant, shows) in touched {
            let shelf = self
                .shelves
                .get(tenant)
                .filter(|shelf| !shelf.tools.is_empty());
            let Some(shelf) = shelf else {
                tenants.remove(tenant);
                continue;
            };
            let generation = match old.tenants.get(tenant) {
                Some(before) if !shows => before.generation,
                _ => {
                    *generations += 1;
                    *generations
                }
            };
            let entries: Vec<_> = shelf.tools.values().map(Arc::clone).collect();
            let scoped = entries
                .iter()
                .any(|entry| !entry.record.spec.required_scopes.is_empty());
            tenants.insert(
                tenant.clone(),
                Arc::new(Tools {
                    entries,
                    generation,
                    scoped,
                }),
            );
        }
        let count = tenants.values().map(|tools| tools.entries.len()).sum();
        Snapshot {
            tenants,
            version,
            count,
        }
    }
}
