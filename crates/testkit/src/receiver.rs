//! A server that keeps what it is sent: the other end of traces and error reports.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// A gRPC frame: not compressed, no bytes.
const EMPTY_MESSAGE: Bytes = Bytes::from_static(&[0; 5]);

/// One request.
#[derive(Debug, Clone)]
pub struct Received {
    /// Path of its URL.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, as it came.
    pub body: Bytes,
}

/// Answers every request over HTTP/1 and HTTP/2 and keeps it; requests of gRPC get its `OK`.
#[derive(Debug)]
pub struct Receiver {
    /// `http://127.0.0.1:port`.
    pub endpoint: String,
    kept: Arc<Mutex<Vec<Received>>>,
    answer: Arc<Mutex<StatusCode>>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    /// Listens on a free port.
    ///
    /// # Panics
    /// When there is none.
    #[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let kept = Arc::<Mutex<Vec<Received>>>::default();
        let answer = Arc::new(Mutex::new(StatusCode::OK));
        let mut tasks = JoinSet::new();
        let state = (Arc::clone(&kept), Arc::clone(&answer));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = state.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| take(request, state.clone()));
                    // A client that breaks off has its reasons.
                    drop(
                        Builder::new(TokioExecutor::new())
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        Self {
            endpoint,
            kept,
            answer,
            _tasks: tasks,
        }
    }

    /// Answers with this from now on.
    pub fn answer_with(&self, status: StatusCode) {
        *self.answer.lock() = status;
    }

    /// Everything so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.kept.lock().clone()
    }

    /// Waits until `enough` of it has come.
    ///
    /// # Panics
    /// When that does not happen within 30 seconds.
    pub async fn wait<T>(&self, enough: impl Fn(&[Received]) -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let requests = self.requests();
            if let Some(found) = enough(&requests) {
                return found;
            }
            let paths: Vec<&str> = requests.iter().map(|it| it.path.as_str()).collect();
            assert!(Instant::now() < end, "not enough has come: {paths:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

type State = (Arc<Mutex<Vec<Received>>>, Arc<Mutex<StatusCode>>);

async fn take(
    request: Request<Incoming>,
    (kept, answer): State,
) -> Result<Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let is_grpc =
        parts.headers.get("content-type") == Some(&HeaderValue::from_static("application/grpc"));
    kept.lock().push(Received {
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body,
    });
    let status = *answer.lock();
    let mut response = if is_grpc {
        let ok = HeaderMap::from_iter([(
            HeaderName::from_static("grpc-status"),
            HeaderValue::from_static("0"),
        )]);
        let body = Full::new(EMPTY_MESSAGE).with_trailers(async move { Some(Ok(ok)) });
        let mut response = Response::new(body.boxed());
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert("content-type", grpc);
        response
    } else {
        Response::new(Full::new(Bytes::new()).boxed())
    };
    *response.status_mut() = status;
    Ok(response)
}
