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

/// How long a caller may leave unread what it is sent. Pings do not find one out that goes on sending
/// and never reads.
const READ_WITHIN: Duration = Duration::from_secs(20);

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

/// Holds its place among the connections, and ends when the caller says nothing at all or reads
/// nothing any more.
pub(crate) struct Connection {
    stream: Stream,
    silence: Option<(Pin<Box<Sleep>>, usize)>,
    /// Running while a write waits for the caller.
    unread: Option<Pin<Box<Sleep>>>,
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
            unread: None,
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

impl Connection {
    /// Passes on what came of a write, or gives the caller up that has let it wait for too long.
    fn written<T>(
        &mut self,
        task: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.unread = None;
            return written;
        }
        let limit = self
            .unread
            .get_or_insert_with(|| Box::pin(sleep(READ_WITHIN)));
        match limit.as_mut().poll(task) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(task, bytes);
        self.written(task, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(task);
        self.written(task, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(task);
        self.written(task, ended)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(task, slices);
        self.written(task, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Semaphore;
    use tokio::time::Instant;

    use super::*;

    async fn connection() -> (Connection, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64);
        let place = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let stream = Stream::Pipe(ours);
        (Connection::new(stream, place, Peer::Unnamed, None), theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_is_put_out_although_it_sends() {
        let (mut connection, mut theirs) = connection().await;
        theirs.write_all(&[0; 64]).await.unwrap();
        let mut heard = [0; 64];
        connection.read_exact(&mut heard).await.unwrap();
        let begun = Instant::now();
        let error = connection.write_all(&[0; 1_000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), READ_WITHIN.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_is_served() {
        let (mut connection, mut theirs) = connection().await;
        let reading = async {
            for _ in 0..10 {
                sleep(READ_WITHIN - Duration::from_secs(1)).await;
                theirs.read_exact(&mut [0; 64]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(connection.write_all(&[0; 640]), reading);
        written.unwrap();
    }
}
