//! What is where: the pool's state, without its tasks and its clock.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use domain::error::Result;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{FAILURES, Key, PAUSES, Waiting};

/// Every shelf.
#[derive(Debug)]
pub(super) struct Shelves<T> {
    by_key: HashMap<Key, Shelf<T>>,
    starting: usize,
}

#[derive(Debug)]
struct Shelf<T> {
    ready: VecDeque<T>,
    waiting: VecDeque<Waiting<T>>,
    starting: usize,
    /// Whether sandboxes of this kind wait although nobody asked yet.
    wanted: bool,
    failed_in_a_row: u32,
    /// Before this nothing is made that nobody waits for.
    not_before: Option<Instant>,
}

/// What a caller gets.
#[derive(Debug)]
pub(super) enum Taken<T> {
    Ready(T),
    Later(oneshot::Receiver<Result<T>>),
}

/// What became of a sandbox that was made.
#[derive(Debug)]
pub(super) struct Placed<T> {
    /// The sandbox, when nobody wants it any more.
    pub(super) sandbox: Option<T>,
    /// How long to wait before the next one.
    pub(super) pause: Option<Duration>,
    /// How many failed, one after the other, this one included.
    pub(super) failed_in_a_row: u32,
}

impl<T> Default for Shelves<T> {
    fn default() -> Self {
        Self {
            by_key: HashMap::new(),
            starting: 0,
        }
    }
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            waiting: VecDeque::new(),
            starting: 0,
            wanted: false,
            failed_in_a_row: 0,
            not_before: None,
        }
    }
}

impl<T> Shelves<T> {
    pub(super) fn idle(&self) -> usize {
        self.by_key.values().map(|shelf| shelf.ready.len()).sum()
    }

    pub(super) fn wanted(&self) -> usize {
        self.by_key.values().filter(|shelf| shelf.wanted).count()
    }

    /// Gives back what is to be destroyed.
    pub(super) fn keep(&mut self, keys: &[Key], mut usable: impl FnMut(&mut T) -> bool) -> Vec<T> {
        for key in keys {
            self.by_key.entry(key.clone()).or_default();
        }
        let mut gone = Vec::new();
        for (key, shelf) in &mut self.by_key {
            shelf.wanted = keys.contains(key);
            let ready = std::mem::take(&mut shelf.ready);
            for mut sandbox in ready {
                if shelf.wanted && usable(&mut sandbox) {
                    shelf.ready.push_back(sandbox);
                } else {
                    gone.push(sandbox);
                }
            }
        }
        self.forget_unused();
        gone
    }

    /// A sandbox or a place in the queue; and what is to be destroyed.
    pub(super) fn take(
        &mut self,
        key: &Key,
        mut usable: impl FnMut(&mut T) -> bool,
    ) -> (Taken<T>, Vec<T>) {
        let shelf = self.by_key.entry(key.clone()).or_default();
        let mut gone = Vec::new();
        while let Some(mut sandbox) = shelf.ready.pop_front() {
            if usable(&mut sandbox) {
                return (Taken::Ready(sandbox), gone);
            }
            gone.push(sandbox);
        }
        let (sender, receiver) = oneshot::channel();
        shelf.waiting.push_back(sender);
        (Taken::Later(receiver), gone)
    }

    /// The kinds of which one more is made now, each counted as begun. Those that somebody waits for
    /// come first.
    pub(super) fn begin(&mut self, size: usize, most: usize, now: Instant) -> Vec<Key> {
        for shelf in self.by_key.values_mut() {
            shelf.waiting.retain(|waiting| !waiting.is_closed());
        }
        self.forget_unused();
        let mut begun = Vec::new();
        while self.starting < most {
            let needed = |shelf: &Shelf<T>| shelf.waiting.len() > shelf.starting;
            let spare = |shelf: &Shelf<T>| {
                let wanted = if shelf.wanted { size } else { 0 };
                let there = shelf.ready.len() + shelf.starting;
                there < wanted + shelf.waiting.len()
                    && shelf.not_before.is_none_or(|until| until <= now)
            };
            let all = &mut self.by_key;
            let next = all.iter().find(|(_, shelf)| needed(shelf));
            let next = next.or_else(|| all.iter().find(|(_, shelf)| spare(shelf)));
            let Some(key) = next.map(|(key, _)| key.clone()) else {
                break;
            };
            if let Some(shelf) = self.by_key.get_mut(&key) {
                shelf.starting += 1;
                self.starting += 1;
            }
            begun.push(key);
        }
        begun
    }

    /// Gives what was made to whoever waits longest, or keeps it. A failure that repeats is told.
    pub(super) fn place(
        &mut self,
        key: &Key,
        made: Result<T>,
        size: usize,
        now: Instant,
    ) -> Placed<T> {
        self.starting = self.starting.saturating_sub(1);
        let mut placed = Placed {
            sandbox: None,
            pause: None,
            failed_in_a_row: 0,
        };
        // Closed meanwhile.
        let Some(shelf) = self.by_key.get_mut(key) else {
            placed.sandbox = made.ok();
            return placed;
        };
        shelf.starting = shelf.starting.saturating_sub(1);
        match made {
            Ok(mut sandbox) => {
                shelf.failed_in_a_row = 0;
                shelf.not_before = None;
                while let Some(waiting) = shelf.waiting.pop_front() {
                    match waiting.send(Ok(sandbox)) {
                        Err(Ok(back)) => sandbox = back,
                        Ok(()) | Err(Err(_)) => return placed,
                    }
                }
                if shelf.wanted && shelf.ready.len() < size {
                    shelf.ready.push_back(sandbox);
                } else {
                    placed.sandbox = Some(sandbox);
                }
            }
            Err(error) => {
                shelf.failed_in_a_row = shelf.failed_in_a_row.saturating_add(1);
                placed.failed_in_a_row = shelf.failed_in_a_row;
                let pause = PAUSES[0] * 2_u32.saturating_pow(shelf.failed_in_a_row.min(12) - 1);
                let pause = pause.min(PAUSES[1]);
                shelf.not_before = Some(now + pause);
                placed.pause = Some(pause);
                if shelf.failed_in_a_row >= FAILURES
                    && let Some(waiting) = shelf.waiting.pop_front()
                {
                    // Whoever waited may have gone.
                    drop(waiting.send(Err(error)));
                }
            }
        }
        placed
    }

    fn forget_unused(&mut self) {
        self.by_key.retain(|_, shelf| {
            shelf.wanted
                || shelf.starting > 0
                || !shelf.waiting.is_empty()
                || !shelf.ready.is_empty()
        });
    }
}
