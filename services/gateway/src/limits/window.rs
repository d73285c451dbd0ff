//! A sliding window in constant memory.

use std::time::Duration;

use tokio::time::Instant;

/// Parts of a window. A call is forgotten when the part it fell into has left the window, so a
/// limit is never exceeded and a place comes free at most 1/32 of a window late.
const PARTS: usize = 32;

/// Counts calls over the last `length`.
#[derive(Debug)]
pub(crate) struct Window {
    length: Duration,
    counts: [u32; PARTS],
    total: u32,
    /// Number of the newest part, counted from `start`.
    newest: u64,
    start: Instant,
}

impl Window {
    pub(crate) fn new(length: Duration, now: Instant) -> Self {
        Self {
            length,
            counts: [0; PARTS],
            total: 0,
            newest: 0,
            start: now,
        }
    }

    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    /// Whether no call is in the window.
    pub(crate) fn is_idle(&mut self, now: Instant) -> bool {
        self.advance(now);
        self.total == 0
    }

    /// Whether another call fits; if not, how long until one does: in whole milliseconds, and one
    /// fewer is too early.
    pub(crate) fn check(&mut self, max: u32, now: Instant) -> Result<(), Duration> {
        self.advance(now);
        if self.total < max {
            return Ok(());
        }
        // The oldest part with calls leaves the window first.
        let first = self.newest.saturating_sub(PARTS as u64 - 1);
        let oldest = (first..=self.newest).find(|part| self.counts[slot(*part)] > 0);
        let leaves = oldest.map_or(self.newest, |part| part + PARTS as u64);
        let at = self.start + Duration::from_nanos(self.part_nanos().saturating_mul(leaves));
        let millis = at
            .saturating_duration_since(now)
            .as_nanos()
            .div_ceil(1_000_000);
        Err(Duration::from_millis(
            u64::try_from(millis.max(1)).unwrap_or(u64::MAX),
        ))
    }

    /// Counts a call.
    pub(crate) fn count(&mut self) {
        self.counts[slot(self.newest)] += 1;
        self.total += 1;
    }

    fn part_nanos(&self) -> u64 {
        // One part more than fits, so that a full window lies within the parts that are kept.
        (nanos(self.length) / (PARTS as u64 - 1)).max(1)
    }

    fn advance(&mut self, now: Instant) {
        let newest = nanos(now.saturating_duration_since(self.start)) / self.part_nanos();
        if newest - self.newest.min(newest) >= PARTS as u64 {
            self.counts = [0; PARTS];
            self.total = 0;
            // Starting again keeps the numbers small.
            self.start = now;
            self.newest = 0;
            return;
        }
        while self.newest < newest {
            self.newest += 1;
            let left = std::mem::take(&mut self.counts[slot(self.newest)]);
            self.total -= left;
        }
    }
}

/// Enough for 584 years.
fn nanos(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}

fn slot(part: u64) -> usize {
    (part % PARTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls by time, in the plainest way: what the window has to agree with.
    struct Log(Vec<Instant>);

    #[test]
    fn a_limit_is_never_exceeded_and_places_come_free_in_time() {
        let length = Duration::from_millis(1_000);
        let start = Instant::now();
        let mut window = Window::new(length, start);
        let mut log = Log(Vec::new());
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut now = start;
        for _ in 0..20_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            now += Duration::from_micros(seed % 40_000);
            let slack = length + length / 15;
            let within = log
                .0
                .iter()
                .filter(|at| now.duration_since(**at) < length)
                .count();
            let with_slack = log
                .0
                .iter()
                .filter(|at| now.duration_since(**at) < slack)
                .count();
            match window.check(20, now) {
                Ok(()) => {
                    assert!(within < 20, "one too many");
                    window.count();
                    log.0.push(now);
                }
                Err(wait) => {
                    assert!(with_slack >= 20, "refused although there was room");
                    assert!(wait <= slack);
                    let one = Duration::from_millis(1);
                    assert!(
                        wait == one || window.check(20, now + wait - one).is_err(),
                        "the wait was too long"
                    );
                    assert!(
                        window.check(20, now + wait).is_ok(),
                        "the wait was too short"
                    );
                    now += wait;
                }
            }
            log.0.retain(|at| now.duration_since(*at) < slack);
        }
    }

    #[test]
    fn a_long_pause_empties_it() {
        let start = Instant::now();
        let mut window = Window::new(Duration::from_secs(1), start);
        window.check(1, start).unwrap();
        window.count();
        assert!(window.check(1, start + Duration::from_millis(999)).is_err());
        assert!(window.check(1, start + Duration::from_secs(86_400)).is_ok());
        assert!(window.is_idle(start + Duration::from_secs(86_400)));
    }
}
