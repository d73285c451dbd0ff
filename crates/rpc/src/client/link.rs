//! One connection to one service, and how every request is made.

use std::sync::Arc;
use std::time::Duration;

use auth::internal::{HEADER, Signer};
use bytes::Bytes;
use domain::{CallContext, Error, ErrorCode, Result};
use futures::Stream;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use prost::Message;
use telemetry::{Metrics, TraceHeaders};
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Streaming};
use tracing::{Instrument as _, Span};

use super::codec::Signed;
use super::lane::{Lane, Open};
use super::outage::{AGAIN, Outage};
use crate::connect::Target;
use crate::endpoint::Endpoint;
use crate::method::Method;
use crate::server::{BUDGET_HEADER, REQUEST_ID_HEADER};
use crate::status;
use crate::tls::Tls;

/// Longest wait for an answer that needs no execution: a service that is reachable answers in
/// milliseconds, and one that is not shall not hold a caller for the whole budget of a call.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The service keeps the time of a request itself; this much later its answer counts as lost, so
/// that a slow service is told from one that cannot be reached.
pub(crate) const GRACE: Duration = Duration::from_millis(100);

/// A connection to one service, shared by its clients. Connects with the first request and again
/// whenever it was lost; a clone is the same connection.
#[derive(Clone)]
pub struct Link {
    lane: Arc<Lane>,
    signer: Signer,
    metrics: Option<Arc<Metrics>>,
    /// Where there is nobody else to ask.
    patient: Option<Outage>,
}

/// Why one attempt has no answer.
struct Failed {
    error: Error,
    /// The service provably has not seen the request.
    never_sent: bool,
}

impl Link {
    /// A link to the service at `endpoint`, whose kind is the audience of `signer`. Nothing is
    /// connected yet. Has to be called within a tokio runtime.
    ///
    /// # Errors
    /// `internal` when the endpoint makes no URI.
    pub fn new(endpoint: &Endpoint, signer: Signer) -> Result<Self> {
        Self::over_tls(endpoint, signer, None)
    }

    /// The same to an endpoint that may ask for a certificate. Over TLS the connection is renewed every
    /// two minutes, and when other certificates come.
    ///
    /// # Errors
    /// As for [`Link::new`]; `invalid_argument` for an https endpoint without certificates.
    pub fn over_tls(endpoint: &Endpoint, signer: Signer, tls: Option<Tls>) -> Result<Self> {
        Self::renewed(endpoint, signer, tls, None)
    }

    /// The same with another age at which a connection is renewed, for tests.
    #[doc(hidden)]
    pub fn renewed(
        endpoint: &Endpoint,
        signer: Signer,
        tls: Option<Tls>,
        age: Option<Duration>,
    ) -> Result<Self> {
        if endpoint.is_tls() && tls.is_none() {
            return Err(Error::invalid(
                "endpoint",
                "asks for TLS, and there is no certificate to show",
            )
            .with_fix("set MCP_INTERNAL_TLS_CA, MCP_INTERNAL_TLS_CERT and MCP_INTERNAL_TLS_KEY"));
        }
        let target = Target {
            endpoint: endpoint.clone(),
            audience: signer.audience(),
            tls,
        };
        Ok(Self {
            lane: Arc::new(Lane::new(target, age)?),
            signer,
            metrics: None,
            patient: None,
        })
    }

    /// The channel of now.
    pub(crate) fn open(&self) -> Arc<Open> {
        self.lane.open()
    }

    /// Counts requests in `grpc_client_duration`.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// For the only service of its kind: while it restarts, requests that never reached it are tried
    /// again for a few seconds, so that nobody notices.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.patient = Some(Outage::default());
        self
    }

    /// What errors call the service.
    pub(crate) fn backend(&self) -> &'static str {
        self.signer.audience().as_str()
    }

    pub(crate) async fn unary<A: Message + Default + 'static>(
        &self,
        context: &CallContext,
        method: &'static Method,
        message: impl Message,
    ) -> Result<A> {
        let timer = self.timer(method);
        let asked = self.unary_untimed(context, method, message);
        let answer = asked.instrument(timer.span.clone()).await;
        timer.stop(answer.as_ref().map(|_| ()).map_err(Error::code));
        answer
    }

    async fn unary_untimed<A: Message + Default + 'static>(
        &self,
        context: &CallContext,
        method: &'static Method,
        message: impl Message,
    ) -> Result<A> {
        let send = |mut grpc: Grpc<Channel>, request, path| async move {
            grpc.unary(request, path, Signed::<A>::default()).await
        };
        let outage = self.patient.as_ref();
        self.answered(context, method, message, outage, send).await
    }

    /// Starts a method that answers with a stream, and waits for its beginning.
    pub(crate) async fn server_streaming<A: Message + Default + 'static>(
        &self,
        context: &CallContext,
        method: &'static Method,
        message: impl Message,
    ) -> Result<Streaming<A>> {
        let send = |mut grpc: Grpc<Channel>, request, path| async move {
            grpc.server_streaming(request, path, Signed::<A>::default())
                .await
        };
        // Whoever follows a feed says at once that it is lost, and asks again by itself.
        self.answered(context, method, message, None, send).await
    }

    /// Sends one signed message and waits for the answer, or the beginning of one, within its time.
    /// With an outage what did not reach the service is tried again while that lasts.
    async fn answered<T, F>(
        &self,
        context: &CallContext,
        method: &'static Method,
        message: impl Message,
        outage: Option<&Outage>,
        send: impl Fn(Grpc<Channel>, Request<Bytes>, PathAndQuery) -> F,
    ) -> Result<T>
    where
        F: Future<Output = std::result::Result<tonic::Response<T>, tonic::Status>>,
    {
        let limit = if method.is_long {
            context.budget
        } else {
            context.budget.min(ANSWER_WITHIN)
        };
        let end = Instant::now() + limit;
        let answer = async {
            loop {
                let left = end.saturating_duration_since(Instant::now());
                let request = self.request(context, method, &message, left)?;
                let failed = match self.attempt(method, request, &send).await {
                    Ok(answer) => {
                        outage.into_iter().for_each(Outage::over);
                        return Ok(answer.into_inner());
                    }
                    Err(failed) => failed,
                };
                match outage {
                    Some(outage) if failed.never_sent && outage.missed() => {
                        tokio::time::sleep(AGAIN).await;
                    }
                    _ => return Err(failed.error),
                }
            }
        };
        match tokio::time::timeout(limit + GRACE, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(self.no_answer(context.budget <= limit, method)),
        }
    }

    async fn attempt<T, F>(
        &self,
        method: &'static Method,
        request: Request<Bytes>,
        send: impl Fn(Grpc<Channel>, Request<Bytes>, PathAndQuery) -> F,
    ) -> std::result::Result<tonic::Response<T>, Failed>
    where
        F: Future<Output = std::result::Result<tonic::Response<T>, tonic::Status>>,
    {
        let mut grpc = self.grpc(method);
        grpc.ready().await.map_err(|reason| Failed {
            error: self.unreachable(reason),
            never_sent: true,
        })?;
        send(grpc, request, PathAndQuery::from_static(method.path))
            .await
            .map_err(|status| Failed {
                never_sent: status::never_sent(&status),
                error: status::to_error(status, self.backend(), method),
            })
    }

    /// Starts a method with streams both ways. After the message the request stream stays open
    /// until `open` ends.
    pub(crate) async fn streaming<A: Message + Default + 'static>(
        &self,
        context: &CallContext,
        method: &'static Method,
        message: impl Message,
        open: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Streaming<A>> {
        use futures::StreamExt as _;
        let request = self
            .request(context, method, &message, context.budget)?
            .map(|bytes| futures::stream::once(std::future::ready(bytes)).chain(open));
        let mut grpc = self.grpc(method);
        let path = PathAndQuery::from_static(method.path);
        grpc.ready()
            .await
            .map_err(|reason| self.unreachable(reason))?;
        grpc.streaming(request, path, Signed::<A>::default())
            .await
            .map(tonic::Response::into_inner)
            .map_err(|status| status::to_error(status, self.backend(), method))
    }

    /// Encodes and signs. The headers are built from nothing: no header that came from outside is
    /// ever sent on.
    fn request(
        &self,
        context: &CallContext,
        method: &'static Method,
        message: &impl Message,
        budget: Duration,
    ) -> Result<Request<Bytes>> {
        let bytes = message.encode_to_vec();
        if bytes.len() > method.max_request_bytes {
            return Err(
                Error::new(ErrorCode::InvalidArgument, "the request is too large")
                    .with_limit(format!("at most {} bytes", method.max_request_bytes)),
            );
        }
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(HEADER, self.signer.sign(context, method.path, &bytes)?);
        let millis = u64::try_from(budget.as_millis()).unwrap_or(u64::MAX);
        headers.insert(BUDGET_HEADER, HeaderValue::from(millis));
        let request_id = HeaderValue::from_str(context.request_id.as_str());
        headers.insert(REQUEST_ID_HEADER, request_id.map_err(Error::internal)?);
        let trace = TraceHeaders::of_span(&tracing::Span::current()).or_else(|| {
            let trace = &context.trace;
            TraceHeaders::new(trace.traceparent.as_deref()?, trace.tracestate.as_deref())
        });
        if let Some(trace) = trace {
            trace.write_to(&mut headers);
        }
        let mut request = Request::new(Bytes::from(bytes));
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        Ok(request)
    }

    fn grpc(&self, method: &Method) -> Grpc<Channel> {
        Grpc::new(self.lane.open().channel.clone())
            .max_decoding_message_size(method.max_response_bytes)
    }

    fn unreachable(&self, reason: tonic::transport::Error) -> Error {
        Error::unavailable(self.backend()).with_cause(reason)
    }

    fn no_answer(&self, was_all_the_time: bool, method: &Method) -> Error {
        let backend = self.backend();
        if was_all_the_time {
            return Error::new(
                ErrorCode::Timeout,
                format!("the {backend} did not answer within the time of the request"),
            )
            .with_may_have_run(method.has_effects);
        }
        if method.has_effects {
            status::broken(backend)
        } else {
            Error::unavailable(backend)
        }
    }

    pub(crate) fn timer(&self, method: &'static Method) -> Timer {
        Timer {
            metrics: self.metrics.clone(),
            method,
            start: Instant::now(),
            span: telemetry::client_span(method.service, method.name),
        }
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Link")
            .field("backend", &self.backend())
            .finish_non_exhaustive()
    }
}

/// Measures one request.
pub(crate) struct Timer {
    metrics: Option<Arc<Metrics>>,
    method: &'static Method,
    start: Instant,
    /// The request's own, where traces are exported.
    pub(crate) span: Span,
}

impl Timer {
    pub(crate) fn stop(self, outcome: std::result::Result<(), ErrorCode>) {
        telemetry::span_ended(&self.span, status::label(outcome));
        if let Some(metrics) = &self.metrics {
            metrics
                .grpc_client_duration
                .with_label_values(&[
                    self.method.service,
                    self.method.name,
                    status::label(outcome),
                ])
                .observe(self.start.elapsed().as_secs_f64());
        }
    }
}
