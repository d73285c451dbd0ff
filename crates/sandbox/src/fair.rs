//! Turns between tenants: whoever hands out something scarce (the executor's slots, waiting
//! sandboxes) does it by these rules, so that one tenant's load is not another's wait.
//!
//! - [`Turns`]: a bounded queue that is served one tenant after the other, in the order of arrival
//!   within a tenant. A tenant alone may fill it; one that comes later gets its share of the places,
//!   from the end of the longest line.
//! - [`Shares`]: who holds how many. While several tenants are there, a small part of what is free is
//!   kept for those that hold no more than the average; for a tenant alone nothing is kept back.

mod shares;
mod turns;

use std::time::Duration;

use tokio::time::Instant;

pub use self::shares::Shares;
pub(crate) use self::turns::Rotation;
pub use self::turns::{Joined, Ticket, Turns};

/// Shortest and longest time after which somebody who was refused is told to come back.
const RETRY: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(30)];

/// How much a new interval changes the mean: one part in this many.
const WEIGHT: u32 = 8;

/// How fast a queue moves, to tell those that find it full when to come back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    last: Option<Instant>,
    mean: Option<Duration>,
}

impl Pace {
    /// Somebody who waited was served.
    pub fn served(&mut self, now: Instant) {
        if let Some(last) = self.last {
            let interval = now.saturating_duration_since(last).min(RETRY[1]);
            self.mean = Some(match self.mean {
                None => interval,
                Some(mean) => (mean * (WEIGHT - 1) + interval) / WEIGHT,
            });
        }
        self.last = Some(now);
    }

    /// Nobody waits: the time until the next one is served says nothing.
    pub fn idle(&mut self) {
        self.last = None;
    }

    /// When so many have been served, between a tenth of a second and half a minute.
    #[must_use]
    pub fn retry_after(&self, waiting: usize) -> Duration {
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        let mean = self.mean.unwrap_or(RETRY[0]);
        mean.saturating_mul(waiting).clamp(RETRY[0], RETRY[1])
    }
}

#[cfg(test)]
mod tests;
