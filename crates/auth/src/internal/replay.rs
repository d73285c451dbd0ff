//! Which tokens were used already.

use std::collections::HashSet;
use std::mem;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

/// Remembers ids for at least `window`, in two generations: the younger fills, the older is only
/// looked at, and when a window has passed the older is forgotten whole. No timer, no sweep.
#[derive(Debug)]
pub(crate) struct UsedIds {
    window: Duration,
    capacity: usize,
    generations: Mutex<Generations>,
}

#[derive(Debug)]
struct Generations {
    young: HashSet<Uuid>,
    old: HashSet<Uuid>,
    since: Instant,
}

/// What became of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// It was new and is used now.
    First,
    /// It was used before.
    Again,
    /// More ids came within the window than there is room for.
    Full,
}

impl UsedIds {
    pub(crate) fn new(window: Duration, capacity: usize) -> Self {
        let empty = Generations {
            young: HashSet::new(),
            old: HashSet::new(),
            since: Instant::now(),
        };
        Self {
            window,
            capacity,
            generations: Mutex::new(empty),
        }
    }

    pub(crate) fn take(&self, id: Uuid) -> Use {
        let mut generations = self.generations.lock();
        let age = generations.since.elapsed();
        if age >= self.window {
            let young = mem::take(&mut generations.young);
            generations.old = if age < self.window * 2 {
                young
            } else {
                HashSet::new()
            };
            generations.since = Instant::now();
        }
        if generations.old.contains(&id) || generations.young.contains(&id) {
            return Use::Again;
        }
        if generations.young.len() >= self.capacity {
            return Use::Full;
        }
        generations.young.insert(id);
        Use::First
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(70);

    #[tokio::test(start_paused = true)]
    async fn an_id_is_remembered_for_a_whole_window_and_then_forgotten() {
        let used = UsedIds::new(WINDOW, 10);
        for offset in [0, 1, 69, 35] {
            let id = Uuid::new_v4();
            tokio::time::advance(Duration::from_secs(offset)).await;
            assert_eq!(used.take(id), Use::First);
            for _ in 0..69 {
                tokio::time::advance(Duration::from_secs(1)).await;
                assert_eq!(used.take(id), Use::Again);
            }
            tokio::time::advance(WINDOW * 2).await;
            assert_eq!(used.take(id), Use::First);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_bounded_and_recovers() {
        let used = UsedIds::new(WINDOW, 2);
        let known = Uuid::new_v4();
        assert_eq!(used.take(known), Use::First);
        assert_eq!(used.take(Uuid::new_v4()), Use::First);
        assert_eq!(used.take(Uuid::new_v4()), Use::Full);
        assert_eq!(used.take(known), Use::Again);
        tokio::time::advance(WINDOW).await;
        assert_eq!(used.take(Uuid::new_v4()), Use::First);
        assert_eq!(used.take(known), Use::Again);
    }
}
