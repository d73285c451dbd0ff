//! What is where: the pool's state, without its tasks and its clock.

use std::collections::HashMap;

use domain::error::Result;
use domain::id::TenantId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::budget::Budget;
use super::shelf::Shelf;
use super::{Condition, Key};
use crate::Miss;
use crate::fair::{Pace, Rotation, Shares, Ticket, Turns};

/// Callers that wait for a sandbox, of all kinds together.
const WAITING: usize = 1_024;

/// Sandboxes that nobody waits for that are made at the same time: calls that run want a core too.
const SPARES: usize = 2;

/// Every shelf, and whoever waits before them.
#[derive(Debug)]
pub(super) struct Shelves<T> {
    pub(super) by_key: HashMap<Key, Shelf<T>>,
    /// Callers, and places on shelves that are filled again for light tenants.
    pub(super) queue: Turns<Entry<T>>,
    /// Whose turn it is that one is begun for.
    starts: Rotation,
    pub(super) shares: Shares,
    pub(super) pace: Pace,
    pub(super) starting: usize,
}

#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) key: Key,
    /// Nothing for a place on the shelf.
    pub(super) caller: Option<Waiting<T>>,
}

/// Whoever waits for a sandbox.
pub(super) type Waiting<T> = oneshot::Sender<Given<T>>;

/// What somebody who waited is given.
#[derive(Debug)]
pub(super) enum Given<T> {
    /// The sandbox, or why none can be made.
    Made(Result<T>),
    /// It had to go for somebody of another tenant.
    PushedOut,
}

/// What a caller gets.
#[derive(Debug)]
pub(super) enum Taken<T> {
    Ready(T),
    Later(oneshot::Receiver<Given<T>>, Ticket, Miss),
    /// There is no place in the queue.
    Full,
}

impl<T> Default for Shelves<T> {
    fn default() -> Self {
        Self {
            by_key: HashMap::new(),
            queue: Turns::new(WAITING),
            starts: Rotation::default(),
            shares: Shares::default(),
            pace: Pace::default(),
            starting: 0,
        }
    }
}

impl<T> Shelves<T> {
    pub(super) fn idle(&self) -> usize {
        self.by_key.values().map(|shelf| shelf.ready.len()).sum()
    }

    /// Callers that wait.
    pub(super) fn waiting(&self) -> usize {
        let all = self.by_key.values();
        all.map(|shelf| shelf.wanted - shelf.refills).sum()
    }

    /// How many are kept of each kind, from now on, and which kinds there still are. Gives back what
    /// is to be destroyed.
    pub(super) fn keep(
        &mut self,
        kept: &[(Key, usize)],
        exists: impl Fn(&Key) -> bool,
        mut condition: impl FnMut(&mut T) -> Condition,
        size: usize,
        now: Instant,
    ) -> Vec<T> {
        let is_kept = |key: &Key| kept.iter().any(|(it, _)| it == key);
        let had_another = self
            .by_key
            .iter()
            .any(|(key, shelf)| shelf.kept > 0 && !is_kept(key));
        for (key, _) in kept {
            let is_new = !self.by_key.contains_key(key);
            let shelf = self.by_key.entry(key.clone()).or_default();
            shelf.moved |= is_new && had_another;
        }
        let mut gone = Vec::new();
        for (key, shelf) in &mut self.by_key {
            let count = kept.iter().find(|(it, _)| it == key);
            shelf.kept = count.map_or(0, |(_, count)| *count);
            let target = match exists(key) {
                true => shelf.target(size, now),
                false => 0,
            };
            for mut sandbox in std::mem::take(&mut shelf.ready) {
                let usable = condition(&mut sandbox) == Condition::Usable;
                if usable && shelf.ready.len() < target {
                    shelf.ready.push_back(sandbox);
                } else {
                    gone.push(sandbox);
                }
            }
        }
        self.settle_all(size, now, &mut condition, &mut gone);
        self.by_key.retain(|_, shelf| shelf.is_of_use(now));
        gone
    }

    /// A sandbox or a place in the queue; what is to be destroyed is added to `gone`.
    pub(super) fn take(
        &mut self,
        key: &Key,
        tenant: &TenantId,
        budget: &Budget,
        now: Instant,
        mut condition: impl FnMut(&mut T) -> Condition,
        gone: &mut Vec<T>,
    ) -> Taken<T> {
        self.shares.arrived(tenant, now);
        let several = self.shares.are_several(now);
        let is_light = self.shares.is_light(tenant, now);
        let shelf = self.by_key.entry(key.clone()).or_default();
        let is_cold = shelf.target(budget.size, now) == 0;
        shelf.ask(budget.size, now);
        let reserve = Shares::reserve(shelf.target(budget.size, now));
        let mut miss = match () {
            () if shelf.moved => Miss::Stale,
            () if is_cold => Miss::ColdKey,
            () if shelf.starting + shelf.preparing > shelf.wanted => Miss::Booting,
            () => Miss::Empty,
        };
        while is_light || shelf.ready.len() > reserve {
            let Some(mut sandbox) = shelf.ready.pop_front() else {
                break;
            };
            match condition(&mut sandbox) {
                Condition::Usable => {
                    self.shares.took(tenant, now);
                    let shelf = self.by_key.entry(key.clone()).or_default();
                    // The next one who holds little is to find one too, in turn with those that wait.
                    if several && is_light && shelf.ready.len() + shelf.refills < reserve {
                        self.refill(key, tenant);
                    }
                    return Taken::Ready(sandbox);
                }
                Condition::Died => miss = Miss::Died,
                Condition::Stale => miss = Miss::Stale,
            }
            gone.push(sandbox);
        }
        let (sender, receiver) = oneshot::channel();
        let entry = Entry {
            key: key.clone(),
            caller: Some(sender),
        };
        match self.join(tenant, entry) {
            Some(ticket) => Taken::Later(receiver, ticket, miss),
            None => Taken::Full,
        }
    }

    fn refill(&mut self, key: &Key, tenant: &TenantId) {
        let entry = Entry {
            key: key.clone(),
            caller: None,
        };
        // With a full queue there is none: the shelf is filled once that is served.
        if self.join(tenant, entry).is_some()
            && let Some(shelf) = self.by_key.get_mut(key)
        {
            shelf.refills += 1;
        }
    }

    fn join(&mut self, tenant: &TenantId, entry: Entry<T>) -> Option<Ticket> {
        let key = entry.key.clone();
        let joined = self.queue.join(tenant, entry).ok()?;
        self.starts.join(tenant);
        self.by_key.entry(key).or_default().wanted += 1;
        if let Some(other) = joined.pushed_out {
            self.left(&other);
            if let Some(caller) = other.caller {
                // It may have gone by itself.
                drop(caller.send(Given::PushedOut));
            }
        }
        Some(joined.ticket)
    }

    /// An entry is not in the queue any more.
    pub(super) fn left(&mut self, entry: &Entry<T>) {
        if let Some(shelf) = self.by_key.get_mut(&entry.key) {
            shelf.wanted -= 1;
            shelf.refills -= usize::from(entry.caller.is_none());
        }
    }

    /// Somebody gives up.
    pub(super) fn leave(&mut self, tenant: &TenantId, ticket: Ticket) {
        if let Some(entry) = self.queue.leave(tenant, ticket) {
            self.left(&entry);
        }
        self.forget_starts(tenant);
    }

    pub(super) fn forget_starts(&mut self, tenant: &TenantId) {
        if !self.queue.has(tenant) {
            self.starts.leave(tenant);
        }
    }

    /// The kinds of which one more is made now, each counted as begun. Those that somebody waits for
    /// come first, one tenant after the other. What has to go for them is added to `gone`.
    pub(super) fn begin(&mut self, budget: &Budget, now: Instant, gone: &mut Vec<T>) -> Vec<Key> {
        let mut begun = Vec::new();
        while self.starting < budget.making {
            let (queue, shelves) = (&self.queue, &self.by_key);
            let lacks = |key: &Key| shelves.get(key).is_some_and(|it| it.wanted > it.starting);
            let next = self.starts.turn(|tenant| {
                let mut entries = queue.of(tenant);
                entries.find(|it| lacks(&it.key)).map(|it| it.key.clone())
            });
            let next = match next {
                Some(key) => key,
                None if self.starting >= SPARES => break,
                None => match self.spare(budget, now) {
                    Some(key) if self.make_room(&key, budget, gone) => key,
                    _ => break,
                },
            };
            if let Some(shelf) = self.by_key.get_mut(&next) {
                shelf.starting += 1;
                self.starting += 1;
            }
            begun.push(next);
        }
        begun
    }
}
