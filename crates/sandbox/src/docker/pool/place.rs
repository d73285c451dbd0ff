//! Who gets what was made.

use std::collections::VecDeque;
use std::time::Duration;

use domain::error::Result;
use tokio::time::Instant;

use super::budget::Budget;
use super::state::{Given, Shelves, Waiting};
use super::{Condition, FAILURES, Key, PAUSES};
use crate::fair::Shares;

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

impl<T> Shelves<T> {
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

    /// One that was just made is to be prepared, if nobody waits for it as it is; says whether.
    pub(super) fn prepare(&mut self, key: &Key) -> bool {
        let Some(shelf) = self.by_key.get_mut(key) else {
            return false;
        };
        if shelf.wanted > shelf.refills {
            return false;
        }
        shelf.starting = shelf.starting.saturating_sub(1);
        shelf.preparing += 1;
        self.starting = self.starting.saturating_sub(1);
        true
    }

    /// It is prepared, and about to be placed; or gone.
    pub(super) fn prepared(&mut self, key: &Key, is_there: bool) {
        let Some(shelf) = self.by_key.get_mut(key) else {
            return;
        };
        shelf.preparing = shelf.preparing.saturating_sub(1);
        if is_there {
            shelf.starting += 1;
            self.starting += 1;
        }
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
    pub(super) fn settle_all(
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
