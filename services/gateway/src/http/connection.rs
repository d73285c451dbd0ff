//! One connection, from its handshake to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use telemetry::Metrics;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::framing::{Ambiguous, Framing};
use super::places::Place;
use super::serve::ServeSettings;
use super::stalls::{Phase, Stalls};
use super::unread::Answers;
use crate::mcp::is_event_stream;

/// What every connection is served with.
pub(super) struct Shared {
    pub(super) builder: Builder<TokioExecutor>,
    pub(super) router: Router,
    pub(super) settings: ServeSettings,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shutdown: CancellationToken,
}

/// One connection.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) answers: Answers,
    pub(super) place: Place,
}

impl Connection {
    /// Serves it to its end.
    pub(super) async fn run(self, stream: TcpStream, peer: SocketAddr) {
        let shared = Arc::clone(&self.shared);
        let Some(tls) = &shared.settings.tls else {
            return self.speak(stream, peer).await;
        };
        // The handshake is within the place that the connection has.
        let limit = shared.settings.header_timeout;
        let acceptor = TlsAcceptor::from(tls.config());
        let outcome = match timeout(limit, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                shared.handshake("ok");
                return self.speak(stream, peer).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "a TLS handshake failed");
                "failed"
            }
            Err(_) => "timeout",
        };
        shared.handshake(outcome);
    }

    async fn speak<S>(self, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self {
            shared,
            answers,
            place,
        } = self;
        let settings = &shared.settings;
        let phase = Phase::default();
        let (head, write) = (settings.header_timeout, settings.write_timeout);
        let framing = Framing::default();
        let watched = (phase.clone(), framing.clone());
        let io = TokioIo::new(Stalls::new(stream, watched, (head, write)));
        let used = Used::default();
        let service = {
            let (shared, answers, used) = (Arc::clone(&shared), answers.clone(), used.clone());
            service_fn(move |mut request: Request<Incoming>| {
                let guard = used.begin(request.version());
                if request.version() < Version::HTTP_2 && framing.is_ambiguous() {
                    request.extensions_mut().insert(Ambiguous);
                }
                let answered = answer(&shared, &answers, &phase, peer, request);
                async move {
                    let _guard = guard;
                    answered.await
                }
            })
        };
        let connection = shared.builder.serve_connection(io, service);
        tokio::pin!(connection);
        let until_the_end = async {
            tokio::select! {
                ended = &mut connection => return ended,
                () = last_requests(&shared, &used) => connection.as_mut().graceful_shutdown(),
                () = used.idle(settings.idle_timeout, &answers) => {
                    connection.as_mut().graceful_shutdown();
                    // Whoever does not take part in the farewell is left without one.
                    return timeout(head, connection).await.unwrap_or(Ok(()));
                }
            }
            connection.await
        };
        let ended = tokio::select! {
            ended = until_the_end => ended,
            () = answers.not_taken() => {
                tracing::debug!(%peer, "a client does not take its answers");
                return;
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a connection ended early");
        }
        drop(place);
    }
}

/// Completes at the stop, when the connection may end once it is idle. Over HTTP/2 that is at once: the
/// farewell says which requests are still answered. Over HTTP/1 only an answer can say it, so that
/// there is a little time to ask for one.
async fn last_requests(shared: &Shared, used: &Used) {
    shared.shutdown.cancelled().await;
    if !used.is_multiplexed() {
        sleep(shared.settings.linger).await;
    }
}

impl Shared {
    /// Whether the process is about to stop, or stopping.
    fn is_ending(&self) -> bool {
        self.settings.draining.is_cancelled() || self.shutdown.is_cancelled()
    }

    fn handshake(&self, outcome: &str) {
        let handshakes = &self.metrics.tls_handshakes;
        handshakes.with_label_values(&[outcome]).inc();
    }
}

/// Hands one request to the layers.
fn answer(
    shared: &Arc<Shared>,
    answers: &Answers,
    phase: &Phase,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Body>, std::convert::Infallible>> + use<> {
    let version = request.version();
    phase.head_is_complete(version);
    request.extensions_mut().insert(ConnectInfo(peer));
    request.extensions_mut().insert(answers.clone());
    let mut router = shared.router.clone();
    let phase = phase.clone();
    let shared = Arc::clone(shared);
    async move {
        let mut response = router.call(request).await;
        if let Ok(response) = &mut response
            && version < Version::HTTP_2
            && shared.is_ending()
        {
            // hyper closes the connection after it.
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        // A stream goes on after its head: the connection stays busy.
        if let Ok(response) = &response
            && !is_event_stream(response)
        {
            phase.answered();
        }
        response
    }
}

/// When an HTTP/2 connection was last used. Of HTTP/1 hyper knows it itself.
#[derive(Debug, Clone, Default)]
struct Used(Arc<Mutex<Use>>);

#[derive(Debug, Default)]
struct Use {
    running: usize,
    /// `None`: it is not HTTP/2, or nothing has been asked.
    last: Option<Instant>,
}

/// A request that is not answered yet.
struct Running(Used);

impl Used {
    fn begin(&self, version: Version) -> Option<Running> {
        (version == Version::HTTP_2).then(|| {
            let mut this = self.0.lock();
            this.running += 1;
            this.last = Some(Instant::now());
            Running(self.clone())
        })
    }

    fn is_multiplexed(&self) -> bool {
        self.0.lock().last.is_some()
    }

    /// Completes when nothing has been asked for so long and all that was asked is answered and
    /// taken. A client that answers pings could keep its place for ever.
    async fn idle(&self, limit: Duration, answers: &Answers) {
        loop {
            let last = {
                let this = self.0.lock();
                this.last.filter(|_| this.running == 0)
            };
            match last {
                Some(last) if last.elapsed() >= limit && answers.all_taken() => return,
                Some(last) if last.elapsed() < limit => sleep_until(last + limit).await,
                _ => sleep(limit).await,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut this = self.0.0.lock();
        this.running -= 1;
        this.last = Some(Instant::now());
    }
}
