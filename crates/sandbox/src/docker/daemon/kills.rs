//! Containers in which the kernel killed for want of memory, as the daemon's events tell it. What the
//! state of a container says after its end is not enough: Docker 20.10 on cgroup v1 forgets it there
//! where its own end of the container overtakes the news, and the event comes all the same, mostly
//! before the end and sometimes a little later.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use telemetry::Metrics;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::ContainerId;

/// How long an event may come after the daemon has told of the end. On two cores under eight times the
/// work that they can do it was 0.1 s at most.
const LATE: Duration = Duration::from_secs(1);
/// How long an event is remembered: it is asked for right after the end.
const KEPT: Duration = Duration::from_secs(60);
/// Most containers that are remembered; of more the oldest are forgotten.
const MOST: usize = 1_024;

/// What was heard. Events of before and after are not in it where the stream was not there.
#[derive(Debug)]
pub(super) struct Kills {
    heard: watch::Sender<Heard>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Heard {
    /// Whether more can come.
    listening: bool,
    /// When it was heard of which container.
    kills: HashMap<ContainerId, Instant>,
}

impl Kills {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            heard: watch::Sender::default(),
            metrics,
        }
    }

    /// Whether events come from now on.
    pub(super) fn listening(&self, listening: bool) {
        self.metrics.docker_events_up.set(i64::from(listening));
        self.heard.send_modify(|heard| heard.listening = listening);
    }

    /// The kernel killed in this container.
    pub(super) fn add(&self, id: ContainerId) {
        let now = Instant::now();
        self.heard.send_modify(|heard| {
            let kills = &mut heard.kills;
            kills.retain(|_, at| now.duration_since(*at) < KEPT);
            if kills.len() >= MOST && !kills.contains_key(&id) {
                let oldest = kills.iter().min_by_key(|(_, at)| **at);
                if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                    kills.remove(&oldest);
                }
            }
            kills.insert(id, now);
        });
    }

    /// Whether it is told of this container, which has ended. Waits a moment for news that may be on
    /// their way, where they can come at all.
    pub(super) async fn told_of(&self, id: &ContainerId) -> bool {
        let mut heard = self.heard.subscribe();
        let news = heard.wait_for(|heard| !heard.listening || heard.kills.contains_key(id));
        match timeout(LATE, news).await {
            Ok(Ok(heard)) => heard.kills.contains_key(id),
            // The sender is ours, so that this is the time that is over.
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

#[cfg(test)]
impl Kills {
    /// Containers that are remembered.
    pub(super) fn count(&self) -> usize {
        self.heard.borrow().kills.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::daemon::tests::metrics;

    fn id(number: usize) -> ContainerId {
        ContainerId::from(format!("{number:064x}"))
    }

    fn kills() -> Kills {
        let kills = Kills::new(metrics());
        kills.listening(true);
        kills
    }

    #[tokio::test(start_paused = true)]
    async fn fault_02_news_that_come_late_are_waited_for_and_no_longer() {
        let kills = kills();
        let begun = Instant::now();
        let one = id(1);
        let (told, ()) = tokio::join!(kills.told_of(&one), async {
            tokio::time::sleep(LATE / 2).await;
            kills.add(id(2));
            kills.add(id(1));
        });
        assert!(told && begun.elapsed() < LATE);
        let begun = Instant::now();
        assert!(kills.told_of(&id(1)).await);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(!kills.told_of(&id(3)).await);
        let waited = begun.elapsed();
        assert!(
            waited >= LATE && waited < LATE + Duration::from_millis(5),
            "{waited:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn fault_02_where_no_news_come_nobody_waits() {
        let kills = kills();
        assert_eq!(kills.metrics.docker_events_up.get(), 1);
        let begun = Instant::now();
        let one = id(1);
        let (told, ()) = tokio::join!(kills.told_of(&one), async {
            tokio::time::sleep(LATE / 4).await;
            kills.listening(false);
        });
        assert!(!told);
        assert_eq!(begun.elapsed(), LATE / 4);
        assert!(!kills.told_of(&id(1)).await);
        assert_eq!(begun.elapsed(), LATE / 4);
        assert_eq!(kills.metrics.docker_events_up.get(), 0);
        // What was heard before is true still.
        kills.add(id(1));
        assert!(kills.told_of(&id(1)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn fault_02_what_is_remembered_is_bounded_in_number_and_age() {
        let kills = kills();
        let count = || kills.count();
        for number in 0..MOST * 2 {
            kills.add(id(number));
            // One container that is killed in again and again is one.
            kills.add(id(number));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(count(), MOST);
        let (oldest, newest) = (MOST, MOST * 2 - 1);
        assert!(kills.told_of(&id(oldest)).await && kills.told_of(&id(newest)).await);
        assert!(!kills.told_of(&id(oldest - 1)).await);
        tokio::time::advance(KEPT).await;
        kills.add(id(0));
        assert_eq!(count(), 1);
    }
}
