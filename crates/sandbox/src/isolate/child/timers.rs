//! Timers of the guest: when which id is due. The callbacks stay on the JavaScript side.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

/// The timers that run. Times are milliseconds on the guest's clock.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BinaryHeap<Reverse<(u64, u64, u32)>>,
    live: HashSet<u32>,
    started: u64,
}

impl Timers {
    pub(super) fn start(&mut self, id: u32, due: u64) {
        self.started += 1;
        self.live.insert(id);
        self.queue.push(Reverse((due, self.started, id)));
    }

    pub(super) fn stop(&mut self, id: u32) {
        self.live.remove(&id);
        if self.live.is_empty() {
            self.queue.clear();
        }
    }

    /// When the next one is due.
    pub(super) fn next_due(&mut self) -> Option<u64> {
        while let Some(Reverse((due, _, id))) = self.queue.peek() {
            if self.live.contains(id) {
                return Some(*due);
            }
            self.queue.pop();
        }
        None
    }

    /// Takes the earliest one out, if it is due.
    pub(super) fn take_due(&mut self, now: u64) -> Option<u32> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse((_, _, id)) = self.queue.pop()?;
        self.live.remove(&id);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_fire_by_time_then_by_age_and_not_when_stopped() {
        let mut timers = Timers::default();
        timers.start(1, 20);
        timers.start(2, 10);
        timers.start(3, 10);
        timers.start(4, 5);
        timers.stop(4);
        assert_eq!(timers.next_due(), Some(10));
        assert_eq!(timers.take_due(9), None);
        assert_eq!(timers.take_due(10), Some(2));
        assert_eq!(timers.take_due(10), Some(3));
        assert_eq!(timers.take_due(10), None);
        assert_eq!(timers.take_due(25), Some(1));
        assert_eq!(timers.next_due(), None);
    }
}
