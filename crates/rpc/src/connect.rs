//! Channels: connected when first needed, connected again when lost.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use auth::internal::Audience;
use domain::{Error, Result};
use http::Uri;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsStream;
use tonic::transport::{Channel, Endpoint as Http};
use tower::Service;

use crate::endpoint::Endpoint;
use crate::tls::Tls;

/// How long one attempt to connect may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// After a failed attempt the next waits this long, doubled with each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// Longest wait between two attempts. Requests in between fail at once.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A silent connection is asked whether it lives after this time.
const PING_AFTER: Duration = Duration::from_secs(5);
/// A connection that does not answer within this time is given up.
const PONG_WITHIN: Duration = Duration::from_secs(3);
/// Flow control windows: a whole result without waiting for the reader, for most results.
pub(crate) const STREAM_WINDOW: u32 = 1024 * 1024;
/// The same for all streams of a connection together.
pub(crate) const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// Largest headers of a response, in bytes: an error's texts are in them.
const MAX_HEADER_BYTES: u32 = 64 * 1024;

/// Where a channel leads, and what is shown there.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    /// The kind of service that it has to be.
    pub(crate) audience: Audience,
    /// The certificates, for an endpoint that speaks TLS.
    pub(crate) tls: Option<Tls>,
}

/// A channel to `target` that connects with the first request.
pub(crate) fn channel(target: &Target) -> Result<Channel> {
    // Only scheme and authority are sent, and nobody looks at them.
    let authority = match &target.endpoint {
        Endpoint::Tcp { .. } => target.endpoint.to_string(),
        Endpoint::Unix(_) | Endpoint::Pipe(_) => "http://localhost".to_owned(),
    };
    let origin: Uri = authority.parse().map_err(Error::internal)?;
    // TLS is the connector's work: for tonic the connection is a plain one.
    let uri = authority.replacen("https://", "http://", 1);
    let http = Http::from_shared(uri)
        .map_err(Error::internal)?
        .origin(origin)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PONG_WITHIN)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(MAX_HEADER_BYTES);
    Ok(http.connect_with_connector_lazy(Connector {
        target: target.clone(),
        pause: Arc::default(),
    }))
}

#[derive(Clone)]
struct Connector {
    target: Target,
    pause: Arc<Mutex<Pause>>,
}

/// Keeps failed attempts apart, so that a service that is away costs next to nothing.
#[derive(Debug, Default)]
struct Pause {
    length: Duration,
    until: Option<Instant>,
}

impl Pause {
    fn failed(&mut self) {
        self.length = (self.length * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.until = Some(Instant::now() + self.length);
    }

    fn is_on(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            if this.pause.lock().is_on() {
                return Err(io::Error::new(
                    io::ErrorKind::ConnectionRefused,
                    "the last attempt to connect failed a moment ago",
                ));
            }
            // Also counts as a failure when this future is dropped.
            let attempt = Attempt {
                pause: &this.pause,
                connected: false,
            };
            // Not tonic's own limit: what that ends is no failure to connect for it, so that the request
            // would be taken for one that may have been carried out.
            let dialled = timeout(CONNECT_WITHIN, dial(&this.target)).await;
            attempt.finish(dialled.unwrap_or_else(|_| {
                let why = format!("no connection within {CONNECT_WITHIN:?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, why))
            }))
        })
    }
}

struct Attempt<'a> {
    pause: &'a Mutex<Pause>,
    connected: bool,
}

impl Attempt<'_> {
    fn finish(mut self, outcome: io::Result<Stream>) -> io::Result<TokioIo<Stream>> {
        self.connected = outcome.is_ok();
        outcome.map(TokioIo::new)
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut pause = self.pause.lock();
        if self.connected {
            *pause = Pause::default();
        } else {
            pause.failed();
        }
    }
}

async fn dial(target: &Target) -> io::Result<Stream> {
    match &target.endpoint {
        Endpoint::Tcp { host, port, tls } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            // Small messages both ways: without it each waits for the other side's delayed ack.
            stream.set_nodelay(true)?;
            if !tls {
                return Ok(Stream::Tcp(stream));
            }
            let tls = target.tls.as_ref().ok_or_else(|| {
                io::Error::other("this service has no certificate to show (MCP_INTERNAL_TLS_CERT)")
            })?;
            let stream = tls.connect(target.audience, host, stream).await?;
            Ok(Stream::Tls(Box::new(stream)))
        }
        Endpoint::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
        Endpoint::Pipe(dialer) => Ok(Stream::Pipe(dialer.dial().await?)),
    }
}

/// A connection of any kind.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
    Pipe(DuplexStream),
}

macro_rules! each {
    ($stream:expr, $inner:ident => $then:expr) => {
        match $stream {
            Stream::Tcp($inner) => $then,
            Stream::Tls($inner) => $then,
            Stream::Unix($inner) => $then,
            Stream::Pipe($inner) => $then,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(&mut *self, inner => Pin::new(inner).poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(&mut *self, inner => Pin::new(inner).poll_write(context, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut *self, inner => Pin::new(inner).poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut *self, inner => Pin::new(inner).poll_shutdown(context))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(&mut *self, inner => Pin::new(inner).poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, inner => inner.is_write_vectored())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_bound() {
        let mut pause = Pause::default();
        assert!(!pause.is_on());
        for millis in [25, 50, 100, 200, 400, 500, 500] {
            pause.failed();
            assert_eq!(pause.length, Duration::from_millis(millis));
            assert!(pause.is_on());
            tokio::time::advance(pause.length).await;
            assert!(!pause.is_on());
        }
    }
}
