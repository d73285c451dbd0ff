//! A server with fakes at its ports, on any transport.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use auth::internal::Audience;
use domain::Sessions;
use rpc::client::{CatalogClient, FleetClient, Link, RunnerClient};
use rpc::server::{Incoming, Server};
use rpc::{Endpoint, pipe};
use telemetry::{BuildInfo, Metrics};
use tempfile::TempDir;
use testkit::{FakeCatalog, FakeFleet, FakeRunner, Identity};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Transport {
    Tcp,
    Unix,
    Pipe,
}

pub(crate) const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Unix, Transport::Pipe];

pub(crate) struct World {
    pub(crate) catalog: Arc<FakeCatalog>,
    pub(crate) fleet: Arc<FakeFleet>,
    pub(crate) runner: Arc<FakeRunner>,
    pub(crate) identity: Identity,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) endpoint: Endpoint,
    pub(crate) server: Running,
    _directory: TempDir,
}

/// A server that runs; dropping it drops its listener but not its connections.
pub(crate) struct Running {
    stop: Option<oneshot::Sender<()>>,
    tasks: JoinSet<()>,
}

impl Running {
    pub(crate) fn start(server: Server, incoming: Incoming) -> Self {
        let (stop, stopped) = oneshot::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let shutdown = async { drop(stopped.await) };
            server.serve(incoming, shutdown).await.unwrap();
        });
        Self {
            stop: Some(stop),
            tasks,
        }
    }

    /// Asks it to stop.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until it has stopped.
    pub(crate) async fn stopped(&mut self) {
        within(5, self.tasks.join_next()).await.unwrap().unwrap();
    }
}

impl World {
    pub(crate) async fn new(transport: Transport) -> Self {
        Self::with(transport, FakeRunner::answering("1")).await
    }

    pub(crate) async fn with(transport: Transport, runner: FakeRunner) -> Self {
        Self::start(transport, runner, None).await
    }

    /// With sandbox sessions besides.
    pub(crate) async fn offering(
        transport: Transport,
        runner: FakeRunner,
        sessions: Arc<dyn Sessions>,
    ) -> Self {
        Self::start(transport, runner, Some(sessions)).await
    }

    async fn start(
        transport: Transport,
        runner: FakeRunner,
        sessions: Option<Arc<dyn Sessions>>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (endpoint, incoming) = match transport {
            Transport::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                (tcp(listener.local_addr().unwrap()), Incoming::Tcp(listener))
            }
            Transport::Unix => {
                let path = directory.path().join("rpc.sock");
                let listener = UnixListener::bind(&path).unwrap();
                let text = format!("unix:{}", path.display());
                (
                    Endpoint::parse("test", &text).unwrap(),
                    Incoming::Unix(listener),
                )
            }
            Transport::Pipe => {
                let (dialer, listener) = pipe();
                (Endpoint::Pipe(dialer), Incoming::Pipe(listener))
            }
        };
        let build = BuildInfo {
            service: "test",
            version: "0",
            commit: "0",
        };
        let mut world = Self {
            catalog: Arc::default(),
            fleet: Arc::default(),
            runner: Arc::new(runner),
            identity: Identity::new(),
            metrics: Arc::new(Metrics::new(build).unwrap()),
            endpoint,
            server: Running {
                stop: None,
                tasks: JoinSet::new(),
            },
            _directory: directory,
        };
        let mut server = world.new_server();
        if let Some(sessions) = sessions {
            server = server.sessions(sessions);
        }
        world.server = Running::start(server, incoming);
        world
    }

    /// Another server with the same fakes. It plays registry and executor at once, under the
    /// name of the executor.
    pub(crate) fn new_server(&self) -> Server {
        Server::new(self.identity.verifier(Audience::Executor))
            .with_metrics(Arc::clone(&self.metrics))
            .catalog(self.catalog.clone())
            .fleet(self.fleet.clone())
            .runner(self.runner.clone())
    }

    pub(crate) fn link(&self) -> Link {
        self.link_to(&self.endpoint)
    }

    pub(crate) fn link_to(&self, endpoint: &Endpoint) -> Link {
        Link::new(endpoint, self.identity.signer(Audience::Executor))
            .unwrap()
            .with_metrics(Arc::clone(&self.metrics))
    }

    pub(crate) fn catalog_client(&self) -> CatalogClient {
        CatalogClient::new(self.link())
    }

    pub(crate) fn fleet_client(&self) -> FleetClient {
        FleetClient::new(self.link())
    }

    pub(crate) fn runner_client(&self) -> RunnerClient {
        RunnerClient::new(self.link())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint
            .to_string()
            .strip_prefix("http://")
            .unwrap()
            .parse()
            .unwrap()
    }
}

pub(crate) fn tcp(address: SocketAddr) -> Endpoint {
    Endpoint::parse("test", &format!("http://{address}")).unwrap()
}

/// Fails the test instead of hanging.
#[track_caller]
pub(crate) fn within<F: Future>(seconds: u64, future: F) -> impl Future<Output = F::Output> {
    let limit = tokio::time::timeout(Duration::from_secs(seconds), future);
    async move {
        limit
            .await
            .unwrap_or_else(|_| panic!("not within {seconds} s"))
    }
}
