//! What the dependencies of tools come to: found out before a tool is stored, kept with its revision,
//! and handed to the executor with each call.

use domain::principal::{Action, authorize};
use domain::tool::ToolRecord;
use domain::{
    CallContext, Error, ErrorCode, Lockfile, Resolve, Result, Revision, TenantId, ToolDraft,
    ToolName, ToolPatch, validate,
};
use moka::future::Cache;
use tokio::time::{Instant, timeout_at};

use crate::gateway::Gateway;

/// What all lockfiles of the cache may take together, in bytes.
const CACHE_BYTES: u64 = 32 << 20;
/// What an entry costs besides its text, in bytes, roughly.
const OVERHEAD: usize = 512;

type Key = (TenantId, ToolName, Revision);

/// Lockfiles by revision; a revision's lockfile never changes.
#[derive(Debug)]
pub(crate) struct LockCache(Cache<Key, Option<Lockfile>>);

impl LockCache {
    pub(crate) fn new() -> Self {
        let weigh = |_: &Key, lock: &Option<Lockfile>| {
            let text = lock.as_ref().map_or(0, |lock| lock.text().len());
            u32::try_from(text * 2 + OVERHEAD).unwrap_or(u32::MAX)
        };
        Self(
            Cache::builder()
                .weigher(weigh)
                .max_capacity(CACHE_BYTES)
                .build(),
        )
    }
}

impl Gateway {
    /// Gives a draft with dependencies its lockfile, when there is an executor that installs packages.
    /// Without one the tool is stored all the same, as it always was: its calls are refused with a
    /// sentence that says what it needs, until there is such an executor.
    ///
    /// # Errors
    /// What is wrong with the draft; `dependency_install_failed`, `policy_denied` (a blocked package),
    /// `unavailable`.
    pub(crate) async fn lock_draft(
        &self,
        context: &CallContext,
        draft: &mut ToolDraft,
        deadline: Instant,
    ) -> Result<()> {
        let spec = &draft.spec;
        let taken = self
            .catalogue()
            .find(&context.principal.tenant, draft.name.as_str());
        // The registry refuses a name that is taken: nothing is fetched for that.
        if spec.dependencies.is_empty() || taken.is_some() {
            return Ok(());
        }
        validate::draft(draft, &self.settings().policy)?;
        let request = Resolve {
            runtime: spec.runtime,
            image: spec.image.clone(),
            dependencies: spec.dependencies.clone(),
        };
        draft.lock = self.resolve_packages(context, request, deadline).await?;
        Ok(())
    }

    /// The same for a change, when it is one of the dependencies or of the language.
    ///
    /// # Errors
    /// As [`lock_draft`](Self::lock_draft).
    pub(crate) async fn lock_patch(
        &self,
        context: &CallContext,
        name: &ToolName,
        patch: &mut ToolPatch,
        deadline: Instant,
    ) -> Result<()> {
        let tenant = &context.principal.tenant;
        // One that nobody knows yet is resolved when it is called.
        let Some(entry) = self.catalogue().find(tenant, name.as_str()) else {
            return Ok(());
        };
        let spec = &entry.record.spec;
        let action = Action::WriteTool(&spec.required_scopes);
        // To this caller there is no such tool, which the registry says.
        if authorize(&context.principal, action).is_err() {
            return Ok(());
        }
        let runtime = patch.runtime.unwrap_or(spec.runtime);
        let dependencies = patch.dependencies.as_ref().unwrap_or(&spec.dependencies);
        let is_same = runtime == spec.runtime && *dependencies == spec.dependencies;
        if is_same || dependencies.is_empty() {
            return Ok(());
        }
        let image = patch.image.as_ref().unwrap_or(&spec.image);
        let policy = &self.settings().policy;
        validate::image_allowed("image", image, policy)?;
        validate::dependencies_allowed("dependencies", dependencies, runtime, policy)?;
        let request = Resolve {
            runtime,
            image: image.clone(),
            dependencies: dependencies.clone(),
        };
        patch.lock = self.resolve_packages(context, request, deadline).await?;
        Ok(())
    }

    /// The lockfile of a stored tool. One that has none, because it was taken over from elsewhere or
    /// stored while there was nobody to resolve it, gets one now.
    ///
    /// # Errors
    /// `dependency_install_failed`, `policy_denied` (a blocked package), `unavailable`.
    pub(crate) async fn lock_of(
        &self,
        context: &CallContext,
        record: &ToolRecord,
        deadline: Instant,
    ) -> Result<Option<Lockfile>> {
        let spec = &record.spec;
        if spec.dependencies.is_empty() {
            return Ok(None);
        }
        let key = (record.tenant.clone(), record.name.clone(), record.revision);
        let load = async {
            let stored = self.catalog().lock(context, &record.name, record.revision);
            let stored = timeout_at(deadline, stored).await;
            if let Some(lock) = stored.unwrap_or_else(|_| Err(Error::unavailable("registry")))? {
                return Ok(Some(lock));
            }
            let request = Resolve {
                runtime: spec.runtime,
                image: spec.image.clone(),
                dependencies: spec.dependencies.clone(),
            };
            let Some(lock) = self.resolve_packages(context, request, deadline).await? else {
                return Err(NoLock::Nobody);
            };
            let kept =
                self.catalog()
                    .set_lock(context, &record.name, record.revision, lock.clone());
            let kept = timeout_at(deadline, kept).await;
            match kept.unwrap_or_else(|_| Err(Error::unavailable("registry"))) {
                Ok(kept) => Ok(Some(kept)),
                // It can be used all the same; the next call tries to keep one again.
                Err(error) if error.code() == ErrorCode::Unavailable => Err(NoLock::NotKept(lock)),
                Err(error) => Err(error.into()),
            }
        };
        match self.locks().0.try_get_with(key, load).await {
            Ok(lock) => Ok(lock),
            Err(none) => match &*none {
                NoLock::Nobody => Ok(None),
                NoLock::NotKept(lock) => Ok(Some(lock.clone())),
                NoLock::Failed(error) => Err(error.clone()),
            },
        }
    }

    /// What dependencies come to; nothing when there is no executor that installs packages.
    ///
    /// # Errors
    /// As [`lock_of`](Self::lock_of).
    pub(crate) async fn resolve_packages(
        &self,
        context: &CallContext,
        request: Resolve,
        deadline: Instant,
    ) -> Result<Option<Lockfile>> {
        let mut context = context.clone();
        context.budget = deadline.saturating_duration_since(Instant::now());
        let resolved = timeout_at(deadline, self.runner().resolve(&context, request)).await;
        match resolved {
            Ok(Ok(lock)) => {
                validate::lockfile_allowed("dependencies", &lock, &self.settings().policy)?;
                Ok(Some(lock))
            }
            // About the executor, and not about a package.
            Ok(Err(error))
                if error.code() == ErrorCode::PolicyDenied && error.field().is_none() =>
            {
                tracing::debug!(%error, "no executor installs packages");
                Ok(None)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::new(
                ErrorCode::Timeout,
                "the dependencies were not resolved in time; nothing was stored",
            )
            .with_fix("try again: what was found out meanwhile is remembered")),
        }
    }
}

/// Why nothing is kept in the cache.
#[derive(Debug)]
enum NoLock {
    /// No executor installs packages.
    Nobody,
    /// The registry could not keep it.
    NotKept(Lockfile),
    Failed(Error),
}

impl From<Error> for NoLock {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
