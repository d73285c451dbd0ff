//! SIGINT and SIGTERM: the first drains, the second ends the process at once. SIGHUP asks for a reload
//! and never ends anything.

use std::convert::Infallible;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::reload::ReloadRequests;

pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// From here on none of them does what it does to a program that does not listen.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal that ends the process: its name and the exit code of a process that it kills.
    pub(crate) async fn next(&mut self) -> (&'static str, i32) {
        tokio::select! {
            _ = self.interrupt.recv() => ("SIGINT", 130),
            _ = self.terminate.recv() => ("SIGTERM", 143),
        }
    }

    /// Asks for a reload at each SIGHUP, also at one that came before this was called.
    pub(crate) fn reloads(
        &mut self,
        requests: ReloadRequests,
    ) -> io::Result<impl Future<Output = Result<(), Infallible>> + Send + 'static> {
        let mut hangup = std::mem::replace(&mut self.hangup, signal(SignalKind::hangup())?);
        Ok(async move {
            while hangup.recv().await.is_some() {
                tracing::info!("SIGHUP: looking at certificates and keys again");
                requests.ask();
            }
            Ok(())
        })
    }
}
