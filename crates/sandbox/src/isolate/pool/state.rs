//! What the pool knows: who waits, on either side, and how many may.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use domain::error::Result;
use domain::id::TenantId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::spawn::Sandbox;
use super::{Miss, no_start, overloaded};
use crate::fair::{Pace, Ticket, Turns};

/// Sandboxes that start at the same time.
const STARTING: usize = 4;

/// Calls that may wait. The executor's slots bound them long before.
const WAITING: usize = 4_096;

/// Starts that fail one after the other before whoever waits is told.
const FAILURES: u32 = 3;

/// First and longest pause after a start that failed.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(5)];

/// Memory of a sandbox that waits, in bytes, before one has been measured.
const GUESS: u64 = 4 << 20;

type Answer = oneshot::Sender<Result<Sandbox>>;

#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) size: usize,
    pub(super) memory_bytes: u64,
    pub(super) max_age: Duration,
}

#[derive(Debug)]
struct Idle {
    sandbox: Sandbox,
    since: Instant,
    memory_bytes: u64,
}

/// What became of a started sandbox.
pub(super) enum Placed {
    /// Somebody has it, or it waits.
    Kept,
    /// There are enough.
    Superfluous(Box<Sandbox>),
    /// There is none; the next start comes after this pause.
    Failed(Duration),
}

#[derive(Debug)]
pub(super) struct State {
    bounds: Bounds,
    ready: VecDeque<Idle>,
    waiting: Turns<Answer>,
    pace: Pace,
    starting: usize,
    failed_in_a_row: u32,
    /// The most that one was seen to use while it waited.
    costs: Option<u64>,
}

impl State {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            ready: VecDeque::new(),
            waiting: Turns::new(WAITING),
            pace: Pace::default(),
            starting: 0,
            failed_in_a_row: 0,
            costs: None,
        }
    }

    /// How many may wait: the configured number, or as many as their memory allows.
    pub(super) fn room(&self) -> usize {
        let by_memory = self.bounds.memory_bytes / self.costs.unwrap_or(GUESS).max(1);
        self.bounds
            .size
            .min(usize::try_from(by_memory).unwrap_or(usize::MAX))
    }

    pub(super) fn max_age(&self) -> Duration {
        self.bounds.max_age
    }

    pub(super) fn idle(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What those that wait use together.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.ready.iter().map(|it| it.memory_bytes).sum()
    }

    /// The one that waits longest and can be used, or why there is none. Nobody is passed by who
    /// waits already.
    pub(super) fn take(&mut self, now: Instant) -> Result<Sandbox, Miss> {
        let mut miss = if self.room() == 0 {
            Miss::ColdKey
        } else if self.starting > self.waiting.len() {
            Miss::Booting
        } else {
            Miss::Empty
        };
        while let Some(mut idle) = self.ready.pop_front() {
            if !idle.sandbox.is_alive() {
                miss = Miss::Died;
            } else if now.saturating_duration_since(idle.since) > self.bounds.max_age {
                miss = Miss::Stale;
            } else {
                return Ok(idle.sandbox);
            }
            // Dropped, which kills it.
        }
        Err(miss)
    }

    /// Comes into the line.
    ///
    /// # Errors
    /// `overloaded`.
    pub(super) fn wait(&mut self, tenant: &TenantId, answer: Answer) -> Result<Ticket> {
        let after = self.pace.retry_after(self.waiting.len());
        let joined = self.waiting.join(tenant, answer);
        let joined = joined.map_err(|_| overloaded(after))?;
        if let Some(other) = joined.pushed_out {
            // Whoever that was may have gone.
            drop(other.send(Err(overloaded(after))));
        }
        Ok(joined.ticket)
    }

    pub(super) fn leave(&mut self, tenant: &TenantId, ticket: Ticket) -> Option<Answer> {
        self.waiting.leave(tenant, ticket)
    }

    /// How many to start now; they count as starting from here on.
    pub(super) fn begin_missing(&mut self) -> usize {
        let wanted = self.room() + self.waiting.len();
        let missing = wanted.saturating_sub(self.ready.len() + self.starting);
        let now = missing.min(STARTING.saturating_sub(self.starting));
        self.starting += now;
        now
    }

    /// Gives a started sandbox to whoever's turn it is, or keeps it.
    pub(super) fn place(&mut self, started: io::Result<Sandbox>, now: Instant) -> Placed {
        self.starting = self.starting.saturating_sub(1);
        let mut sandbox = match started {
            Ok(sandbox) => sandbox,
            Err(error) => return self.failed(error),
        };
        self.failed_in_a_row = 0;
        while let Some((_, answer)) = self.waiting.next(|_, _| true) {
            match answer.send(Ok(sandbox)) {
                Ok(()) => {
                    self.pace.served(now);
                    return Placed::Kept;
                }
                Err(Ok(back)) => sandbox = back,
                Err(Err(_)) => return Placed::Kept,
            }
        }
        self.pace.idle();
        let memory_bytes = sandbox.memory_bytes().unwrap_or(GUESS);
        self.costs = Some(self.costs.unwrap_or(0).max(memory_bytes));
        if self.ready.len() >= self.room() {
            return Placed::Superfluous(Box::new(sandbox));
        }
        self.ready.push_back(Idle {
            sandbox,
            since: now,
            memory_bytes,
        });
        Placed::Kept
    }

    fn failed(&mut self, error: io::Error) -> Placed {
        tracing::warn!(%error, "a sandbox did not start");
        self.failed_in_a_row = self.failed_in_a_row.saturating_add(1);
        let pause = PAUSES[0] * 2_u32.saturating_pow(self.failed_in_a_row.min(8) - 1);
        // One failure may be an accident of that one process; several are not.
        if self.failed_in_a_row >= FAILURES
            && let Some((_, answer)) = self.waiting.next(|_, _| true)
        {
            // Whoever waited may have gone.
            drop(answer.send(Err(no_start(error))));
        }
        Placed::Failed(pause.min(PAUSES[1]))
    }

    /// Takes out the dead, and the oldest when it is too old: one at a time, so that the pool is
    /// not empty while new ones start.
    pub(super) fn sort_out(&mut self, now: Instant) -> Vec<Sandbox> {
        let mut gone = Vec::new();
        let mut kept = VecDeque::with_capacity(self.ready.len());
        for mut idle in self.ready.drain(..) {
            if idle.sandbox.is_alive() {
                kept.push_back(idle);
            } else {
                gone.push(idle);
            }
        }
        let age = |idle: &Idle| now.saturating_duration_since(idle.since);
        if kept
            .front()
            .is_some_and(|it| age(it) >= self.bounds.max_age)
        {
            gone.extend(kept.pop_front());
        }
        self.ready = kept;
        gone.into_iter().map(|idle| idle.sandbox).collect()
    }

    /// Tells everybody who waits, and gives those that are ready back.
    pub(super) fn close(&mut self) -> Vec<Sandbox> {
        while let Some((_, answer)) = self.waiting.next(|_, _| true) {
            drop(answer);
        }
        std::mem::take(&mut self.ready)
            .into_iter()
            .map(|idle| idle.sandbox)
            .collect()
    }
}

#[cfg(test)]
impl State {
    /// Kills one that waits, behind the pool's back. Whether one waited.
    pub(super) fn kill_one(&mut self) -> bool {
        let Some(one) = self.ready.front_mut() else {
            return false;
        };
        let id = one.sandbox.id().map_or(0, u32::cast_signed);
        let id = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
        while one.sandbox.is_alive() {
            std::thread::yield_now();
        }
        true
    }

    pub(super) fn ids(&self) -> Vec<u32> {
        self.ready.iter().filter_map(|it| it.sandbox.id()).collect()
    }

    /// As if all had waited longer by so much.
    pub(super) fn age(&mut self, by: Duration) {
        for idle in &mut self.ready {
            idle.since -= by;
        }
    }
}
