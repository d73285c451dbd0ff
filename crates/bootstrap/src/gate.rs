//! Who must finish before the process may end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Time between two log lines about what a drain waits for.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Everything of one kind that a drain waits for, for example "tool calls". Entering and leaving
/// cost one atomic operation each.
#[derive(Debug, Clone)]
pub struct Gate {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    inside: AtomicUsize,
    left: Arc<Notify>,
}

impl Gate {
    /// Holds the drain until the guard is dropped.
    pub fn enter(&self) -> Guard {
        self.state.inside.fetch_add(1, Ordering::AcqRel);
        Guard {
            state: Arc::clone(&self.state),
        }
    }

    /// Guards that are held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.state.inside.load(Ordering::Acquire)
    }
}

/// Something that runs and must finish. Dropping it says that it has.
#[derive(Debug)]
#[must_use = "a guard that is dropped at once holds nothing"]
pub struct Guard {
    state: Arc<State>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.state.inside.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.state.left.notify_waiters();
        }
    }
}

/// What still runs, by gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Name of the gate.
    pub name: &'static str,
    /// Guards held.
    pub count: usize,
}

/// All gates of a process. Names are fixed words of the program, so there are only a few.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    gates: Mutex<BTreeMap<&'static str, Gate>>,
    left: Arc<Notify>,
}

impl Gates {
    pub(crate) fn gate(&self, name: &'static str) -> Gate {
        let make = || Gate {
            state: Arc::new(State {
                inside: AtomicUsize::new(0),
                left: Arc::clone(&self.left),
            }),
        };
        self.gates.lock().entry(name).or_insert_with(make).clone()
    }

    pub(crate) fn holders(&self) -> Vec<Holder> {
        let gates = self.gates.lock();
        let held = gates.iter().map(|(name, gate)| Holder {
            name,
            count: gate.held(),
        });
        held.filter(|holder| holder.count > 0).collect()
    }

    /// Waits until nobody is inside, naming in the log who still is. Gives back who is left at the
    /// deadline.
    pub(crate) async fn wait(&self, deadline: Instant) -> Vec<Holder> {
        let mut report = Instant::now() + REPORT_EVERY;
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            // From here on no departure is missed.
            left.as_mut().enable();
            let holders = self.holders();
            let now = Instant::now();
            if holders.is_empty() || now >= deadline {
                return holders;
            }
            if now >= report {
                tracing::info!(waiting_for = %names(&holders), "still draining");
                report = now + REPORT_EVERY;
            }
            // Elapsed is no error: the loop looks again.
            if timeout_at(deadline.min(report), left).await.is_err() {
                tracing::trace!("looking again at who holds the drain");
            }
        }
    }
}

/// `tool calls: 3, event streams: 1`.
pub(crate) fn names(holders: &[Holder]) -> String {
    let each: Vec<String> = holders
        .iter()
        .map(|h| format!("{}: {}", h.name, h.count))
        .collect();
    each.join(", ")
}
