//! The server: which ports it offers, and its life.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use auth::internal::{IdentityLayer, Verifier};
use domain::audit::Archive;
use domain::fleet::Fleet;
use domain::keys::Keys;
use domain::{Catalog, Runner, Sessions};
use telemetry::Metrics;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server as Http;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::answer::Shared;
use super::audit::AuditService;
use super::catalog::CatalogService;
use super::fleet::FleetService;
use super::incoming::{Connections, Incoming, MAX_CONNECTIONS};
use super::keys::KeysService;
use super::policy::Rules;
use super::runner::RunnerService;
use super::sessions::SessionsService;
use crate::connect::{CONNECTION_WINDOW, STREAM_WINDOW};
use crate::method;
use crate::pb::audit_server::AuditServer;
use crate::pb::catalog_server::CatalogServer;
use crate::pb::fleet_server::FleetServer;
use crate::pb::keys_server::KeysServer;
use crate::pb::runner_server::RunnerServer;
use crate::pb::sessions_server::SessionsServer;
use crate::tls::Tls;

/// Requests at once on one connection: a gateway's calls share one.
const MAX_STREAMS: u32 = 1024;
/// Largest headers of a request, in bytes: the identity is the largest of ours.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// Streams that a caller may open and reset before they are looked at (rapid reset).
const MAX_PENDING_RESETS: usize = 32;
/// Streams that we may have to reset because of a caller's mistakes before its connection ends.
const MAX_ERROR_RESETS: usize = 64;
/// A silent connection is asked whether it lives after this time.
const PING_AFTER: Duration = Duration::from_secs(15);
/// A connection that does not answer within this time is given up.
const PONG_WITHIN: Duration = Duration::from_secs(5);

/// Over TLS a connection is asked to end after this time, so that none goes on with certificates that
/// were replaced. Our own services open another one before.
const TLS_AGE: Duration = Duration::from_secs(240);

/// How long those who are connecting at a stop are waited for.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// The server ended without being asked to.
#[derive(Debug, thiserror::Error)]
#[error("the gRPC server failed: {0}")]
pub struct ServeError(#[from] tonic::transport::Error);

/// A server for any of the ports. Health by `grpc.health.v1` is always there.
pub struct Server {
    shared: Shared,
    verifier: Arc<Verifier>,
    health: HealthReporter,
    routes: Routes,
    offered: Vec<&'static str>,
    max_connections: usize,
    tls: Option<Tls>,
}

impl Server {
    /// A server that lets in what `verifier` accepts.
    #[must_use]
    pub fn new(verifier: Arc<Verifier>) -> Self {
        let (health, service) = super::health::service();
        Self {
            shared: Shared::default(),
            verifier,
            health,
            routes: Routes::new(service),
            offered: Vec::new(),
            max_connections: MAX_CONNECTIONS,
            tls: None,
        }
    }

    /// Counts requests in `grpc_server_duration`. Call it before the ports are added.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Arc<Metrics>) -> Self {
        self.shared.metrics = Some(metrics);
        self
    }

    /// Over TCP both sides show certificates; what a service may call is then said by the name in its
    /// own.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<Tls>) -> Self {
        self.tls = tls;
        self
    }

    /// Most connections at once (1,024 unless said otherwise); what comes beyond is closed.
    #[must_use]
    pub fn with_max_connections(mut self, max: usize) -> Self {
        self.max_connections = max;
        self
    }

    /// Offers the catalogue.
    #[must_use]
    pub fn catalog(self, catalog: Arc<dyn Catalog>) -> Self {
        let service = CatalogService {
            catalog,
            shared: self.shared.clone(),
        };
        let limit = method::CREATE.max_request_bytes;
        self.offer(CatalogServer::new(service).max_decoding_message_size(limit))
    }

    /// Offers the directory of executors.
    #[must_use]
    pub fn fleet(self, fleet: Arc<dyn Fleet>) -> Self {
        let service = FleetService {
            fleet,
            shared: self.shared.clone(),
        };
        let limit = method::HEARTBEAT.max_request_bytes;
        self.offer(FleetServer::new(service).max_decoding_message_size(limit))
    }

    /// Offers to keep audit logs.
    #[must_use]
    pub fn archive(self, archive: Arc<dyn Archive>) -> Self {
        let service = AuditService {
            archive,
            shared: self.shared.clone(),
        };
        let limit = method::AUDIT_APPEND.max_request_bytes;
        self.offer(AuditServer::new(service).max_decoding_message_size(limit))
    }

    /// Offers API keys.
    #[must_use]
    pub fn keys(self, keys: Arc<dyn Keys>) -> Self {
        let service = KeysService {
            keys,
            shared: self.shared.clone(),
        };
        let limit = method::CREATE_KEY.max_request_bytes;
        self.offer(KeysServer::new(service).max_decoding_message_size(limit))
    }

    /// Offers to run calls.
    #[must_use]
    pub fn runner(self, runner: Arc<dyn Runner>) -> Self {
        let service = RunnerService {
            runner,
            shared: self.shared.clone(),
        };
        let limit = method::RUN.max_request_bytes;
        self.offer(RunnerServer::new(service).max_decoding_message_size(limit))
    }

    /// Offers sandbox sessions.
    #[must_use]
    pub fn sessions(self, sessions: Arc<dyn Sessions>) -> Self {
        let service = SessionsService {
            sessions,
            shared: self.shared.clone(),
        };
        let limit = method::RUN_IN.max_request_bytes;
        self.offer(SessionsServer::new(service).max_decoding_message_size(limit))
    }

    fn offer<S>(mut self, service: S) -> Self
    where
        S: tower::Service<
                http::Request<Body>,
                Response = http::Response<Body>,
                Error = std::convert::Infallible,
            > + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.offered.push(S::NAME);
        self.routes = self.routes.add_service(service);
        self
    }

    /// Serves until `shutdown` completes: then health says `NOT_SERVING`, feeds end, no new
    /// connection is taken, and what runs may finish. Whoever calls sets a deadline on that.
    ///
    /// # Errors
    /// When the transport fails as a whole; a failed connection is no error.
    pub async fn serve(
        mut self,
        incoming: Incoming,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        for name in &self.offered {
            self.health
                .set_service_status(name, ServingStatus::Serving)
                .await;
        }
        let mut http = Http::builder();
        if self.tls.is_some() {
            http = http.max_connection_age(TLS_AGE);
        }
        let http = http
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(MAX_STREAMS)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
            .http2_max_local_error_reset_streams(Some(MAX_ERROR_RESETS))
            .http2_keepalive_interval(Some(PING_AFTER))
            .http2_keepalive_timeout(Some(PONG_WITHIN))
            .layer(IdentityLayer::new(
                self.verifier,
                Rules(self.shared.clone()),
            ));
        let closing = CancellationToken::new();
        let last = closing.clone().cancelled_owned();
        let (connections, closed) =
            Connections::new(incoming, self.max_connections, self.tls, last);
        let stopping = async {
            shutdown.await;
            self.shared.stopping.cancel();
            self.health
                .set_service_status("", ServingStatus::NotServing)
                .await;
            for name in &self.offered {
                self.health
                    .set_service_status(name, ServingStatus::NotServing)
                    .await;
                // Ends the streams of those who watch it.
                self.health.clear_service_status(name).await;
            }
            self.health.clear_service_status("").await;
            closing.cancel();
            if timeout(CLOSE_WITHIN, closed).await.is_err() {
                tracing::debug!("callers that were still connecting are turned away");
            }
        };
        http.serve_with_incoming_shutdown(self.routes, connections, stopping)
            .await?;
        Ok(())
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Server")
            .field("offered", &self.offered)
            .finish_non_exhaustive()
    }
}
