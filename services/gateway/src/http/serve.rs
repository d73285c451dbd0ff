//! The accept loop: hyper's own server, with the bounds that its defaults leave out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bootstrap::tls::ServerTls;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use telemetry::Metrics;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::addresses::AddressRules;
use super::connection::{Connection, Shared};
use super::files;
use super::places::Places;
use super::unread::{Answers, Unread};

/// Bounds on connections.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// Most connections at once; one more is closed at once.
    pub max_connections: usize,
    /// Most connections at once from one address, of IPv6 from one /64.
    pub max_connections_per_address: usize,
    /// Whose connections are those of others: they may have all places.
    pub addresses: AddressRules,
    /// TLS on every connection.
    pub tls: Option<ServerTls>,
    /// How long a handshake may take, a connection until its first head is there, and the head of
    /// each request from its first byte.
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
    /// Cancelled when the process is about to stop and still takes requests: from then on every
    /// answer over HTTP/1 is the last one of its connection.
    pub draining: CancellationToken,
    /// How long a connection that nobody uses stays open after the stop.
    pub linger: Duration,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            max_connections: 4_096,
            max_connections_per_address: 1_024,
            addresses: AddressRules::default(),
            tls: None,
            header_timeout: HEADER_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
            stream_timeout: STREAM_TIMEOUT,
            max_unread_bytes: MAX_UNREAD_BYTES,
            draining: CancellationToken::new(),
            linger: LINGER,
        }
    }
}

pub(super) const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(65);
/// With the looks at what waits, which are a second apart, a client is gone within 30 seconds.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(28);
pub(super) const STREAM_TIMEOUT: Duration = Duration::from_secs(28);
pub(super) const MAX_UNREAD_BYTES: u64 = 256 << 20;

/// A proxy that has just put a request on a connection which it keeps must not find it closed: it may
/// not send a POST again. So connections stay for this long while nobody can open another one, and
/// whoever uses one in that time is answered and told that it ends.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// Pause after an accept that failed for want of file descriptors or memory.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Largest head that hyper buffers; the limits layer is stricter and answers.
pub(super) const MAX_HEAD_BYTES: usize = 32 * 1024;
/// hyper answers 431 above this; the limits layer already above 64.
const MAX_HEADERS: usize = 100;
/// Requests at once on one HTTP/2 connection.
pub(super) const MAX_H2_STREAMS: u32 = 64;
/// As HTTP/2 counts a list of headers: 32 bytes more for each.
pub(super) const MAX_H2_HEADER_LIST: u32 = (16 + 2) * 1024;
/// Requests that a client may take back before they are looked at (rapid reset).
pub(super) const MAX_H2_PENDING_RESETS: usize = 20;
/// Streams that we may have to reset for a client's mistakes before its connection ends.
pub(super) const MAX_H2_ERROR_RESETS: usize = 64;
/// Bytes that a client may send ahead, on one stream and on a connection: what nobody has read yet
/// is in memory.
pub(super) const H2_STREAM_WINDOW: u32 = 128 * 1024;
pub(super) const H2_CONNECTION_WINDOW: u32 = 256 * 1024;
/// A silent connection is asked whether it lives after this time.
pub(super) const H2_PING: Duration = Duration::from_secs(30);
/// The kernel gives a connection up whose bytes nobody acknowledges for so long.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Serves until `shutdown`; then nobody can connect any more, whoever is connected may ask once more
/// for [`ServeSettings::linger`], and this returns when all that was asked is answered. How long that
/// may take is the caller's to bound: dropping this future ends every connection.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: ServeSettings,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) {
    let limits = (
        files::room_for(settings.max_connections),
        settings.max_connections_per_address,
    );
    let places = Places::new(limits, settings.addresses.clone(), Arc::clone(&metrics));
    let unread = Unread::new(
        settings.max_unread_bytes,
        settings.write_timeout,
        settings.stream_timeout,
    );
    let shared = Arc::new(Shared {
        builder: builder(&settings),
        router,
        settings,
        metrics,
        shutdown: shutdown.clone(),
    });
    let connections = TaskTracker::new();
    let aborted = CancellationToken::new();
    let _abort = aborted.clone().drop_guard();
    let open = |stream: TcpStream, peer: SocketAddr| {
        let Some(place) = places.take(peer.ip()) else {
            return;
        };
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%peer, %error, "the connection is gone already");
            return;
        }
        let connection = Connection {
            shared: Arc::clone(&shared),
            answers: Answers::new(Arc::clone(&unread)),
            place,
        };
        let aborted = aborted.clone();
        connections.spawn(async move {
            tokio::select! {
                () = connection.run(stream, peer) => {}
                () = aborted.cancelled() => {}
            }
        });
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => open(stream, peer),
            Err(error) => pause_after(&error).await,
        }
    }
    // Whoever waits to be accepted has been told by the kernel that it is connected, and has maybe
    // asked: closing the socket would reset it.
    match listener.into_std() {
        Ok(listener) => {
            while let Ok((stream, peer)) = listener.accept() {
                let ready = stream.set_nonblocking(true);
                if let Ok(stream) = ready.and_then(|()| TcpStream::from_std(stream)) {
                    open(stream, peer);
                }
            }
        }
        Err(error) => tracing::warn!(%error, "connections that waited are reset"),
    }
    connections.close();
    connections.wait().await;
}

/// An event stream goes out in small pieces: without `TCP_NODELAY` each waits for an
/// acknowledgement, 40 ms with most clients. And whoever has gone without a word must not keep a
/// place until the kernel's own limit, a quarter of an hour.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let millis = u32::try_from(UNACKNOWLEDGED.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(stream, millis)?;
    Ok(())
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
        .max_pending_accept_reset_streams(MAX_H2_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_H2_ERROR_RESETS)
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .keep_alive_interval(H2_PING)
        .keep_alive_timeout(settings.header_timeout);
    builder
}
