//! Two of each service over one Postgres: what the matrix of rights and the history of kills run
//! against. Each gateway has a registry of its own and both executors.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use testkit::http::exchange;
use testkit::postgres::{Cluster, Durability};
use testkit::process::Program;
use tokio::time::{Instant, sleep};

use crate::deployment::binary;

/// Longest that a process may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// One process, and what it takes to start it again.
pub(crate) struct Process {
    name: &'static str,
    env: Vec<(String, String)>,
    program: Program,
    /// Where it serves `/readyz`: the MCP endpoint of a gateway.
    pub(crate) address: String,
}

impl Process {
    fn start(name: &'static str, folder: &Path, env: Vec<(String, String)>) -> Self {
        let program = spawn(name, folder, &env);
        Self {
            name,
            env,
            program,
            address: String::new(),
        }
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&mut self) {
        let listener = match self.name {
            "gateway" => "\"listener\":\"http\"",
            _ => "\"listener\":\"admin\"",
        };
        self.address = self.program.field_of_line(listener, "address").await;
        let end = Instant::now() + READY_WITHIN;
        loop {
            let answer = exchange(&self.address, "GET", "/readyz", &[], b"").await;
            if answer.status == 200 {
                return;
            }
            let log = || self.program.log().join("\n");
            let (name, said) = (self.name, answer.text());
            assert!(
                Instant::now() < end,
                "{name} is not ready: {said}\n{}",
                log()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) async fn kill(&mut self) {
        self.program.signal("KILL").await;
        self.program.ended(Duration::from_secs(5)).await;
    }

    /// Starts it again after [`Process::kill`]; a gateway comes back at another address.
    pub(crate) fn again(&mut self, folder: &Path) {
        self.program = spawn(self.name, folder, &self.env);
    }
}

fn spawn(name: &str, folder: &Path, env: &[(String, String)]) -> Program {
    let env: Vec<(&str, &str)> = env.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    Program::start(&binary(name), folder, &[], &env)
}

/// Two of each.
pub(crate) struct Pairs {
    pub(crate) gateways: [Process; 2],
    pub(crate) registries: [Process; 2],
    pub(crate) executors: [Process; 2],
    pub(crate) postgres: Cluster,
    /// Path of the private key that signs for the gateways.
    pub(crate) key: String,
    folder: TempDir,
}

/// What a test adds to the variables of each service.
#[derive(Default)]
pub(crate) struct More<'a> {
    pub(crate) gateway: &'a [(&'a str, &'a str)],
    pub(crate) registry: &'a [(&'a str, &'a str)],
    pub(crate) executor: &'a [(&'a str, &'a str)],
    /// What registries and executors accept besides the gateways' key; a path.
    pub(crate) verify_keys: Option<&'a str>,
}

impl Pairs {
    /// Starts all six in `folder` and waits until they are ready.
    pub(crate) async fn start(folder: TempDir, more: More<'_>) -> Self {
        let postgres = Cluster::start(Durability::Synced).await;
        let path = folder.path().to_owned();
        let keys = testkit::keys::write_pair(&path);
        let accept = more.verify_keys.unwrap_or(&keys.public);
        let place = |name: &str, at: usize| {
            format!("unix:{}", path.join(name).display()) + &format!("{at}.sock")
        };
        let url = postgres.url("postgres");
        let registry = |at: usize| {
            let own = [
                ("MCP_DYNAMIC_BACKEND", "postgres"),
                ("MCP_DYNAMIC_PG_URL", &url),
                ("MCP_REGISTRY_LISTEN", &place("registry", at)),
                ("MCP_ADMIN_LISTEN", "127.0.0.1:0"),
                ("MCP_INTERNAL_VERIFY_KEYS_FILE", accept),
            ];
            Process::start("registry", &path, owned(&own, more.registry))
        };
        let executor = |at: usize| {
            let own = [
                ("MCP_EXECUTOR_LISTEN", place("executor", at)),
                ("MCP_ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
                ("MCP_INTERNAL_VERIFY_KEYS_FILE", accept.to_owned()),
            ];
            let own: Vec<(&str, &str)> = own.iter().map(|(n, v)| (*n, v.as_str())).collect();
            Process::start("executor", &path, owned(&own, more.executor))
        };
        let both = format!("{},{}", place("executor", 0), place("executor", 1));
        let gateway = |at: usize| {
            let audit = path.join(format!("audit{at}.log")).display().to_string();
            let own = [
                ("MCP_PORT", "0"),
                ("MCP_REGISTRY_URL", &place("registry", at)),
                ("MCP_EXECUTOR_URLS", &both),
                ("MCP_INTERNAL_SIGNING_KEY_FILE", &keys.private),
                ("MCP_AUDIT_ENABLED", "true"),
                ("MCP_AUDIT_FILE", &audit),
                // The tests' machine has a daemon, and the tests are root.
                ("MCP_GATEWAY_ALLOW_DOCKER_SOCKET", "true"),
            ];
            Process::start("gateway", &path, owned(&own, more.gateway))
        };
        let mut all = Self {
            registries: [0, 1].map(registry),
            executors: [0, 1].map(executor),
            gateways: [0, 1].map(gateway),
            postgres,
            key: keys.private.clone(),
            folder,
        };
        let first = all.registries.iter_mut().chain(&mut all.executors);
        for process in first.chain(&mut all.gateways) {
            process.ready().await;
        }
        all
    }

    /// The folder that the processes run in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where a registry or an executor listens.
    pub(crate) fn endpoint(&self, service: &str, at: usize) -> String {
        format!("unix:{}/{service}{at}.sock", self.folder.path().display())
    }

    /// Ends everything as an operator does.
    pub(crate) async fn stop(self) {
        for process in self
            .gateways
            .into_iter()
            .chain(self.executors)
            .chain(self.registries)
        {
            process.program.stop().await;
        }
    }
}

fn owned(own: &[(&str, &str)], more: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = own
        .iter()
        .filter(|(name, _)| more.iter().all(|(set, _)| set != name));
    own.chain(more)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
