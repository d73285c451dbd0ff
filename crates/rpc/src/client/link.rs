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

use super::codec::Signed;
use super::lane::{Lane, Open};
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
        let answer = self.unary_untimed(context, method, message).await;
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
        self.answered(context, method, message, send).await
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
        self.answered(context, method, message, send).await
    }

    /// Sends one signed message and waits for the answer, or the beginning of one, within its time.
    async fn answered<T, F>(
        &self,
        context: &CallContext,
        method: &'static Method,
        message: impl Message,
        send: impl FnOnce(Grpc<Channel>, Request<Bytes>, PathAndQuery) -> F,
    ) -> Result<T>
    where
        F: Future<Output = std::result::Result<tonic::Response<T>, tonic::Status>>,
    {
        let limit = if method.is_long {
            context.budget
        } else {
            context.budget.min(ANSWER_WITHIN)
        };
        let request = self.request(context, method, &message, limit)?;
        let mut grpc = self.grpc(method);
        let answer = async {
            grpc.ready()
                .await
                .map_err(|reason| self.unreachable(reason))?;
            send(grpc, request, PathAndQuery::from_static(method.path))
                .await
                .map_err(|status| status::to_error(status, self.backend(), method))
        };
        match tokio::time::timeout(limit + GRACE, answer).await {
            Ok(answer) => Ok(answer?.into_inner()),
            Err(_) => Err(self.no_answer(context.budget <= limit, method)),
        }
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
}

impl Timer {
    pub(crate) fn stop(self, outcome: std::result::Result<(), ErrorCode>) {
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
