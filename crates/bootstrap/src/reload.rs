//! "Read again what may change": SIGHUP, told to every part that follows something.

use tokio::sync::watch;

/// Where a part learns that somebody asked for a reload. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reload(watch::Receiver<u64>);

/// Who asks: the process for SIGHUP, a test for itself.
#[derive(Debug)]
pub struct ReloadRequests(watch::Sender<u64>);

impl Reload {
    /// One that is asked through the other half.
    #[must_use]
    pub fn channel() -> (ReloadRequests, Self) {
        let (sender, receiver) = watch::channel(0);
        (ReloadRequests(sender), Self(receiver))
    }

    /// Waits until somebody asks. Requests that come while nobody waits are one request.
    pub async fn asked(&mut self) {
        if self.0.changed().await.is_err() {
            // Whoever could ask has gone.
            std::future::pending::<()>().await;
        }
    }
}

impl ReloadRequests {
    /// Asks every part.
    pub fn ask(&self) {
        self.0.send_modify(|asked| *asked = asked.wrapping_add(1));
    }
}
