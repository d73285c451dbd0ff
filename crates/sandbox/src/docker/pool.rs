//! Sandboxes that wait for a call, in a shelf for each kind. Each is handed out once.
//!
//! One that a call takes is replaced at once, off the call's path; the number that are being made at
//! the same time is bounded, whoever asks. A call that finds its shelf empty waits for the next one
//! that is ready, one tenant after the other (see [`crate::fair`]), whether it was begun for it or not.
//!
//! Kinds that are configured always wait; others for as long as calls ask for them. What all of them
//! may come to is bounded by number and by memory: what was not asked for for the longest time goes
//! first.

mod budget;
mod key;
mod place;
mod shelf;
mod state;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use domain::error::{Error, ErrorCode, Result};
use domain::id::TenantId;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) use self::budget::Budget;
pub(super) use self::key::Key;
use self::state::{Given, Shelves, Taken};
use crate::fair::Ticket;
use crate::{Miss, PoolStatus};

/// First and longest pause after a sandbox that could not be made.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(60)];

/// How long after a take its replacement is begun, when nobody waits for it.
const SOON: Duration = Duration::from_millis(20);

/// Failures one after the other before whoever waits is told: one may be an accident.
const FAILURES: u32 = 2;

/// Failures in a row that are worth a warning each.
const LOUD: u32 = 3;

/// Makes sandboxes.
pub(super) trait Source: Send + Sync + 'static {
    /// A sandbox that waits for its call. Dropping it destroys it.
    type Sandbox: Send + 'static;

    /// Makes one. Bounded in time.
    ///
    /// # Errors
    /// `unavailable`.
    fn make(&self, key: &Key) -> impl Future<Output = Result<Self::Sandbox>> + Send;

    /// Whether it has said already why none of this kind can be made: there is nothing to warn of.
    fn is_explained(&self, key: &Key) -> bool;

    /// Whether something is left to be done with one of this kind while it waits.
    fn is_to_prepare(&self, key: &Key) -> bool;

    /// Does that. Nothing when it cannot be handed out any more. Bounded in time.
    fn prepare(
        &self,
        key: &Key,
        sandbox: Self::Sandbox,
    ) -> impl Future<Output = Option<Self::Sandbox>> + Send;

    /// What a sandbox is called.
    type Name: Send + PartialEq;

    /// Its name.
    fn name(&self, sandbox: &Self::Sandbox) -> Self::Name;

    /// The memory that one uses that waits, in bytes; nothing when it cannot be told now. Bounded in
    /// time.
    fn weigh(&self, name: Self::Name) -> impl Future<Output = Option<u64>> + Send;

    /// Whether it can still be handed out.
    fn condition(&self, sandbox: &mut Self::Sandbox) -> Condition;
}

/// Whether a waiting sandbox can be handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// It waits.
    Usable,
    /// It ended, or its connection did.
    Died,
    /// It has become too old.
    Stale,
}

/// The pool. Cheap to clone.
pub(super) struct Pool<S: Source>(Arc<Shared<S>>);

struct Shared<S: Source> {
    source: S,
    budget: Budget,
    shelves: Mutex<Shelves<S::Sandbox>>,
    tasks: TaskTracker,
    /// A caller may give up anywhere, also outside of the runtime.
    runtime: Handle,
    closed: CancellationToken,
}

impl<S: Source> Clone for Pool<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// What somebody got.
pub(super) struct Checkout<S: Source> {
    /// The sandbox.
    pub(super) sandbox: S::Sandbox,
    /// Why none was waiting; nothing when one was.
    pub(super) miss: Option<Miss>,
    /// To be kept for as long as the sandbox is used.
    pub(super) lease: Lease<S>,
}

/// Counts a sandbox as its tenant's, until it is dropped.
pub(super) struct Lease<S: Source> {
    pool: Pool<S>,
    tenant: TenantId,
}

impl<S: Source> Drop for Lease<S> {
    fn drop(&mut self) {
        self.pool.0.shelves.lock().shares.gave_back(&self.tenant);
    }
}

impl<S: Source> Pool<S> {
    /// An empty pool.
    pub(super) fn new(source: S, budget: Budget) -> Self {
        Self(Arc::new(Shared {
            source,
            budget: Budget {
                making: budget.making.max(1),
                ..budget
            },
            shelves: Mutex::default(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            closed: CancellationToken::new(),
        }))
    }

    /// What there is of each kind.
    pub(super) fn status(&self) -> PoolStatus {
        self.0.shelves.lock().status(&self.0.budget, Instant::now())
    }

    /// How many are kept of each kind, from now on, and which kinds there are still. Those of kinds
    /// that nobody asks for any more are destroyed, and so are those that died or grew too old; what
    /// is missing is made.
    pub(super) fn keep(&self, kept: &[(Key, usize)], exists: impl Fn(&Key) -> bool) {
        let Shared { source, budget, .. } = &*self.0;
        let gone = {
            let mut shelves = self.0.shelves.lock();
            let condition = |sandbox: &mut S::Sandbox| source.condition(sandbox);
            shelves.keep(kept, exists, condition, budget.size, Instant::now())
        };
        // Outside of the lock: this is where they are destroyed.
        drop(gone);
        self.fill();
    }

    /// A sandbox of this kind. Tenants are served in turn, and their callers in the order of arrival.
    ///
    /// # Errors
    /// What the source fails with; `overloaded` when the queue or the tenant's share of it is full;
    /// `unavailable` after [`close`](Self::close).
    #[tracing::instrument(level = "debug", name = "pool take", skip_all)]
    pub(super) async fn take(&self, key: &Key, tenant: &TenantId) -> Result<Checkout<S>> {
        let Shared { source, budget, .. } = &*self.0;
        let mut gone = Vec::new();
        let taken = {
            let mut shelves = self.0.shelves.lock();
            // Under the lock, so that nobody queues up after `close` has emptied the queues.
            if self.0.closed.is_cancelled() {
                return Err(Error::unavailable("sandbox pool"));
            }
            let condition = |sandbox: &mut S::Sandbox| source.condition(sandbox);
            shelves.take(key, tenant, budget, Instant::now(), condition, &mut gone)
        };
        drop(gone);
        let lease = || Lease {
            pool: self.clone(),
            tenant: tenant.clone(),
        };
        match taken {
            Taken::Ready(sandbox) => {
                self.fill_soon();
                Ok(Checkout {
                    sandbox,
                    miss: None,
                    lease: lease(),
                })
            }
            Taken::Full => Err(self.overloaded()),
            Taken::Later(receiver, ticket, miss) => {
                self.fill();
                let mut place = Place {
                    pool: self,
                    tenant,
                    ticket,
                    told: Some(receiver),
                };
                let given = match place.told.as_mut() {
                    Some(told) => told.await,
                    None => return Err(self.overloaded()),
                };
                place.told = None;
                match given {
                    Ok(Given::Made(Ok(sandbox))) => Ok(Checkout {
                        sandbox,
                        miss: Some(miss),
                        lease: lease(),
                    }),
                    Ok(Given::Made(Err(error))) => Err(error),
                    Ok(Given::PushedOut) => Err(self.overloaded()),
                    Err(_) => Err(Error::unavailable("sandbox pool")),
                }
            }
        }
    }

    fn overloaded(&self) -> Error {
        let retry_after = {
            let shelves = self.0.shelves.lock();
            shelves.pace.retry_after(shelves.waiting())
        };
        Error::new(
            ErrorCode::Overloaded,
            "too many calls wait for a sandbox; nothing has run",
        )
        .with_fix("try again later")
        .with_retry_after(retry_after)
    }

    /// Starts what is missing, as far as it may.
    fn fill(&self) {
        if self.0.closed.is_cancelled() {
            return;
        }
        let mut gone = Vec::new();
        let started = {
            let mut shelves = self.0.shelves.lock();
            shelves.begin(&self.0.budget, Instant::now(), &mut gone)
        };
        drop(gone);
        for key in started {
            self.0
                .tasks
                .spawn_on(self.clone().make_one(key), &self.0.runtime);
        }
    }

    /// Starts what is missing in a moment: making a sandbox takes a core for a good while, and the
    /// call that has just got one wants it for a few milliseconds.
    fn fill_soon(&self) {
        let pool = self.clone();
        let soon = async move {
            tokio::select! {
                () = tokio::time::sleep(SOON) => pool.fill(),
                () = pool.0.closed.cancelled() => {}
            }
        };
        self.0.tasks.spawn_on(soon, &self.0.runtime);
    }

    async fn make_one(self, key: Key) {
        let Shared { source, budget, .. } = &*self.0;
        let made = tokio::select! {
            made = source.make(&key) => made,
            () = self.0.closed.cancelled() => Err(Error::unavailable("sandbox pool")),
        };
        let made = match made {
            Ok(sandbox) if self.is_to_prepare(&key) => {
                // Others are made meanwhile.
                self.fill();
                let prepared = tokio::select! {
                    prepared = source.prepare(&key, sandbox) => prepared,
                    () = self.0.closed.cancelled() => None,
                };
                let is_there = prepared.is_some();
                self.0.shelves.lock().prepared(&key, is_there);
                match prepared {
                    Some(sandbox) => Ok(sandbox),
                    None => return self.fill(),
                }
            }
            made => made,
        };
        let failed = made.as_ref().err().cloned();
        let name = made.as_ref().ok().map(|sandbox| source.name(sandbox));
        let placed = {
            let mut shelves = self.0.shelves.lock();
            let condition = |sandbox: &mut S::Sandbox| source.condition(sandbox);
            shelves.place(&key, made, budget, Instant::now(), condition)
        };
        drop(placed.gone);
        if let (Some(name), Some(asks)) = (name, placed.measure) {
            // Others are made meanwhile.
            self.fill();
            let bytes = tokio::select! {
                bytes = source.weigh(name) => bytes,
                () = self.0.closed.cancelled() => None,
            };
            let weighed = |bytes| self.0.shelves.lock().weighed(&key, bytes, asks, budget);
            drop(bytes.map(weighed));
        }
        if let Some(error) = failed
            && !self.0.closed.is_cancelled()
        {
            let cause = error.cause().map(ToString::to_string);
            if placed.failed_in_a_row <= LOUD && !source.is_explained(&key) {
                tracing::warn!(%error, cause, image = %key.image, "a sandbox could not be made");
            } else {
                tracing::debug!(%error, cause, image = %key.image, "no sandbox, as before");
            }
        }
        if let Some(pause) = placed.pause {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.0.closed.cancelled() => {}
            }
        }
        self.fill();
    }

    /// Whether one that was just made is to be prepared: nobody waits for it as it is.
    fn is_to_prepare(&self, key: &Key) -> bool {
        self.0.source.is_to_prepare(key) && self.0.shelves.lock().prepare(key)
    }

    /// The sandboxes that wait and are of this sort.
    pub(super) fn waiting(&self, is: impl Fn(&Key, &S::Sandbox) -> bool) -> Vec<(Key, S::Name)> {
        let shelves = self.0.shelves.lock();
        let all = shelves.by_key.iter();
        let all = all.flat_map(|(key, shelf)| shelf.ready.iter().map(move |it| (key, it)));
        all.filter(|(key, sandbox)| is(key, sandbox))
            .map(|(key, sandbox)| (key.clone(), self.0.source.name(sandbox)))
            .collect()
    }

    /// Destroys one, if it still waits; says whether it did.
    pub(super) fn discard(&self, key: &Key, name: &S::Name) -> bool {
        let gone = {
            let mut shelves = self.0.shelves.lock();
            let ready = shelves.by_key.get_mut(key).map(|shelf| &mut shelf.ready);
            ready.and_then(|ready| {
                let at = ready
                    .iter()
                    .position(|it| self.0.source.name(it) == *name)?;
                ready.remove(at)
            })
        };
        let was_there = gone.is_some();
        drop(gone);
        self.fill();
        was_there
    }

    /// Destroys what waits and makes nothing more.
    pub(super) async fn close(&self) {
        self.0.closed.cancel();
        let all = std::mem::take(&mut *self.0.shelves.lock());
        drop(all);
        self.0.tasks.close();
        self.0.tasks.wait().await;
        drop(std::mem::take(&mut *self.0.shelves.lock()));
    }
}

/// A place in the queue; left when dropped, also by a caller who gives up.
struct Place<'a, S: Source> {
    pool: &'a Pool<S>,
    tenant: &'a TenantId,
    ticket: Ticket,
    /// Nothing once the answer has been read.
    told: Option<oneshot::Receiver<Given<S::Sandbox>>>,
}

impl<S: Source> Drop for Place<'_, S> {
    fn drop(&mut self) {
        if let Some(mut told) = self.told.take() {
            {
                let mut shelves = self.pool.0.shelves.lock();
                shelves.leave(self.tenant, self.ticket);
                // Served in the very moment that it gave up: that sandbox is destroyed.
                if matches!(told.try_recv(), Ok(Given::Made(Ok(_)))) {
                    shelves.shares.gave_back(self.tenant);
                }
            }
            drop(told);
        }
        // One that was begun for it is another's now.
        self.pool.fill();
    }
}

#[cfg(test)]
mod tests;
