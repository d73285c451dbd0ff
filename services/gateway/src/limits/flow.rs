//! How many requests are worked on at once, and what becomes of more: a short queue, and where even
//! that is no help, because the process itself is late, a part is refused at once.
//!
//! The number of requests in progress says little where each is done within one turn of the
//! scheduler: then what waits, waits unseen in front of it. What can be seen is that a timer comes
//! late. [`Flow::watch`] looks at that the way CoDel (RFC 8289) looks at a queue: not how late the
//! timer was once, but how late it was at least, in a tenth of a second.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::{Denied, Limit, LimitSettings};

/// Longest wait in the queue. A refusal has to come within 50 ms.
const WAIT: Duration = Duration::from_millis(25);
/// When to come back after a refusal for load: about as long as it takes to get better.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often the timer is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Looks that are judged together.
const LOOKS: u32 = 10;
/// Fewer requests within [`LOOKS`] looks are not what makes the timer late: the machine is.
const FEW: u32 = 50;
/// All requests are let in, in thousandths.
const ALL: u32 = 1_000;
/// The least share that is let in.
const LEAST: u32 = 50;
/// By how much the share grows, each time that the timer was in time: from the least to all in two
/// seconds.
const GROWS: u32 = 50;

/// The requests in progress.
#[derive(Debug)]
pub(crate) struct Flow {
    slots: Semaphore,
    most: usize,
    queued: AtomicUsize,
    most_queued: usize,
    /// How late the timer may always be; zero: however late.
    max_lag: Duration,
    /// The share of requests that is let in, in thousandths.
    share: AtomicU32,
    /// Where in the share the next request falls.
    turn: AtomicU32,
    /// Requests since the share was last judged.
    arrived: AtomicU32,
}

/// A place in the queue; gives itself back.
struct Queued<'a>(&'a AtomicUsize);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Flow {
    pub(crate) fn new(settings: &LimitSettings) -> Self {
        Self {
            slots: Semaphore::new(settings.max_in_flight),
            most: settings.max_in_flight,
            queued: AtomicUsize::new(0),
            most_queued: settings.max_queued,
            max_lag: settings.max_lag,
            share: AtomicU32::new(ALL),
            turn: AtomicU32::new(0),
            arrived: AtomicU32::new(0),
        }
    }

    /// A slot, to be held while the request is worked on.
    ///
    /// # Errors
    /// [`Limit::Load`] at once; [`Limit::InFlight`] at once when the queue is full, else after the
    /// longest wait in it.
    pub(crate) async fn enter(&self) -> Result<SemaphorePermit<'_>, Denied> {
        self.arrived.fetch_add(1, Ordering::Relaxed);
        if !self.is_in_share() {
            return Err(Denied::new(Limit::Load, RETRY_AFTER));
        }
        if let Ok(slot) = self.slots.try_acquire() {
            return Ok(slot);
        }
        let full = || Denied::new(Limit::InFlight, RETRY_AFTER);
        let before = self.queued.fetch_add(1, Ordering::AcqRel);
        let _queued = Queued(&self.queued);
        if before >= self.most_queued {
            return Err(full());
        }
        match timeout(WAIT, self.slots.acquire()).await {
            Ok(Ok(slot)) => Ok(slot),
            _ => Err(full()),
        }
    }

    /// Spreads the refused ones evenly: of a share of 250 thousandths every fourth one is let in.
    fn is_in_share(&self) -> bool {
        let share = self.share.load(Ordering::Relaxed);
        if share >= ALL {
            return true;
        }
        let turn = self.turn.fetch_add(share, Ordering::Relaxed) % ALL;
        turn + share >= ALL
    }

    /// Judges a stretch of time in which the timer was at least so late.
    fn judge(&self, late: Duration) {
        let arrived = self.arrived.swap(0, Ordering::Relaxed);
        let share = self.share.load(Ordering::Relaxed);
        let is_late = !self.max_lag.is_zero() && late > self.max_lag;
        let next = if is_late && arrived >= FEW {
            (share * 4 / 5).max(LEAST)
        } else {
            (share + GROWS).min(ALL)
        };
        if next < ALL && share == ALL {
            tracing::warn!(
                late_ms = late.as_millis(),
                arrived,
                "overloaded: refusing a part"
            );
        } else if next == ALL && share < ALL {
            tracing::info!("no longer overloaded");
        }
        self.share.store(next, Ordering::Relaxed);
    }

    /// Keeps the share up to date for as long as it is polled.
    pub(crate) async fn watch(&self) -> Infallible {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = 0;
        let mut least = Duration::MAX;
        loop {
            let due = look.tick().await;
            least = least.min(Instant::now().saturating_duration_since(due));
            looks += 1;
            if looks == LOOKS {
                self.judge(least);
                (looks, least) = (0, Duration::MAX);
            }
        }
    }

    /// The share of requests that is let in, from 0.05 to 1.
    pub(crate) fn share(&self) -> f64 {
        f64::from(self.share.load(Ordering::Relaxed)) / f64::from(ALL)
    }

    /// Requests in progress, and that wait.
    pub(crate) fn extent(&self) -> (usize, usize) {
        let in_flight = self.most.saturating_sub(self.slots.available_permits());
        (in_flight, self.queued.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Duration = Duration::from_millis(5);

    fn flow(max_in_flight: usize, max_queued: usize) -> Flow {
        Flow::new(&LimitSettings {
            max_in_flight,
            max_queued,
            ..LimitSettings::default()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_slots_is_a_short_queue_and_beyond_that_a_refusal_at_once() {
        let flow = flow(2, 1);
        let (one, two) = (flow.enter().await.unwrap(), flow.enter().await.unwrap());
        let waits = flow.enter();
        tokio::pin!(waits);
        assert!(futures::poll!(&mut waits).is_pending());
        assert_eq!(flow.extent(), (2, 1));
        let begun = Instant::now();
        assert_eq!(flow.enter().await.unwrap_err().limit, Limit::InFlight);
        assert_eq!(begun.elapsed(), Duration::ZERO, "the queue is full");
        drop(one);
        let three = waits.await.unwrap();
        assert_eq!(flow.extent(), (2, 0));

        assert_eq!(flow.enter().await.unwrap_err().limit, Limit::InFlight);
        assert_eq!(begun.elapsed(), WAIT, "within 50 ms");
        drop((two, three));
        assert_eq!(flow.extent(), (0, 0));
        assert!(flow.enter().await.is_ok());
    }

    /// A tenth of a second in which the timer was so late; how many of a thousand are then let in.
    async fn stretch(flow: &Flow, late: Duration) -> usize {
        flow.arrived.fetch_add(FEW, Ordering::Relaxed);
        flow.judge(late);
        let mut admitted = 0;
        for _ in 0..1_000 {
            admitted += usize::from(flow.enter().await.is_ok());
        }
        admitted
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_timer_lets_fewer_in_and_one_in_time_all_within_two_seconds() {
        let flow = flow(10, 0);
        assert_eq!(stretch(&flow, LATE).await, 1_000);
        assert_eq!(stretch(&flow, LATE * 2).await, 800);
        assert_eq!(stretch(&flow, LATE * 2).await, 640);
        for _ in 0..100 {
            stretch(&flow, Duration::from_secs(1)).await;
        }
        assert_eq!(stretch(&flow, LATE * 2).await, LEAST as usize);
        let mut stretches = 0;
        while stretch(&flow, Duration::ZERO).await < 1_000 {
            stretches += 1;
        }
        assert!(stretches < 20, "{stretches} tenths of a second");
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_is_late_by_itself_refuses_nothing() {
        let flow = flow(10, 0);
        flow.arrived.store(FEW - 1, Ordering::Relaxed);
        flow.judge(Duration::from_secs(1));
        assert!(flow.share() >= 1.0);

        let never = Flow::new(&LimitSettings {
            max_lag: Duration::ZERO,
            ..LimitSettings::default()
        });
        assert_eq!(stretch(&never, Duration::from_secs(1)).await, 1_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_is_in_time_lets_all_in_again() {
        let flow = flow(10, 0);
        flow.share.store(LEAST, Ordering::Relaxed);
        let two_seconds = tokio::time::sleep(Duration::from_secs(2));
        tokio::select! {
            never = flow.watch() => match never {},
            () = two_seconds => {}
        }
        assert!(flow.share() >= 1.0, "{}", flow.share());
    }
}
