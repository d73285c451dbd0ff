//! What is where: the pool's state, without its tasks and its clock.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use domain::error::Result;
use domain::id::TenantId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::budget::Budget;
use super::shelf::Shelf;
use super::{Condition, FAILURES, Key, PAUSES};
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
    queue: Turns<Entry<T>>,
    /// Whose turn it is that one is begun for.
    starts: Rotation,
    pub(super) shares: Shares,
    pub(super) pace: Pace,
    starting: usize,
}

#[derive(Debug)]
struct Entry<T> {
    key: Key,
    /// Nothing for a place on the shelf.
    caller: Option<Waiting<T>>,
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

/// What became of a sandbox that was made.
#[derive(Debug)]
pub(super) struct Placed<T> {
    /// What is to be destroyed.
    pub(super) gone: Vec<T>,
    /// How many had been asked for, if it should be measured.
    pub(super) measure: Option<u64>,
    /// How long to wait before the next one.
    pub(super) pause: Option<Duration>,
    /// How many failed, one after the other, this one included.
    pub(super) failed_in_a_row: u32,
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
            () if shelf.starting > shelf.wanted => Miss::Booting,
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
    fn left(&mut self, entry: &Entry<T>) {
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

    fn forget_starts(&mut self, tenant: &TenantId) {
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

    /// One of a kind was measured, when so many had been asked for. If there were more meanwhile it
    /// may have been at work, which says nothing. What has to go for it is given back.
    pub(super) fn weighed(&mut self, key: &Key, bytes: u64, asks: u64, budget: &Budget) -> Vec<T> {
        let mut gone = Vec::new();
        if let Some(shelf) = self.by_key.get_mut(key)
            && shelf.asks == asks
        {
            shelf.weighed(bytes);
            self.trim(budget, &mut gone);
        }
        gone
    }

    /// Gives what was made to whoever has its turn, or keeps it. A failure that repeats is told.
    pub(super) fn place(
        &mut self,
        key: &Key,
        made: Result<T>,
        budget: &Budget,
        now: Instant,
        condition: impl FnMut(&mut T) -> Condition,
    ) -> Placed<T> {
        self.starting = self.starting.saturating_sub(1);
        let mut placed = Placed {
            gone: Vec::new(),
            measure: None,
            pause: None,
            failed_in_a_row: 0,
        };
        // Closed meanwhile.
        let Some(shelf) = self.by_key.get_mut(key) else {
            placed.gone.extend(made.ok());
            return placed;
        };
        shelf.starting = shelf.starting.saturating_sub(1);
        match made {
            Ok(sandbox) => {
                shelf.failed_in_a_row = 0;
                shelf.not_before = None;
                shelf.moved = false;
                if shelf.count() && shelf.wanted == 0 {
                    placed.measure = Some(shelf.asks);
                }
                self.hand_over(key, sandbox, budget, now, condition, &mut placed.gone);
            }
            Err(error) => {
                shelf.failed_in_a_row = shelf.failed_in_a_row.saturating_add(1);
                placed.failed_in_a_row = shelf.failed_in_a_row;
                let pause = PAUSES[0] * 2_u32.saturating_pow(shelf.failed_in_a_row.min(12) - 1);
                let pause = pause.min(PAUSES[1]);
                shelf.not_before = Some(now + pause);
                placed.pause = Some(pause);
                if shelf.failed_in_a_row >= FAILURES
                    && let Some(caller) = self.next_caller(key)
                {
                    // Whoever waited may have gone.
                    drop(caller.send(Given::Made(Err(error))));
                }
            }
        }
        placed
    }

    fn hand_over(
        &mut self,
        key: &Key,
        mut sandbox: T,
        budget: &Budget,
        now: Instant,
        mut condition: impl FnMut(&mut T) -> Condition,
        gone: &mut Vec<T>,
    ) {
        while let Some((tenant, entry)) = self.queue.next(|_, entry| entry.key == *key) {
            self.left(&entry);
            self.forget_starts(&tenant);
            let Some(caller) = entry.caller else {
                break;
            };
            match caller.send(Given::Made(Ok(sandbox))) {
                Ok(()) => {
                    self.shares.took(&tenant, now);
                    if self.queue.is_empty() {
                        self.pace.idle();
                    } else {
                        self.pace.served(now);
                    }
                    return;
                }
                Err(Given::Made(Ok(back))) => sandbox = back,
                Err(_) => return,
            }
        }
        let Some(shelf) = self.by_key.get_mut(key) else {
            gone.push(sandbox);
            return;
        };
        if shelf.ready.len() < shelf.target(budget.size, now) {
            shelf.ready.push_back(sandbox);
            self.settle(key, budget.size, now, &mut condition, gone);
            self.trim(budget, gone);
        } else {
            gone.push(sandbox);
        }
    }

    /// Gives what waits to those that may have it now.
    fn settle_all(
        &mut self,
        size: usize,
        now: Instant,
        condition: &mut impl FnMut(&mut T) -> Condition,
        gone: &mut Vec<T>,
    ) {
        let keys: Vec<Key> = self.by_key.keys().cloned().collect();
        for key in keys {
            self.settle(&key, size, now, condition, gone);
        }
    }

    fn settle(
        &mut self,
        key: &Key,
        size: usize,
        now: Instant,
        condition: &mut impl FnMut(&mut T) -> Condition,
        gone: &mut Vec<T>,
    ) {
        let Some(shelf) = self.by_key.get_mut(key) else {
            return;
        };
        let mut found = shelf.wanted > shelf.refills;
        while found {
            found = self.settle_one(key, size, now, condition, gone);
        }
    }

    fn settle_one(
        &mut self,
        key: &Key,
        size: usize,
        now: Instant,
        condition: &mut impl FnMut(&mut T) -> Condition,
        gone: &mut Vec<T>,
    ) -> bool {
        let Some(shelf) = self.by_key.get_mut(key) else {
            return false;
        };
        let is_dead = |sandbox: &mut T| condition(sandbox) != Condition::Usable;
        gone.extend(pop_while(&mut shelf.ready, is_dead));
        if shelf.ready.is_empty() {
            return false;
        }
        let plenty = shelf.ready.len() > Shares::reserve(shelf.target(size, now));
        let Self { queue, shares, .. } = self;
        let next = queue.next(|tenant, entry| {
            let may = plenty || shares.is_light(tenant, now);
            may && entry.key == *key && entry.caller.is_some()
        });
        let Some((tenant, entry)) = next else {
            return false;
        };
        self.left(&entry);
        self.forget_starts(&tenant);
        let shelf = self.by_key.get_mut(key);
        let ready = shelf.and_then(|shelf| shelf.ready.pop_front());
        let (Some(caller), Some(sandbox)) = (entry.caller, ready) else {
            return false;
        };
        match caller.send(Given::Made(Ok(sandbox))) {
            Ok(()) => self.shares.took(&tenant, now),
            Err(Given::Made(Ok(back))) => gone.push(back),
            Err(_) => {}
        }
        true
    }

    /// The next caller for one of a kind.
    fn next_caller(&mut self, key: &Key) -> Option<Waiting<T>> {
        let next = self
            .queue
            .next(|_, entry| entry.key == *key && entry.caller.is_some());
        let (tenant, entry) = next?;
        self.left(&entry);
        self.forget_starts(&tenant);
        entry.caller
    }
}

fn pop_while<T>(all: &mut VecDeque<T>, mut is: impl FnMut(&mut T) -> bool) -> Vec<T> {
    let mut popped = Vec::new();
    while all.front_mut().is_some_and(&mut is) {
        popped.extend(all.pop_front());
    }
    popped
}
