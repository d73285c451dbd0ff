//! The three ways of running the product, each as real processes: what a test of the system runs
//! against.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use testkit::mcp::{Client, Era};
use testkit::process::Program;
use tokio::time::Instant;

/// How the parts are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One process, plain calls.
    Direct,
    /// One process, gRPC over pipes.
    Pipes,
    /// Three processes, gRPC over Unix sockets.
    Three,
}

/// A running deployment.
pub(crate) struct Deployment {
    /// `host:port` of the MCP endpoint.
    pub(crate) address: String,
    /// The process that serves MCP.
    pub(crate) front: Program,
    /// Registry and executor, for three processes.
    pub(crate) inner: Option<Inner>,
    folder: TempDir,
}

/// The inner processes, and what it takes to start one of them again.
pub(crate) struct Inner {
    pub(crate) registry: Program,
    pub(crate) executor: Program,
    registry_env: Vec<(String, String)>,
    executor_env: Vec<(String, String)>,
}

/// The path of one of our binaries.
pub(crate) fn binary(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_dynamic-mcp")).with_file_name(name);
    assert!(
        path.exists(),
        "{} is not built: cargo build --workspace --bins",
        path.display()
    );
    path
}

/// Which process a variable belongs to: each refuses the others' keys.
fn belongs(name: &str, process: &str) -> bool {
    let (catalog, sandbox) = (name.starts_with("MCP_DYNAMIC"), {
        let engine = ["MCP_EXECUTION", "MCP_SANDBOX_MEMORY", "MCP_SANDBOX_CPU"];
        let pool = [
            "MCP_SANDBOX_MAX_OUTPUT",
            "MCP_SANDBOX_POOL",
            "MCP_EXECUTOR_CAPACITY",
        ];
        engine
            .iter()
            .chain(&pool)
            .any(|start| name.starts_with(start))
    });
    let shared = name.starts_with("MCP_SANDBOX") && !sandbox
        || name.starts_with("LOG_")
        || name.starts_with("MCP_SHUTDOWN");
    shared
        || match process {
            "registry" => catalog,
            "executor" => sandbox,
            _ => !catalog && !sandbox,
        }
}

fn env_for(process: &str, env: &[(&str, &str)], own: &[(&str, &str)]) -> Vec<(String, String)> {
    let given = env.iter().filter(|(name, _)| belongs(name, process));
    given
        .chain(own)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn start(process: &str, folder: &Path, env: &[(String, String)]) -> Program {
    let env: Vec<(&str, &str)> = env.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    Program::start(&binary(process), folder, &[], &env)
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
        let (front, inner) = match kind {
            Kind::Direct | Kind::Pipes => {
                let wiring = if kind == Kind::Direct {
                    "direct"
                } else {
                    "grpc"
                };
                let own = [("MCP_PORT", "0"), ("MCP_STANDALONE_WIRING", wiring)];
                let env = [env, &own].concat();
                (
                    Program::start(&binary("dynamic-mcp"), path, &[], &env),
                    None,
                )
            }
            Kind::Three => {
                let place = |name: &str| format!("unix:{}", path.join(name).display());
                let (registry_at, executor_at) = (place("registry.sock"), place("executor.sock"));
                let keys = testkit::keys::write_pair(path);
                let accept = ("MCP_INTERNAL_VERIFY_KEYS_FILE", keys.public.as_str());
                let admin = ("MCP_ADMIN_LISTEN", "127.0.0.1:0");
                let listen = ("MCP_REGISTRY_LISTEN", registry_at.as_str());
                let registry_env = env_for("registry", env, &[listen, admin, accept]);
                let listen = ("MCP_EXECUTOR_LISTEN", executor_at.as_str());
                let executor_env = env_for("executor", env, &[listen, admin, accept]);
                let own = [
                    ("MCP_PORT", "0"),
                    ("MCP_REGISTRY_URL", registry_at.as_str()),
                    ("MCP_EXECUTOR_URLS", executor_at.as_str()),
                    ("MCP_INTERNAL_SIGNING_KEY_FILE", keys.private.as_str()),
                ];
                let registry = start("registry", path, &registry_env);
                let executor = start("executor", path, &executor_env);
                let gateway = start("gateway", path, &env_for("gateway", env, &own));
                (
                    gateway,
                    Some(Inner {
                        registry,
                        executor,
                        registry_env,
                        executor_env,
                    }),
                )
            }
        };
        let mut deployment = Self {
            address: String::new(),
            front,
            inner,
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

    /// A client of the MCP endpoint.
    pub(crate) fn client(&self, era: Era) -> Client {
        Client::new(&self.address, era)
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
