//! Connections as they come in, bounded in number.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};

use super::connection::{Connection, Peer};
use crate::connect::Stream as Transport;
use crate::pipe::PipeListener;
use crate::tls::{Tls, service_of};

/// Most connections at once unless said otherwise. Our own services hold one each.
pub(crate) const MAX_CONNECTIONS: usize = 1024;
/// After a failed accept (usually: no file descriptor left) the next one waits this long.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// How long a TLS handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

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
    /// `None` after the stop.
    incoming: Option<Incoming>,
    places: Arc<Semaphore>,
    pause: Option<Pin<Box<Sleep>>>,
    /// What TCP connections have to show; a Unix socket's file says who may connect.
    tls: Option<Tls>,
    handshakes: JoinSet<Option<Connection>>,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Dropped when nobody waits to be accepted any more.
    open: Option<oneshot::Sender<()>>,
}

impl Connections {
    /// At `stop` whoever waits to be accepted still is, then nobody can connect any more, and when the
    /// last handshake has ended the receiver hears of it. Closing the socket at once would reset
    /// connections that their callers have already put a request on.
    pub(crate) fn new(
        incoming: Incoming,
        max: usize,
        tls: Option<Tls>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> (Self, oneshot::Receiver<()>) {
        let (open, closed) = oneshot::channel();
        let connections = Self {
            incoming: Some(incoming),
            places: Arc::new(Semaphore::new(max)),
            pause: None,
            tls,
            handshakes: JoinSet::new(),
            stop: Box::pin(stop),
            open: Some(open),
        };
        (connections, closed)
    }

    /// A connection that can be used at once, or `None` and a handshake more.
    fn admit(&mut self, transport: Transport, place: OwnedSemaphorePermit) -> Option<Connection> {
        match (transport, &self.tls) {
            (Transport::Tcp(stream), Some(tls)) => {
                self.handshakes.spawn(shake(stream, place, tls.clone()));
                None
            }
            (transport, _) => Some(Connection::new(transport, place, Peer::Unnamed, None)),
        }
    }
}

impl Stream for Connections {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            // Handshakes run beside each other and hold their places.
            while let Poll::Ready(Some(done)) = self.handshakes.poll_join_next(task) {
                if let Ok(Some(connection)) = done {
                    return Poll::Ready(Some(Ok(connection)));
                }
            }
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(task));
                self.pause = None;
            }
            let this = &mut *self;
            let Some(incoming) = &mut this.incoming else {
                if this.handshakes.is_empty() {
                    this.open = None;
                }
                return Poll::Pending;
            };
            let accepted = match incoming.poll_accept(task) {
                Poll::Ready(accepted) => accepted,
                // Nobody waits to be accepted.
                Poll::Pending if this.stop.as_mut().poll(task).is_ready() => {
                    this.incoming = None;
                    continue;
                }
                Poll::Pending => return Poll::Pending,
            };
            match accepted {
                None => return Poll::Ready(None),
                Some(Ok(transport)) => match Arc::clone(&self.places).try_acquire_owned() {
                    Ok(place) => {
                        if let Some(connection) = self.admit(transport, place) {
                            return Poll::Ready(Some(Ok(connection)));
                        }
                    }
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

/// Both sides show their certificates.
async fn shake(stream: TcpStream, place: OwnedSemaphorePermit, mut tls: Tls) -> Option<Connection> {
    // What is shown from here on is of now: only a later change makes the connection old.
    tls.take_change();
    let refused = |reason: String| {
        tracing::warn!(reason, "a connection was refused: no certificate of ours");
        None
    };
    let stream = match timeout(HANDSHAKE_WITHIN, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(reason)) => return refused(reason.to_string()),
        Err(_) => return refused("the handshake took too long".to_owned()),
    };
    let shown = stream.get_ref().1.peer_certificates();
    let first: Option<&CertificateDer<'_>> = shown.and_then(<[_]>::first);
    match first.and_then(service_of) {
        Some(name) => Some(Connection::new(
            Transport::Tls(Box::new(stream.into())),
            place,
            Peer::Named(name),
            Some(tls),
        )),
        // The verifier has looked for it already.
        None => refused("the certificate names no service".to_owned()),
    }
}
