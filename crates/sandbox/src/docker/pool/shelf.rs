//! What waits of one kind, and how much of it should.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How long after the last call for a kind one of it is still kept.
const KEPT: Duration = Duration::from_secs(120);

/// How far back calls count towards how many are kept.
const RECENT: Duration = Duration::from_secs(10);

/// What one that waits is taken to use before one was measured, in bytes.
const GUESS: u64 = 24 << 20;

/// One in so many is measured, after the first.
const MEASURED: u64 = 16;

/// All of one kind.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    pub(super) ready: VecDeque<T>,
    /// How many are being made.
    pub(super) starting: usize,
    /// How many are made, and prepared now.
    pub(super) preparing: usize,
    /// Entries of the queue that want one of this kind.
    pub(super) wanted: usize,
    /// Those of them that are no callers: places on the shelf that are kept free for light tenants.
    pub(super) refills: usize,
    /// How many wait although nobody asks.
    pub(super) kept: usize,
    /// Whether it came in the place of another kind: the name of an image moved.
    pub(super) moved: bool,
    pub(super) asked: Option<Instant>,
    takes: VecDeque<Instant>,
    /// All that were asked for.
    pub(super) asks: u64,
    made: u64,
    measured: Option<u64>,
    pub(super) failed_in_a_row: u32,
    /// Before this nothing is made that nobody waits for.
    pub(super) not_before: Option<Instant>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            starting: 0,
            preparing: 0,
            wanted: 0,
            refills: 0,
            kept: 0,
            moved: false,
            asked: None,
            takes: VecDeque::new(),
            asks: 0,
            made: 0,
            measured: None,
            failed_in_a_row: 0,
            not_before: None,
        }
    }
}

impl<T> Shelf<T> {
    /// Somebody wants one. Of what is asked for again and again as many wait as were asked for of
    /// late, `size` at most.
    pub(super) fn ask(&mut self, size: usize, now: Instant) {
        self.asked = Some(now);
        self.asks += 1;
        self.takes.push_back(now);
        while self.takes.len() > size {
            self.takes.pop_front();
        }
    }

    /// How many should wait.
    pub(super) fn target(&self, size: usize, now: Instant) -> usize {
        let demand = match self.asked {
            Some(asked) if now - asked < KEPT => {
                let recent = self.takes.iter().filter(|at| now - **at < RECENT).count();
                recent.clamp(size.min(1), size)
            }
            _ => 0,
        };
        self.kept.max(demand)
    }

    /// Whether there is a reason to remember it.
    pub(super) fn is_of_use(&self, now: Instant) -> bool {
        let asked = self.asked.is_some_and(|asked| now - asked < KEPT);
        asked
            || self.kept > 0
            || self.starting + self.preparing > 0
            || self.wanted > 0
            || !self.ready.is_empty()
    }

    /// All that wait, or will.
    pub(super) fn there(&self) -> usize {
        self.ready.len() + self.starting + self.preparing
    }

    /// The memory of those that wait, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.ready.len() as u64 * self.bytes_each()
    }

    /// What one uses, as far as is known, in bytes.
    pub(super) fn bytes_each(&self) -> u64 {
        self.measured.unwrap_or(GUESS)
    }

    /// What one was measured at, in bytes.
    pub(super) fn measured(&self) -> Option<u64> {
        self.measured
    }

    /// One was made; says whether it should be measured.
    pub(super) fn count(&mut self) -> bool {
        self.made += 1;
        self.measured.is_none() || self.made.is_multiple_of(MEASURED)
    }

    /// One was measured.
    pub(super) fn weighed(&mut self, bytes: u64) {
        self.measured = Some(bytes);
    }
}
