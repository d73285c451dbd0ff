//! Two of each service over one Postgres, and nginx in front, each at an address that it keeps.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use testkit::mcp::{Client, Era};
use testkit::postgres::{Cluster, Durability};
use testkit::process::Program;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::deployment::binary;
use crate::services::site::{Nginx, Site, free_port};

/// How long readiness is off before a service refuses anything.
pub(crate) const SHORT: Duration = Duration::from_millis(700);
/// The same for those who look at what happens in that time, on a machine that has much to do.
pub(crate) const LONG: Duration = Duration::from_secs(4);
/// How long a service may take to end, and to be ready again.
const PATIENCE: Duration = Duration::from_secs(40);
/// Pause after a restart, as between two pods (minReadySeconds) or two units.
const BETWEEN: Duration = Duration::from_millis(500);

/// One of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Registry(usize),
    Executor(usize),
    Gateway(usize),
}

impl Which {
    pub(crate) const ALL: [Self; 6] = [
        Self::Registry(0),
        Self::Executor(0),
        Self::Gateway(0),
        Self::Registry(1),
        Self::Executor(1),
        Self::Gateway(1),
    ];

    fn program(self) -> &'static str {
        match self {
            Self::Registry(_) => "registry",
            Self::Executor(_) => "executor",
            Self::Gateway(_) => "gateway",
        }
    }

    fn at(self) -> usize {
        Self::ALL.iter().position(|one| *one == self).unwrap()
    }
}

struct Part {
    which: Which,
    env: Vec<(String, String)>,
    /// Where `/readyz` is.
    admin: u16,
    program: Option<Program>,
}

pub(crate) struct Rig {
    parts: Vec<Part>,
    nginx: Nginx,
    public: u16,
    gateways: [u16; 2],
    _postgres: Cluster,
    folder: TempDir,
}

impl Rig {
    pub(crate) async fn start(delay: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let postgres = Cluster::start(Durability::Synced).await;
        let keys = testkit::keys::write_pair(folder.path());
        let database = postgres.url("postgres");
        let ports: Vec<u16> = (0..13).map(|_| free_port()).collect();
        let gateways = [ports[4], ports[5]];
        let delay = delay.as_millis().to_string();
        let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let parts = Which::ALL.map(|which| {
            let admin = ports[6 + which.at()];
            let mut env = vec![
                text("LOG_LEVEL", "info"),
                text("MCP_SHUTDOWN_MIN_DELAY_MS", &delay),
            ];
            let local = |port: u16| format!("127.0.0.1:{port}");
            let url = |port: u16| format!("http://127.0.0.1:{port}");
            match which {
                Which::Registry(n) => env.extend([
                    text("MCP_REGISTRY_LISTEN", &local(ports[n])),
                    text("MCP_ADMIN_LISTEN", &local(admin)),
                    text("MCP_INTERNAL_VERIFY_KEYS_FILE", &keys.public),
                    text("MCP_DYNAMIC_BACKEND", "postgres"),
                    text("MCP_DYNAMIC_PG_URL", &database),
                ]),
                Which::Executor(n) => env.extend([
                    text("MCP_EXECUTOR_LISTEN", &local(ports[2 + n])),
                    text("MCP_ADMIN_LISTEN", &local(admin)),
                    text("MCP_INTERNAL_VERIFY_KEYS_FILE", &keys.public),
                    text("MCP_INTERNAL_SIGNING_KEY_FILE", &keys.private),
                    text("MCP_REGISTRY_URL", &url(ports[n])),
                    text("MCP_EXECUTION_ENGINE", "isolate"),
                    text("MCP_EXECUTOR_CAPACITY", "16"),
                ]),
                Which::Gateway(n) => env.extend([
                    text("MCP_PORT", &gateways[n].to_string()),
                    text("MCP_INTERNAL_SIGNING_KEY_FILE", &keys.private),
                    text("MCP_REGISTRY_URL", &url(ports[n])),
                    text("MCP_GATEWAY_ALLOW_DOCKER_SOCKET", "true"),
                    text("MCP_HTTP_TRUSTED_PROXIES", "127.0.0.1"),
                    // An unoptimised program on a machine full of tests is always late.
                    text("MCP_HTTP_MAX_LAG_MS", "0"),
                    text("MCP_TOOL_MAX_CALLS_PER_WINDOW", "1000000"),
                    text("MCP_TOOL_MAX_CONCURRENCY", "1000"),
                ]),
            }
            let admin = match which {
                Which::Gateway(n) => gateways[n],
                _ => admin,
            };
            Part {
                which,
                env,
                admin,
                program: None,
            }
        });
        let public = ports[12];
        let site = Site::new()
            .on(free_port(), public)
            .with(
                &format!("listen 127.0.0.1:{public} ssl http2;"),
                &format!("listen 127.0.0.1:{public};"),
            )
            .with(
                "    ssl_certificate /etc/ssl/dynamic-mcp/fullchain.pem;\n",
                "",
            )
            .with(
                "    ssl_certificate_key /etc/ssl/dynamic-mcp/privkey.pem;\n",
                "",
            )
            .with("server_name mcp.example.com;", "server_name localhost;")
            .with("rate=50r/s", "rate=100000r/s")
            .before(&gateways);
        let nginx = Nginx::start(&site, public).await;
        let mut rig = Self {
            parts: parts.into(),
            nginx,
            public,
            gateways,
            _postgres: postgres,
            folder,
        };
        for part in &mut rig.parts {
            part.start(rig.folder.path());
        }
        for part in &rig.parts {
            part.ready().await;
        }
        rig
    }

    pub(crate) fn gateway_port(&self, at: usize) -> u16 {
        self.gateways[at]
    }

    /// A client that comes through nginx.
    pub(crate) fn client(&self, era: Era) -> Client {
        let mut client = Client::new(&format!("127.0.0.1:{}", self.public), era);
        client
            .headers
            .push(("host".to_owned(), "localhost".to_owned()));
        client
    }

    /// Restarts one of them as an operator does: it drains, ends with 0, starts and is ready.
    pub(crate) async fn restart(&mut self, which: Which) -> Duration {
        let begun = Instant::now();
        self.signal(which, "TERM").await;
        self.wait_end(which).await;
        self.start_again(which).await;
        let took = begun.elapsed();
        sleep(BETWEEN).await;
        took
    }

    pub(crate) async fn signal(&self, which: Which, signal: &str) {
        self.parts[which.at()]
            .program
            .as_ref()
            .unwrap()
            .signal(signal)
            .await;
    }

    pub(crate) async fn wait_end(&mut self, which: Which) {
        let mut program = self.parts[which.at()].program.take().unwrap();
        let code = program.ended(PATIENCE).await;
        let log = program.log().join("\n");
        assert_eq!(code, Some(0), "{which:?}: {log}");
        assert!(
            !log.contains("the grace period is over"),
            "{which:?}: {log}"
        );
    }

    pub(crate) async fn start_again(&mut self, which: Which) {
        let part = &mut self.parts[which.at()];
        part.start(self.folder.path());
        part.ready().await;
    }

    /// What the services and nginx have complained about, for a message.
    pub(crate) fn complaints(&self) -> String {
        let mut lines = self.nginx.complaints();
        for part in &self.parts {
            let log = part.program.as_ref().map(Program::log).unwrap_or_default();
            let bad = log
                .iter()
                .filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\""));
            lines.extend(bad.map(|line| format!("{:?}: {line}", part.which)));
        }
        let from = lines.len().saturating_sub(60);
        lines[from..].join("\n")
    }

    pub(crate) async fn stop(self) {
        self.nginx.stop().await;
        let (registries, others): (Vec<Part>, Vec<Part>) = self
            .parts
            .into_iter()
            .partition(|part| matches!(part.which, Which::Registry(_)));
        // All of a kind together: each waits for its delay.
        for parts in [others, registries] {
            let stopped = parts.into_iter().map(|part| part.program.unwrap().stop());
            futures::future::join_all(stopped).await;
        }
    }
}

impl Part {
    fn start(&mut self, folder: &Path) {
        let env: Vec<(&str, &str)> = self.env.iter().map(|(n, v)| (&**n, &**v)).collect();
        let program: PathBuf = binary(self.which.program());
        self.program = Some(Program::start(&program, folder, &[], &env));
    }

    async fn ready(&self) {
        let address = format!("127.0.0.1:{}", self.admin);
        let end = Instant::now() + PATIENCE;
        loop {
            let asked = testkit::http::attempt(&address, "GET", "/readyz", &[], b"");
            if matches!(timeout(PATIENCE, asked).await, Ok(Ok(answer)) if answer.status == 200) {
                return;
            }
            let log = || self.program.as_ref().unwrap().log().join("\n");
            assert!(
                Instant::now() < end,
                "{:?} is never ready: {}",
                self.which,
                log()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A connection that its client would keep.
pub(crate) struct Kept(TcpStream);

impl Kept {
    pub(crate) async fn connect(port: u16) -> Self {
        Self(TcpStream::connect(("127.0.0.1", port)).await.unwrap())
    }

    /// Asks, and reads the head of the answer and what comes with it.
    pub(crate) async fn get(&mut self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.0.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = vec![0; 4_096];
        let length = timeout(PATIENCE, self.0.read(&mut bytes))
            .await
            .unwrap()
            .unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }
}
