//! How many may wait at all, and what has to go for another.

use tokio::time::Instant;

use super::Key;
use super::shelf::Shelf;
use super::state::Shelves;
use crate::{KindStatus, PoolStatus};

/// Most that wait of all kinds together, unless configuration wants more.
const MOST: usize = 64;

/// What all that wait may come to.
#[derive(Debug, Clone, Copy)]
pub(in crate::docker) struct Budget {
    /// How many of a kind wait at most.
    pub(in crate::docker) size: usize,
    /// Memory of all that wait together, in bytes.
    pub(in crate::docker) memory_bytes: u64,
    /// How many are made at the same time.
    pub(in crate::docker) making: usize,
}

impl<T> Shelves<T> {
    /// The memory of all that wait, in bytes.
    pub(in crate::docker) fn memory(&self) -> u64 {
        self.by_key.values().map(Shelf::bytes).sum()
    }

    /// What there is, for health.
    pub(in crate::docker) fn status(&self, budget: &Budget, now: Instant) -> PoolStatus {
        let kind = |(key, shelf): (&Key, &Shelf<T>)| KindStatus {
            name: key.to_string(),
            size: shelf.target(budget.size, now),
            idle: shelf.ready.len(),
            making: shelf.starting + shelf.preparing,
            waiting: shelf.wanted - shelf.refills,
            memory_each: shelf.measured(),
        };
        let mut kinds: Vec<KindStatus> = self.by_key.iter().map(kind).collect();
        kinds.sort_by(|a, b| a.name.cmp(&b.name));
        PoolStatus {
            waiting: self.waiting(),
            memory_bytes: self.memory(),
            kinds,
        }
    }

    /// The kind of which one more should wait: what was asked for last comes first, and of two the one
    /// that has fewer.
    pub(super) fn spare(&self, budget: &Budget, now: Instant) -> Option<Key> {
        let wanting = self.by_key.iter().filter(|(_, shelf)| {
            shelf.there() < shelf.target(budget.size, now) + shelf.wanted
                && shelf.not_before.is_none_or(|until| until <= now)
        });
        let first =
            wanting.max_by_key(|(_, shelf)| (shelf.asked, std::cmp::Reverse(shelf.there())));
        first.map(|(key, _)| key.clone())
    }

    /// Makes room for one more of a kind, at the cost of kinds that were asked for before it; says
    /// whether there is room. What has to go is added to `gone`.
    pub(super) fn make_room(&mut self, key: &Key, budget: &Budget, gone: &mut Vec<T>) -> bool {
        let Some(shelf) = self.by_key.get(key) else {
            return false;
        };
        let (asked, each) = (shelf.asked, shelf.bytes_each());
        loop {
            let on_their_way = self.by_key.values();
            let on_their_way = on_their_way.map(|shelf| {
                let spare = shelf.starting.saturating_sub(shelf.wanted) + shelf.preparing;
                (spare, spare as u64 * shelf.bytes_each())
            });
            let (count, bytes) = on_their_way.fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
            let kept: usize = self.by_key.values().map(|shelf| shelf.kept).sum();
            if self.memory() + bytes + each <= budget.memory_bytes
                && self.idle() + count < MOST.max(kept)
            {
                return true;
            }
            match self.evict(|other| other < asked) {
                Some(sandbox) => gone.push(sandbox),
                None => return false,
            }
        }
    }

    /// What is too much after all: more than thought was used.
    pub(super) fn trim(&mut self, budget: &Budget, gone: &mut Vec<T>) {
        while self.memory() > budget.memory_bytes {
            match self.evict(|_| true) {
                Some(sandbox) => gone.push(sandbox),
                None => return,
            }
        }
    }

    /// Takes one of the kind that was not asked for for the longest time; what nobody configured
    /// first.
    fn evict(&mut self, may: impl Fn(Option<Instant>) -> bool) -> Option<T> {
        let there = self
            .by_key
            .values_mut()
            .filter(|shelf| !shelf.ready.is_empty() && may(shelf.asked));
        let oldest = there.min_by_key(|shelf| (shelf.asked, shelf.kept > 0))?;
        oldest.ready.pop_front()
    }
}
