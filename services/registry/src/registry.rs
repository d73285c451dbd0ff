//! What the rules share: the store, the settings, and how a call is bounded and counted.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use domain::{CallContext, CatalogVersion, Error, ErrorCode, Result};
use telemetry::Metrics;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::settings::Settings;
use crate::store::Store;
use crate::unreadable::Unreadable;

/// Most writes that wait or run at once, and most watchers.
const MAX_WRITES: usize = 1_024;
const MAX_WATCHERS: usize = 1_024;

/// The registry: implements [`domain::Catalog`] and [`domain::fleet::Fleet`] on a [`Store`].
#[derive(Clone)]
pub struct Registry {
    pub(crate) core: Arc<Core>,
}

pub(crate) struct Core {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) unreadable: Unreadable,
    pub(crate) watchers: Arc<Semaphore>,
    pub(crate) closing: CancellationToken,
    writes: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Registry {
    /// A registry on a store that is open.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, settings: Settings, metrics: Arc<Metrics>) -> Self {
        let core = Core {
            store,
            settings,
            metrics,
            unreadable: Unreadable::default(),
            watchers: Arc::new(Semaphore::new(MAX_WATCHERS)),
            closing: CancellationToken::new(),
            writes: Arc::new(Semaphore::new(MAX_WRITES)),
            tasks: TaskTracker::new(),
        };
        Self {
            core: Arc::new(core),
        }
    }

    /// Whether the store answers, for a readiness check.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn check(&self) -> Result<()> {
        let span = self.core.timed("check", self.core.store.span()).await?;
        self.core.show_version(span.current);
        Ok(())
    }

    /// Ends the watchers, waits for writes that run, and closes the store.
    pub async fn close(&self) {
        self.core.closing.cancel();
        self.core.tasks.close();
        self.core.tasks.wait().await;
        self.core.store.close().await;
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Registry")
            .field("settings", &self.core.settings)
            .finish_non_exhaustive()
    }
}

impl Core {
    /// Runs a read within the caller's time.
    pub(crate) async fn read<T>(
        &self,
        context: &CallContext,
        operation: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        has_time(context)?;
        timeout(context.budget, self.timed(operation, work))
            .await
            .unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorCode::Unavailable,
                    "the registry did not answer in time",
                ))
            })
    }

    /// Runs a write to its end even when the caller goes away: a write that is dropped half-way
    /// would be made without being announced.
    pub(crate) async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        context: &CallContext,
        operation: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        has_time(context)?;
        let permit = Arc::clone(&self.writes).try_acquire_owned().map_err(|_| {
            Error::new(
                ErrorCode::Overloaded,
                "the registry has too many writes at once",
            )
            .with_limit(MAX_WRITES.to_string())
            .with_retry_after(std::time::Duration::from_millis(200))
        })?;
        let core = Arc::clone(self);
        let task = async move {
            let result = core.timed(operation, work).await;
            drop(permit);
            result
        };
        // What it logs names the request.
        let task = self.tasks.spawn(task.in_current_span());
        match timeout(context.budget, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(Error::internal(panic)),
            Err(_) => Err(Error::new(
                ErrorCode::Unavailable,
                "the registry did not answer in time; the change may have been made",
            )
            .with_may_have_run(true)
            .with_fix("read the tool before you try again")),
        }
    }

    /// Counts an operation of the store, and logs what its caller is not told.
    pub(crate) async fn timed<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let start = Instant::now();
        let span = tracing::debug_span!("store", operation);
        let result = work.instrument(span).await;
        self.metrics
            .registry_query_duration
            .with_label_values(&[operation])
            .observe(start.elapsed().as_secs_f64());
        result.map_err(|error| {
            let Some(cause) = error.cause() else {
                return error;
            };
            if error.code() == ErrorCode::Internal {
                let at = error.origin().map(tracing::field::display);
                tracing::error!(
                    fault = "internal",
                    at,
                    operation,
                    cause,
                    "store operation failed"
                );
            } else {
                let code = error.code();
                tracing::error!(operation, %code, %error, cause, "store operation failed");
            }
            error.logged()
        })
    }

    /// Tells the watchers of this process about a version that was just made.
    pub(crate) fn announce(&self, version: CatalogVersion) {
        self.store.hints().announce(version);
        self.show_version(version);
    }

    pub(crate) fn show_version(&self, version: CatalogVersion) {
        self.metrics
            .catalogue_version
            .set(i64::try_from(version.0).unwrap_or(i64::MAX));
    }
}

/// A call whose time is over is not begun.
fn has_time(context: &CallContext) -> Result<()> {
    if context.budget.is_zero() {
        return Err(Error::new(
            ErrorCode::Unavailable,
            "no time was left; nothing was done",
        ));
    }
    Ok(())
}
