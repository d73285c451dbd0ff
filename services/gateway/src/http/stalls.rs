//! A socket that gives up on a peer that stalls: hyper has no limit for the time that a started
//! head takes beside the idle time, and none for an answer that nobody reads.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::frames::{Frames, Seen};
use super::framing::{Framing, Lines};

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;
/// HTTP/2 has streams of its own and pings for a dead peer.
const MULTIPLEXED: u8 = 3;

/// Where a connection is in its request, shared between the socket and the service.
#[derive(Debug, Clone)]
pub(super) struct Phase(Arc<AtomicU8>);

impl Default for Phase {
    /// A new connection: it is there to ask something, so its first head is awaited from the start.
    fn default() -> Self {
        Self(Arc::new(AtomicU8::new(HEAD)))
    }
}

impl Phase {
    /// A request is handed to the service.
    pub(super) fn head_is_complete(&self, version: Version) {
        let phase = if version == Version::HTTP_2 {
            MULTIPLEXED
        } else {
            BUSY
        };
        self.0.store(phase, Ordering::Relaxed);
    }

    /// The service has answered; what comes next is another head.
    pub(super) fn answered(&self) {
        self.change(BUSY, IDLE);
    }

    /// True when they are the first of a request.
    fn bytes_came(&self) -> bool {
        self.change(IDLE, HEAD)
    }

    fn in_head(&self) -> bool {
        self.0.load(Ordering::Relaxed) == HEAD
    }

    /// Nothing happens when the phase is another one by now.
    fn change(&self, from: u8, to: u8) -> bool {
        self.0
            .compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

/// The socket.
#[derive(Debug)]
pub(super) struct Stalls<S> {
    inner: S,
    phase: Phase,
    head: Clock,
    write: Clock,
    frames: Frames,
    lines: Lines,
}

impl<S> Stalls<S> {
    pub(super) fn new(
        inner: S,
        (phase, framing): (Phase, Framing),
        (head, write): (Duration, Duration),
    ) -> Self {
        Self {
            inner,
            phase,
            head: Clock::new(head),
            write: Clock::new(write),
            frames: Frames::new(),
            lines: Lines::new(framing),
        }
    }
}

/// A timer that is only made when there is something to wait for.
#[derive(Debug)]
struct Clock {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Clock {
    fn new(limit: Duration) -> Self {
        Self {
            limit,
            sleep: None,
            running: false,
        }
    }

    fn stop(&mut self) {
        self.running = false;
    }

    /// Starts the clock unless it runs; an error once it has run out.
    fn poll(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let deadline = Instant::now() + self.limit;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep(self.limit)));
        if !self.running {
            self.running = true;
            sleep.as_mut().reset(deadline);
        }
        match sleep.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalls<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        let came = buffer.filled().get(before..).unwrap_or_default();
        if !came.is_empty() {
            if self.phase.bytes_came() {
                self.lines.begin();
            }
            let seen = self.frames.pass(came);
            if seen == Seen::NotFrames {
                self.lines.pass(came);
            }
            if seen == Seen::Flood {
                tracing::debug!("an HTTP/2 client sends frames that ask for nothing, without end");
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
        }
        // The clock runs from the first byte of a head, however many more trickle in.
        if self.phase.in_head() {
            if let Err(late) = self.head.poll(context) {
                return Poll::Ready(Err(late));
            }
        } else {
            self.head.stop();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> Stalls<S> {
    fn timed<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_pending() {
            if let Err(late) = self.write.poll(context) {
                return Poll::Ready(Err(late));
            }
        } else {
            self.write.stop();
        }
        written
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalls<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.timed(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.timed(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.timed(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(context);
        self.timed(context, shut)
    }
}
