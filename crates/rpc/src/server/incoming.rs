//! Connections as they come in, bounded in number.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep};

use super::connection::Connection;
use crate::connect::Stream as Transport;
use crate::pipe::PipeListener;

/// Most connections at once unless said otherwise. Our own services hold one each.
pub(crate) const MAX_CONNECTIONS: usize = 1024;
/// After a failed accept (usually: no file descriptor left) the next one waits this long.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Where a server takes connections from. TCP and Unix listeners are bound by whoever starts the
/// server, before anything else.
#[derive(Debug)]
pub enum Incoming {
    /// A TCP listener.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
    /// A pipe within this process.
    Pipe(PipeListener),
}

impl Incoming {
    fn poll_accept(&mut self, task: &mut Context<'_>) -> Poll<Option<io::Result<Transport>>> {
        match self {
            Self::Tcp(listener) => listener.poll_accept(task).map(|accepted| {
                Some(accepted.and_then(|(stream, _)| {
                    // Small messages both ways: without it each waits for a delayed ack.
                    stream.set_nodelay(true)?;
                    Ok(Transport::Tcp(stream))
                }))
            }),
            Self::Unix(listener) => listener
                .poll_accept(task)
                .map(|accepted| Some(accepted.map(|(stream, _)| Transport::Unix(stream)))),
            Self::Pipe(listener) => listener
                .poll_accept(task)
                .map(|accepted| Some(Ok(Transport::Pipe(accepted?)))),
        }
    }
}

/// Accepts up to so many at once; what comes beyond is closed at once.
pub(crate) struct Connections {
    incoming: Incoming,
    places: Arc<Semaphore>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Connections {
    pub(crate) fn new(incoming: Incoming, max: usize) -> Self {
        Self {
            incoming,
            places: Arc::new(Semaphore::new(max)),
            pause: None,
        }
    }
}

impl Stream for Connections {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(task));
                self.pause = None;
            }
            match std::task::ready!(self.incoming.poll_accept(task)) {
                None => return Poll::Ready(None),
                Some(Ok(transport)) => match Arc::clone(&self.places).try_acquire_owned() {
                    Ok(place) => return Poll::Ready(Some(Ok(Connection::new(transport, place)))),
                    Err(_) => {
                        tracing::warn!("too many connections: one is closed");
                    }
                },
                Some(Err(reason)) => {
                    tracing::warn!(%reason, "a connection could not be accepted");
                    self.pause = Some(Box::pin(sleep(AFTER_FAILURE)));
                }
            }
        }
    }
}
