//! A transport within the process: the same bytes as over TCP, without a port.

use std::io;
use std::task::{Context, Poll};

use tokio::io::DuplexStream;
use tokio::sync::mpsc;

/// Bytes that one direction of a pipe holds before the writer waits.
const BUFFER_BYTES: usize = 256 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: usize = 16;

/// The side that connects. Clones reach the same listener.
#[derive(Debug, Clone)]
pub struct PipeDialer(mpsc::Sender<DuplexStream>);

/// The side that accepts: give it to [`crate::server::Server::serve`].
#[derive(Debug)]
pub struct PipeListener(mpsc::Receiver<DuplexStream>);

/// A listener and what reaches it.
#[must_use]
pub fn pipe() -> (PipeDialer, PipeListener) {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    (PipeDialer(sender), PipeListener(receiver))
}

impl PipeDialer {
    pub(crate) async fn dial(&self) -> io::Result<DuplexStream> {
        let (near, far) = tokio::io::duplex(BUFFER_BYTES);
        match self.0.send(far).await {
            Ok(()) => Ok(near),
            Err(_) => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }
}

impl PipeListener {
    /// The next connection; `None` when no dialer is left.
    pub(crate) fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<Option<DuplexStream>> {
        self.0.poll_recv(context)
    }
}
