//! Whether the daemon answers. While it does not, nobody waits for it: requests fail at once, those
//! under way are given up, and a ping in the background finds its return.

use std::sync::Arc;
use std::time::Duration;

use telemetry::Metrics;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::fault::Fault;

/// Between pings while all is well: what finds a daemon that hangs.
const CALM: Duration = Duration::from_secs(5);
/// How long a ping may take.
pub(super) const PING: Duration = Duration::from_secs(2);
/// First and longest pause between pings while it is away.
const AWAY: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

/// The state: `None` while it answers, else why it is taken for away.
#[derive(Debug)]
pub(super) struct Circuit {
    down: watch::Sender<Option<Arc<str>>>,
    suspicion: Notify,
    metrics: Arc<Metrics>,
}

impl Circuit {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        metrics.docker_up.set(1);
        Self {
            down: watch::Sender::new(None),
            suspicion: Notify::new(),
            metrics,
        }
    }

    /// # Errors
    /// [`Fault::Down`] while the daemon is away.
    pub(super) fn check(&self) -> Result<(), Fault> {
        match &*self.down.borrow() {
            Some(why) => Err(Fault::Down(why.to_string())),
            None => Ok(()),
        }
    }

    /// Waits until the daemon is taken for away.
    pub(super) async fn tripped(&self) -> Fault {
        let mut state = self.down.subscribe();
        match state.wait_for(Option::is_some).await {
            Ok(why) => Fault::Down(why.as_deref().unwrap_or_default().to_owned()),
            // The sender is ours.
            Err(closed) => Fault::Down(closed.to_string()),
        }
    }

    /// Waits until it is not taken for away.
    pub(super) async fn answers(&self) {
        let mut state = self.down.subscribe();
        // An error is the end of the sender, which is ours.
        drop(state.wait_for(Option::is_none).await);
    }

    /// A request failed in a way that may be the daemon's end.
    pub(super) fn suspect(&self, fault: &Fault) {
        if let Fault::Connect(why) = fault {
            self.set(Some(why.as_str().into()));
        }
        self.suspicion.notify_one();
    }

    fn set(&self, down: Option<Arc<str>>) {
        let was = self.down.send_replace(down.clone());
        self.metrics.docker_up.set(i64::from(down.is_none()));
        match (was, down) {
            (None, Some(why)) => tracing::warn!(%why, "the Docker daemon does not answer"),
            (Some(_), None) => tracing::info!("the Docker daemon answers again"),
            _ => {}
        }
    }

    /// Waits until it is time to look again, sooner when a request failed.
    pub(super) async fn rest(&self, pause: &Pause) {
        let up = self.down.borrow().is_none();
        tokio::select! {
            () = self.suspicion.notified(), if up => {}
            () = sleep(if up { CALM } else { pause.0 }) => {}
        }
    }

    /// Whether it is not taken for away.
    pub(super) fn is_up(&self) -> bool {
        self.down.borrow().is_none()
    }

    /// What a look gave.
    pub(super) fn found(&self, answer: Result<(), Fault>, pause: &mut Pause) {
        match answer {
            Ok(()) => {
                *pause = Pause::default();
                self.set(None);
            }
            Err(fault) => {
                if !self.is_up() {
                    pause.0 = (pause.0 * 2).min(AWAY[1]);
                }
                self.set(Some(fault.to_string().into()));
            }
        }
    }
}

/// The pause until the next look while the daemon is away; it grows.
#[derive(Debug)]
pub(super) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(AWAY[0])
    }
}
