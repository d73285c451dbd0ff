//! The gateway's core as one handle, shared by all edges.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use auth::AdminToken;
use domain::{
    CallContext, Catalog, Error, ErrorCode, Principal, Result, Runner, Scope, Sessions, TenantId,
    ToolRecord,
};
use telemetry::Metrics;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::admin;
use crate::audit::AuditLog;
use crate::builtin::BuiltIn;
use crate::cache::ResponseCache;
use crate::catalog::Catalogue;
use crate::catalog::entry::Entry;
use crate::code::CodeCache;
use crate::guard::{AdminGuesses, Guard};
use crate::listing::Pages;
use crate::locks::LockCache;
use crate::placement::Placement;
use crate::resources::Resources;
use crate::schemas::Schemas;
use crate::settings::{Parts, Settings};

/// The stateless heart of the MCP endpoint, free of protocol versions and transports. Cheap to
/// clone. It follows the registry from when it is made until [`Gateway::shutdown`] or its last
/// clone is dropped.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    admin_token: Option<AdminToken>,
    catalog: Arc<dyn Catalog>,
    runner: Arc<dyn Runner>,
    sessions: Arc<dyn Sessions>,
    placement: Option<Arc<Placement>>,
    metrics: Arc<Metrics>,
    audit: AuditLog,
    catalogue: Arc<Catalogue>,
    codes: CodeCache,
    locks: LockCache,
    cache: Arc<ResponseCache>,
    schemas: Schemas,
    guard: Arc<Guard>,
    admin_guesses: AdminGuesses,
    pages: Pages,
    resources: Resources,
    built_ins: Vec<BuiltIn>,
    built_in_at: HashMap<&'static str, usize>,
    started: Instant,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_with_the_last_clone: DropGuard,
}

impl Gateway {
    /// Puts the core together and starts to follow the registry. Needs a tokio runtime.
    ///
    /// # Errors
    /// `internal` when a built-in's definition is broken, which the tests exclude;
    /// `invalid_argument` when a setting of Redis cannot be used.
    pub fn new(parts: Parts) -> Result<Self> {
        let Parts {
            settings,
            catalog,
            runner,
            sessions,
            placement,
            metrics,
            audit,
        } = parts;
        let built_ins = BuiltIn::all(settings.profile)?;
        let built_in_at = built_ins
            .iter()
            .enumerate()
            .map(|(at, tool)| (tool.name(), at))
            .collect();
        let catalogue = Arc::new(Catalogue::default());
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(Arc::clone(&catalogue).follow(
            Arc::clone(&catalog),
            Arc::clone(&metrics),
            stop.clone(),
        ));
        let seen = Arc::downgrade(&catalogue);
        metrics.on_scrape(move |metrics| {
            if let Some(catalogue) = seen.upgrade() {
                let (version, tools) = catalogue.extent();
                metrics
                    .catalogue_version
                    .set(i64::try_from(version.0).unwrap_or(i64::MAX));
                metrics
                    .catalogue_tools
                    .set(i64::try_from(tools).unwrap_or(i64::MAX));
                let age = catalogue.status().age();
                metrics
                    .catalogue_age
                    .set(age.map_or(f64::INFINITY, |age| age.as_secs_f64()));
            }
        });
        let cache = Arc::new(ResponseCache::new(&settings.cache, &metrics)?);
        if let Some(keep_up) = cache.keep_up(stop.clone()) {
            tasks.spawn(keep_up);
        }
        let seen = Arc::downgrade(&cache);
        metrics.on_scrape(move |metrics| {
            let (entries, bytes) = seen.upgrade().map_or((0, 0), |cache| cache.extent());
            let shown = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            metrics.response_cache_entries.set(shown(entries));
            metrics.response_cache_bytes.set(shown(bytes));
        });
        let calls = settings.calls.clone();
        let guard = Arc::new(Guard::new(settings.guard, calls, Arc::clone(&metrics)));
        let seen = Arc::downgrade(&guard);
        metrics.on_scrape(move |metrics| {
            for (kind, known) in seen.upgrade().into_iter().flat_map(|guard| guard.tracked()) {
                let known = i64::try_from(known).unwrap_or(i64::MAX);
                metrics.limit_tracked.with_label_values(&[kind]).set(known);
            }
        });
        let inner = Inner {
            admin_token: settings.admin_token.as_ref().map(AdminToken::new),
            codes: CodeCache::new(settings.code_cache_bytes),
            locks: LockCache::new(),
            cache,
            schemas: Schemas::new(),
            admin_guesses: AdminGuesses::new(&settings.calls),
            guard,
            pages: Pages::new(),
            resources: Resources::new(&settings)?,
            settings,
            catalog,
            runner,
            sessions,
            placement,
            metrics,
            audit,
            catalogue,
            built_ins,
            built_in_at,
            started: Instant::now(),
            tasks,
            _stop_with_the_last_clone: stop.clone().drop_guard(),
            stop,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Waits until the catalogue has been read for the first time, at most this long. Says whether
    /// it was.
    pub async fn synced(&self, within: Duration) -> bool {
        tokio::time::timeout(within, self.inner.catalogue.wait_synced())
            .await
            .is_ok()
    }

    /// Stops following the registry and waits for that. Calls that run are not touched.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Follows changes of what `tools/list` shows to a tenant: a new number after each, several at
    /// once as one.
    #[must_use]
    pub fn subscribe(&self, tenant: &TenantId) -> watch::Receiver<u64> {
        self.inner.catalogue.subscribe(tenant)
    }

    /// The caller with the scope `mcp:admin` when this is the admin token (of the header
    /// `x-mcp-admin-token`). The comparison takes constant time.
    #[must_use]
    pub fn elevate(&self, principal: &Principal, token: &str) -> Option<Arc<Principal>> {
        self.is_admin_token(token)
            .then(|| admin::elevated(principal))
    }

    /// Whether this is the admin token.
    pub(crate) fn is_admin_token(&self, token: &str) -> bool {
        let admin_token = self.inner.admin_token.as_ref();
        admin_token.is_some_and(|admin_token| admin_token.matches(token))
    }

    /// Lets only administrators pass, when there is an admin token.
    ///
    /// # Errors
    /// `permission_denied` in the words of the Node server.
    pub(crate) fn check_admin(&self, principal: &Principal) -> Result<()> {
        if self.inner.admin_token.is_none() || principal.has(Scope::Admin) {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::PermissionDenied,
            "Unauthorized: invalid admin token.",
        )
        .with_fix("pass adminToken, the header x-mcp-admin-token or the scope mcp:admin"))
    }

    /// Takes over what a write of this gateway has stored, with its code if that was part of it.
    ///
    /// # Errors
    /// `internal` as [`Entry::new`].
    pub(crate) async fn learn(&self, record: &ToolRecord, code: Option<&str>) -> Result<()> {
        if let Some(code) = code {
            self.inner.codes.put(record, code).await;
        }
        let _: Arc<Entry> = self.inner.catalogue.learn(record.clone())?;
        Ok(())
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    pub(crate) fn catalog(&self) -> &dyn Catalog {
        &*self.inner.catalog
    }

    pub(crate) fn runner(&self) -> &dyn Runner {
        &*self.inner.runner
    }

    pub(crate) fn sessions(&self) -> &dyn Sessions {
        &*self.inner.sessions
    }

    pub(crate) fn placement(&self) -> Option<&Placement> {
        self.inner.placement.as_deref()
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.inner.metrics
    }

    /// The audit log; one that is off records nothing.
    #[must_use]
    pub fn audit(&self) -> &AuditLog {
        &self.inner.audit
    }

    pub(crate) fn catalogue(&self) -> &Catalogue {
        &self.inner.catalogue
    }

    pub(crate) fn codes(&self) -> &CodeCache {
        &self.inner.codes
    }

    pub(crate) fn locks(&self) -> &LockCache {
        &self.inner.locks
    }

    pub(crate) fn cache(&self) -> &ResponseCache {
        &self.inner.cache
    }

    pub(crate) fn schemas(&self) -> &Schemas {
        &self.inner.schemas
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.inner.guard
    }

    /// Gives the caller the rights of the admin token when this is it: one that came as an argument.
    ///
    /// # Errors
    /// `rate_limited` after too many wrong ones; it is not looked at then.
    pub(crate) fn elevate_by_argument(&self, context: &mut CallContext, token: &str) -> Result<()> {
        self.inner.admin_guesses.check(context)?;
        match self.elevate(&context.principal, token) {
            Some(elevated) => context.principal = elevated,
            None if self.inner.admin_token.is_some() => self.inner.admin_guesses.wrong(context),
            None => {}
        }
        Ok(())
    }

    pub(crate) fn pages(&self) -> &Pages {
        &self.inner.pages
    }

    pub(crate) fn resources(&self) -> &Resources {
        &self.inner.resources
    }

    pub(crate) fn built_ins(&self) -> &[BuiltIn] {
        &self.inner.built_ins
    }

    pub(crate) fn built_in(&self, name: &str) -> Option<&BuiltIn> {
        self.inner
            .built_in_at
            .get(name)
            .map(|at| &self.inner.built_ins[*at])
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.inner.started.elapsed()
    }
}
