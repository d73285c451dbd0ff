//! The accept loop: hyper's own server, with the bounds that its defaults leave out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use super::stalls::{Phase, Stalls};
use super::unread::{Answers, Unread};
use crate::mcp::is_event_stream;

/// Bounds on connections.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// Most connections at once; one more is closed at once.
    pub max_connections: usize,
    /// How long the head of a request may take from its first byte.
    pub header_timeout: Duration,
    /// How long a connection may be idle between two requests.
    pub idle_timeout: Duration,
    /// How long a client may leave an answer unread.
    pub write_timeout: Duration,
    /// How long an event stream may be left unread; more than the time between two signs of life.
    pub stream_timeout: Duration,
    /// Most bytes of unread answers on all connections together. Beyond it requests are refused
    /// and clients that do not read are disconnected.
    pub max_unread_bytes: u64,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            max_connections: 4_096,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(65),
            write_timeout: Duration::from_secs(30),
            stream_timeout: Duration::from_secs(60),
            max_unread_bytes: 256 << 20,
        }
    }
}

/// Pause after an accept that failed for want of file descriptors or memory.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Largest head that hyper buffers; the limits layer is stricter and answers.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// hyper answers 431 above this; the limits layer already above 64.
const MAX_HEADERS: usize = 100;
const MAX_H2_STREAMS: u32 = 128;
const MAX_H2_HEADER_LIST: u32 = 32 * 1024;
const H2_PING: Duration = Duration::from_secs(30);

/// Serves until `shutdown`, then lets the requests in flight end and returns. How long that may
/// take is the caller's to bound: dropping this future ends every connection.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: ServeSettings,
    shutdown: CancellationToken,
) {
    let builder = Arc::new(builder(&settings));
    let permits = Arc::new(Semaphore::new(settings.max_connections));
    let unread = Unread::new(
        settings.max_unread_bytes,
        settings.write_timeout,
        settings.stream_timeout,
    );
    let connections = TaskTracker::new();
    let aborted = CancellationToken::new();
    let _abort = aborted.clone().drop_guard();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            tracing::warn!(%peer, limit = settings.max_connections, "a connection too many");
            continue;
        };
        // An event stream goes out in small pieces: without this each waits for an
        // acknowledgement, 40 ms with most clients.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "the connection is gone already");
            continue;
        }
        let connection = Connection {
            builder: Arc::clone(&builder),
            router: router.clone(),
            shutdown: shutdown.clone(),
            stalls: (settings.header_timeout, settings.write_timeout),
            answers: Answers::new(Arc::clone(&unread)),
            _permit: permit,
        };
        let aborted = aborted.clone();
        connections.spawn(async move {
            tokio::select! {
                () = connection.run(stream, peer) => {}
                () = aborted.cancelled() => {}
            }
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    ) {
        return;
    }
    tracing::error!(%error, "a connection cannot be accepted");
    sleep(EXHAUSTED).await;
}

fn builder(settings: &ServeSettings) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // hyper counts from the end of the last request, so that this is the idle time; a head
        // that has begun is `Stalls`' to time.
        .header_read_timeout(settings.idle_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_H2_STREAMS)
        .max_header_list_size(MAX_H2_HEADER_LIST)
        .keep_alive_interval(H2_PING)
        .keep_alive_timeout(settings.header_timeout);
    builder
}

struct Connection {
    builder: Arc<Builder<TokioExecutor>>,
    router: Router,
    shutdown: CancellationToken,
    stalls: (Duration, Duration),
    answers: Answers,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, stream: TcpStream, peer: SocketAddr) {
        let phase = Phase::default();
        let io = TokioIo::new(Stalls::new(
            stream,
            phase.clone(),
            self.stalls.0,
            self.stalls.1,
        ));
        let router = self.router;
        let answers = self.answers.clone();
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            phase.head_is_complete(request.version());
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(answers.clone());
            let mut router = router.clone();
            let phase = phase.clone();
            async move {
                let response = router.call(request).await;
                // A stream goes on after its head: the connection stays busy.
                if let Ok(response) = &response
                    && !is_event_stream(response)
                {
                    phase.answered();
                }
                response
            }
        });
        let connection = self.builder.serve_connection(io, service);
        tokio::pin!(connection);
        let until_the_end = async {
            tokio::select! {
                ended = &mut connection => ended,
                () = self.shutdown.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        };
        let ended = tokio::select! {
            ended = until_the_end => ended,
            () = self.answers.not_taken() => {
                tracing::debug!(%peer, "a client does not take its answers");
                return;
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a connection ended early");
        }
    }
}
