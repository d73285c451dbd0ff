//! Which denials become records of the audit log. A flood is what limits are for: it must not fill
//! the log too.

use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use bootstrap::config::Rate;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::counted::ByNetwork;
use super::shards::{Idle, Shards};
use super::window::Window;

/// How long the next denial of the same kind for the same one stays without a record.
pub(crate) const QUIET: Duration = Duration::from_secs(60);
/// Most records in a [`QUIET`] of all together.
pub(crate) const MOST: u32 = 60;
/// Most records in a [`QUIET`] of requests without a credential, from one address and of all.
const MOST_WITHOUT: (u32, u32) = (20, 600);
/// Most that are told apart.
const MAX_KNOWN: usize = 8_192;

/// Says of each denial whether it is to be recorded.
#[derive(Debug)]
pub(crate) struct Notes {
    known: Shards<Mutex<Note>>,
    all: Mutex<Window>,
    /// Requests without a credential, by address and of all.
    without: (ByNetwork, Mutex<Window>),
}

#[derive(Debug, Default)]
struct Note {
    recorded: Option<Instant>,
    /// Denials since then, without a record.
    suppressed: u64,
}

impl Note {
    fn is_due(&self, now: Instant) -> bool {
        let since = self.recorded.map(|at| now.saturating_duration_since(at));
        since.is_none_or(|since| since >= QUIET)
    }
}

impl Idle for Mutex<Note> {
    fn is_idle(&self, now: Instant) -> bool {
        let note = self.lock();
        note.is_due(now)
    }
}

impl Notes {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let without = Rate {
            max_requests: MOST_WITHOUT.0,
            window: QUIET,
        };
        Self {
            known: Shards::new(MAX_KNOWN, Mutex::default()),
            all: Mutex::new(Window::new(QUIET, now)),
            without: (ByNetwork::new(without), Mutex::new(Window::new(QUIET, now))),
        }
    }

    /// Whether a denial of this kind for this one is to be recorded: the number of those before it
    /// that were not. `None`: it is only counted.
    pub(crate) fn due(&self, kind: &str, who: impl Hash) -> Option<u64> {
        let now = Instant::now();
        let note = self
            .known
            .entry(self.known.key((kind, who)), now, Mutex::default);
        let mut note = note.lock();
        if !note.is_due(now) || !self.one_of_all(now) {
            note.suppressed += 1;
            return None;
        }
        note.recorded = Some(now);
        Some(std::mem::take(&mut note.suppressed))
    }

    /// Whether a request without a credential from this address is to be recorded.
    pub(crate) fn one_without(&self, address: Option<IpAddr>) -> bool {
        let (by_address, all) = &self.without;
        if address.is_some_and(|address| by_address.take(address).is_err()) {
            return false;
        }
        let (mut all, now) = (all.lock(), Instant::now());
        let fits = all.check(MOST_WITHOUT.1, now).is_ok();
        if fits {
            all.count();
        }
        fits
    }

    fn one_of_all(&self, now: Instant) -> bool {
        let mut all = self.all.lock();
        let fits = all.check(MOST, now).is_ok();
        if fits {
            all.count();
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_leaves_one_record_a_minute_and_the_next_says_how_many_there_were() {
        let notes = Notes::new();
        assert_eq!(notes.due("address", 1), Some(0));
        for _ in 0..10_000 {
            assert_eq!(notes.due("address", 1), None);
        }
        assert_eq!(notes.due("caller", 1), Some(0), "another kind");
        assert_eq!(notes.due("address", 2), Some(0), "another one");
        tokio::time::advance(QUIET - Duration::from_millis(1)).await;
        assert_eq!(notes.due("address", 1), None);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(notes.due("address", 1), Some(10_001));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_without_a_credential_leave_so_many_records_and_no_more() {
        let notes = Notes::new();
        let from = |n: u32| Some(IpAddr::V4(n.into()));
        let of_one = (0..1_000).filter(|_| notes.one_without(from(7)));
        assert_eq!(of_one.count(), 20);
        let of_many = (0..10_000).filter(|n| notes.one_without(from(1_000 + n)));
        assert_eq!(of_many.count(), 580);
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_are_denied_leave_no_more_than_so_many_records() {
        let notes = Notes::new();
        let recorded = (0..100_000).filter_map(|one| notes.due("address", one));
        assert_eq!(recorded.count(), MOST as usize);
        assert!(notes.known.len() <= MAX_KNOWN);
        tokio::time::advance(QUIET * 2).await;
        assert!(notes.due("address", 99_999).is_some());
    }
}
