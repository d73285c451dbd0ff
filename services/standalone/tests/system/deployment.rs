//! The ways of running the product, each as real processes: what a test of the system runs against.

mod parts;

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use testkit::mcp::{Client, Era};
use testkit::postgres::Cluster;
use testkit::process::Program;
use tokio::time::Instant;

use self::parts::{Backing, engine_of, start, start_three};
pub(crate) use self::parts::{IMAGE, SecondSide, binary};

/// How the parts are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One process, plain calls.
    Direct,
    /// One process, gRPC over pipes.
    Pipes,
    /// Three processes, gRPC over Unix sockets.
    Three,
    /// One process, tools in containers.
    Docker,
    /// Three processes over Postgres, tools in containers, callers with tokens.
    Production,
}

/// A running deployment.
pub(crate) struct Deployment {
    /// `host:port` of the MCP endpoint.
    pub(crate) address: String,
    /// The process that serves MCP.
    pub(crate) front: Program,
    /// Registry and executor, for three processes.
    pub(crate) inner: Option<Inner>,
    backing: Option<Backing>,
    folder: TempDir,
}

/// The inner processes, and what it takes to start one of them again.
pub(crate) struct Inner {
    pub(crate) registry: Program,
    pub(crate) executor: Program,
    registry_env: Vec<(String, String)>,
    executor_env: Vec<(String, String)>,
    gateway_env: Vec<(String, String)>,
}

impl Deployment {
    /// Starts a deployment with these variables (given to the process that owns each) in a folder
    /// of its own and waits until it is ready.
    pub(crate) async fn start(kind: Kind, env: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_in(kind, folder, env).await
    }

    /// As [`Deployment::start`], in a folder that has something in it already.
    pub(crate) async fn start_in(kind: Kind, folder: TempDir, env: &[(&str, &str)]) -> Self {
        let path = folder.path();
        let backing = match kind {
            Kind::Production => Some(Backing::start().await),
            _ => None,
        };
        let behind = backing.as_ref().map(Backing::env).unwrap_or_default();
        // What a test asks for goes before what its kind of deployment is made of.
        let usual = [engine_of(kind), behind].concat();
        let unset = |name: &str| env.iter().all(|(set, _)| *set != name);
        let usual = usual.into_iter().filter(|(name, _)| unset(name));
        let env: Vec<_> = usual.chain(env.iter().copied()).collect();
        let (front, inner) = match kind {
            Kind::Three | Kind::Production => {
                let (gateway, inner) = start_three(path, &env);
                (gateway, Some(inner))
            }
            Kind::Direct | Kind::Pipes | Kind::Docker => {
                let wiring = if kind == Kind::Pipes {
                    "grpc"
                } else {
                    "direct"
                };
                let own = [("MCP_PORT", "0"), ("MCP_STANDALONE_WIRING", wiring)];
                let env = [env, own.to_vec()].concat();
                let program = Program::start(&binary("dynamic-mcp"), path, &[], &env);
                (program, None)
            }
        };
        let mut deployment = Self {
            address: String::new(),
            front,
            inner,
            backing,
            folder,
        };
        deployment.address = deployment
            .front
            .field_of_line("\"listener\":\"http\"", "address")
            .await;
        deployment.wait_ready().await;
        deployment
    }

    /// The folder that the processes run in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client of the MCP endpoint, with the token where one is needed.
    pub(crate) fn client(&self, era: Era) -> Client {
        let mut client = Client::new(&self.address, era);
        if let Some(token) = self.token() {
            let bearer = format!("Bearer {token}");
            client.headers.push(("authorization".to_owned(), bearer));
        }
        client
    }

    /// The token that callers need, with every right there is.
    pub(crate) fn token(&self) -> Option<&str> {
        self.backing.as_ref().map(|backing| backing.token.as_str())
    }

    /// The database behind the registry.
    pub(crate) fn postgres(&mut self) -> &mut Cluster {
        &mut self.backing.as_mut().unwrap().postgres
    }

    /// Sends a GET and returns status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let answer = testkit::http::exchange(&self.address, "GET", path, &[], b"").await;
        (answer.status, answer.text())
    }

    /// Waits until `/readyz` says so.
    pub(crate) async fn wait_ready(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let (status, body) = self.get("/readyz").await;
            if status == 200 {
                return;
            }
            let log = || self.front.log().join("\n");
            assert!(Instant::now() < end, "never ready: {body}\n{}", log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts a second registry with a gateway of its own (three processes over Postgres only).
    pub(crate) async fn second_side(&self) -> SecondSide {
        SecondSide::start(self.folder.path(), self.inner.as_ref().unwrap()).await
    }

    /// Kills the registry (three processes only).
    pub(crate) async fn kill_registry(&mut self) {
        let inner = self.inner.as_mut().unwrap();
        inner.registry.signal("KILL").await;
        inner.registry.ended(Duration::from_secs(5)).await;
    }

    /// Starts the registry again after [`Deployment::kill_registry`].
    pub(crate) fn restart_registry(&mut self) {
        let inner = self.inner.as_mut().unwrap();
        inner.registry = start("registry", self.folder.path(), &inner.registry_env);
    }

    /// Kills the executor (three processes only).
    pub(crate) async fn kill_executor(&mut self) {
        let inner = self.inner.as_mut().unwrap();
        inner.executor.signal("KILL").await;
        inner.executor.ended(Duration::from_secs(5)).await;
    }

    /// Starts the executor again after [`Deployment::kill_executor`].
    pub(crate) fn restart_executor(&mut self) {
        let inner = self.inner.as_mut().unwrap();
        inner.executor = start("executor", self.folder.path(), &inner.executor_env);
    }

    /// Kills the gateway and starts it again, at another address (three processes only).
    pub(crate) async fn restart_gateway(&mut self) {
        self.restart_gateway_alone().await;
        self.wait_ready().await;
    }

    /// The same without waiting until it is ready.
    pub(crate) async fn restart_gateway_alone(&mut self) {
        self.front.signal("KILL").await;
        self.front.ended(Duration::from_secs(5)).await;
        let inner = self.inner.as_ref().unwrap();
        self.front = start("gateway", self.folder.path(), &inner.gateway_env);
        self.address = self
            .front
            .field_of_line("\"listener\":\"http\"", "address")
            .await;
    }

    /// The same with more variables for this life of it.
    pub(crate) fn restart_executor_with(&mut self, more: &[(&str, &str)]) {
        let inner = self.inner.as_mut().unwrap();
        let more = more
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let env: Vec<_> = inner.executor_env.iter().cloned().chain(more).collect();
        inner.executor = start("executor", self.folder.path(), &env);
    }

    /// Ends everything as an operator does; each process has to drain and exit with 0.
    pub(crate) async fn stop(self) {
        drop(self.stop_keeping().await);
    }

    /// As [`Deployment::stop`]; gives the folder back, for a next start in it.
    pub(crate) async fn stop_keeping(self) -> TempDir {
        self.front.stop().await;
        if let Some(inner) = self.inner {
            inner.executor.stop().await;
            inner.registry.stop().await;
        }
        self.folder
    }
}
