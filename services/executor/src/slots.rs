//! How many calls run at once, and how many may wait for that.

use std::sync::Arc;
use std::time::Duration;

use domain::error::{Error, ErrorCode, Result};
use domain::id::TenantId;
use parking_lot::Mutex;
use sandbox::fair::{Pace, Shares, Ticket, Turns};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

/// A bounded number of slots with a bounded queue before them. Tenants are served in turn, and while
/// several are there a few slots are kept for those that hold few.
#[derive(Debug)]
pub(crate) struct Slots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    capacity: u32,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    taken: usize,
    waiting: Turns<oneshot::Sender<Answer>>,
    shares: Shares,
    pace: Pace,
}

/// What somebody who waits is told.
#[derive(Debug)]
enum Answer {
    /// A slot is taken for it.
    Served,
    /// It had to go for somebody of another tenant.
    PushedOut,
}

/// A taken slot.
#[derive(Debug)]
pub(crate) struct SlotGuard {
    shared: Arc<Shared>,
    tenant: TenantId,
}

impl Slots {
    pub(crate) fn new(capacity: u32, queue: usize) -> Self {
        Self(Arc::new(Shared {
            capacity,
            state: Mutex::new(State {
                taken: 0,
                waiting: Turns::new(queue),
                shares: Shares::default(),
                pace: Pace::default(),
            }),
            freed: Notify::new(),
        }))
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.0.capacity
    }

    pub(crate) fn taken(&self) -> u32 {
        u32::try_from(self.0.state.lock().taken).unwrap_or(u32::MAX)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.0.state.lock().waiting.len()
    }

    /// Takes a slot, waiting at most this long.
    ///
    /// # Errors
    /// `overloaded` with a time to come back: the queue, or this tenant's share of it, is full, or
    /// the time is over.
    pub(crate) async fn take(&self, tenant: &TenantId, patience: Duration) -> Result<SlotGuard> {
        let now = Instant::now();
        let mut place = {
            let mut state = self.0.state.lock();
            state.shares.arrived(tenant, now);
            // Of those that wait none may take what is free now, or it would have been served.
            if self.0.may_take(&state, tenant, now) {
                state.taken += 1;
                state.shares.took(tenant, now);
                return Ok(self.guard(tenant));
            }
            let (answer, told) = oneshot::channel();
            let Ok(joined) = state.waiting.join(tenant, answer) else {
                return Err(overloaded(&state));
            };
            if let Some(other) = joined.pushed_out {
                // It may have gone by itself.
                drop(other.send(Answer::PushedOut));
            }
            Place {
                shared: &self.0,
                tenant,
                ticket: joined.ticket,
                told: Some(told),
            }
        };
        let Some(told) = place.told.as_mut() else {
            return Err(self.overloaded());
        };
        match timeout(patience, told).await {
            Ok(Ok(Answer::Served)) => {
                place.told = None;
                Ok(self.guard(tenant))
            }
            Ok(Ok(Answer::PushedOut) | Err(_)) => {
                place.told = None;
                Err(self.overloaded())
            }
            Err(_) => Err(self.overloaded()),
        }
    }

    fn guard(&self, tenant: &TenantId) -> SlotGuard {
        SlotGuard {
            shared: Arc::clone(&self.0),
            tenant: tenant.clone(),
        }
    }

    fn overloaded(&self) -> Error {
        overloaded(&self.0.state.lock())
    }

    /// Waits until no slot is taken and nobody waits for one.
    pub(crate) async fn all_free(&self) {
        loop {
            let freed = self.0.freed.notified();
            let is_free = {
                let state = self.0.state.lock();
                state.taken == 0 && state.waiting.is_empty()
            };
            if is_free {
                return;
            }
            freed.await;
        }
    }
}

impl Shared {
    fn capacity(&self) -> usize {
        usize::try_from(self.capacity).unwrap_or(usize::MAX)
    }

    fn may_take(&self, state: &State, tenant: &TenantId, now: Instant) -> bool {
        let free = self.capacity().saturating_sub(state.taken);
        free > Shares::reserve(self.capacity()) || free > 0 && state.shares.is_light(tenant, now)
    }

    /// Gives out what is free.
    fn serve(&self, state: &mut State, now: Instant) {
        loop {
            let (taken, capacity) = (state.taken, self.capacity());
            let (waiting, shares) = (&mut state.waiting, &state.shares);
            let free = capacity.saturating_sub(taken);
            if free == 0 {
                return;
            }
            let plenty = free > Shares::reserve(capacity);
            let next = waiting.next(|tenant, _| plenty || shares.is_light(tenant, now));
            let Some((tenant, answer)) = next else {
                return;
            };
            // Whoever has given up leaves the queue itself.
            if answer.send(Answer::Served).is_ok() {
                state.taken += 1;
                state.shares.took(&tenant, now);
                if state.waiting.is_empty() {
                    state.pace.idle();
                } else {
                    state.pace.served(now);
                }
            }
        }
    }

    fn give_back(&self, tenant: &TenantId) {
        {
            let mut state = self.state.lock();
            state.taken = state.taken.saturating_sub(1);
            state.shares.gave_back(tenant);
            self.serve(&mut state, Instant::now());
        }
        self.freed.notify_waiters();
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        self.shared.give_back(&self.tenant);
    }
}

/// A place in the queue; left when dropped, also by a caller who gives up.
struct Place<'a> {
    shared: &'a Shared,
    tenant: &'a TenantId,
    ticket: Ticket,
    /// Nothing once the answer has been read.
    told: Option<oneshot::Receiver<Answer>>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(mut told) = self.told.take() else {
            return;
        };
        let was_waiting = {
            let mut state = self.shared.state.lock();
            state.waiting.leave(self.tenant, self.ticket).is_some()
        };
        // Served in the very moment that it gave up.
        if !was_waiting && matches!(told.try_recv(), Ok(Answer::Served)) {
            self.shared.give_back(self.tenant);
        } else {
            self.shared.freed.notify_waiters();
        }
    }
}

fn overloaded(state: &State) -> Error {
    Error::new(
        ErrorCode::Overloaded,
        "the executor runs as many calls as it can; nothing has run",
    )
    .with_fix("try again later")
    .with_retry_after(state.pace.retry_after(state.waiting.len()))
}

#[cfg(test)]
mod tests;
