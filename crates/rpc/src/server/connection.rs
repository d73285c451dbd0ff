//! One accepted connection.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

use crate::connect::Stream;
use crate::tls::Tls;

/// Length of the HTTP/2 connection preface (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;
/// How long a caller may take to send it. Afterwards pings find out whether it lives.
const PREFACE_WITHIN: Duration = Duration::from_secs(5);

/// A connection that was opened with certificates which have been replaced ends after this time at the
/// latest. It was asked to end before, and the longest call is shorter.
const REPLACED_FOR: Duration = Duration::from_secs(300);

/// Who is at the other end, by what the connection itself says.
#[derive(Debug, Clone)]
pub(crate) enum Peer {
    /// No certificates are shown: a pipe, a Unix socket, or TCP without TLS.
    Unnamed,
    /// The service that its certificate names.
    Named(Arc<str>),
}

/// Holds its place among the connections, and ends when the caller says nothing at all.
pub(crate) struct Connection {
    stream: Stream,
    silence: Option<(Pin<Box<Sleep>>, usize)>,
    peer: Peer,
    /// Over when its certificates have been replaced for long enough.
    outdated: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    pub(crate) fn new(
        stream: Stream,
        place: OwnedSemaphorePermit,
        peer: Peer,
        tls: Option<Tls>,
    ) -> Self {
        let silence = Some((Box::pin(sleep(PREFACE_WITHIN)), PREFACE_BYTES));
        Self {
            stream,
            silence,
            peer,
            outdated: tls.map(|tls| Box::pin(outdated(tls)) as _),
            _place: place,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

async fn outdated(mut tls: Tls) {
    tls.changed().await;
    sleep(REPLACED_FOR).await;
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(outdated) = &mut this.outdated
            && outdated.as_mut().poll(task).is_ready()
        {
            this.outdated = None;
            return Poll::Ready(Err(io::Error::other("its certificates were replaced")));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(task, buffer);
        if let Some((silence, missing)) = &mut this.silence {
            *missing = missing.saturating_sub(buffer.filled().len() - before);
            if *missing == 0 {
                this.silence = None;
            } else if read.is_pending() && silence.as_mut().poll(task).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(task, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
