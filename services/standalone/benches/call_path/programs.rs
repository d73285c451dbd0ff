//! The programs under measurement: started, found by their address, killed at the end.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use testkit::process::Program;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::load::Connection;
use crate::{call, say};

/// Limits high enough that no guard refuses the load.
const OPEN: &[(&str, &str)] = &[
    ("MCP_PORT", "0"),
    ("MCP_TOOL_MAX_CONCURRENCY", "10000"),
    ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "1000000"),
    ("MCP_TOOL_RATE_WINDOW_MS", "1000"),
    ("LOG_LEVEL", "info"),
];

/// This very program as one of the peers.
pub(crate) struct Peer {
    pub(crate) address: String,
    _child: Child,
}

impl Peer {
    #[allow(clippy::disallowed_methods, reason = "a bench has no bootstrap")]
    pub(crate) async fn start(which: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args(["--peer", which])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("starts");
        let stdout = child.stdout.take().expect("piped");
        let line = BufReader::new(stdout)
            .lines()
            .next_line()
            .await
            .expect("a line");
        Self {
            address: line.expect("an address"),
            _child: child,
        }
    }
}

/// One of ours.
pub(crate) struct Service {
    pub(crate) address: String,
    program: Program,
    _folder: Option<TempDir>,
}

impl Service {
    pub(crate) async fn standalone(env: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut service = Self::standalone_in(folder.path(), env).await;
        service._folder = Some(folder);
        service
    }

    pub(crate) async fn standalone_in(folder: &Path, env: &[(&str, &str)]) -> Self {
        let path = Path::new(env!("CARGO_BIN_EXE_dynamic-mcp"));
        Self::start(path, folder, &[OPEN, env].concat()).await
    }

    async fn start(path: &Path, folder: &Path, env: &[(&str, &str)]) -> Self {
        let mut program = Program::start(path, folder, &[], env);
        let address = program
            .field_of_line("\"listener\":\"http\"", "address")
            .await;
        Self {
            address,
            program,
            _folder: None,
        }
    }

    /// Ends it in good order: one that is killed leaves its containers to the next.
    pub(crate) async fn stop(self) {
        self.program.stop().await;
    }

    pub(crate) fn resident_mib(&self) -> f64 {
        self.program.resident_kib() as f64 / 1024.0
    }

    pub(crate) async fn wait_ready(&self) {
        let request = b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
        wait_ready(&self.address, request).await;
    }

    /// Creates tools until there are `count`, of 2 KiB code and 1 KiB schema each.
    pub(crate) async fn fill(&self, count: usize) {
        let mut connection = Connection::open(&self.address).await;
        let code = format!("/*{}*/ return args", "x".repeat(2_030));
        for at in 0..count {
            let schema = json!({"type": "object", "properties": {
                "value": {"type": "string", "description": "d".repeat(920)}}});
            let tool = json!({"name": format!("fill.{at:05}"), "description": "filler", "code": code,
                "inputSchema": schema});
            connection
                .exchange(&call("dynamic.tool.create", &json!({"tool": tool})))
                .await;
        }
    }
}

async fn wait_ready(address: &str, request: &[u8]) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for _ in 0..2_000 {
        if let Ok(mut stream) = tokio::net::TcpStream::connect(address).await {
            let mut answer = vec![0; 64];
            stream.write_all(request).await.expect("written");
            let read = stream.read(&mut answer).await.expect("read");
            if answer[..read].starts_with(b"HTTP/1.1 200") {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{address} never became ready");
}

/// Gateway, registry and executor as three processes.
pub(crate) struct Three {
    pub(crate) address: String,
    /// `host:port` of the executor's `/metrics`.
    pub(crate) executor_metrics: String,
    gateway: Service,
    inner: [Program; 2],
    _folder: TempDir,
}

impl Three {
    /// On SQLite and the isolate engine.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[], &[("MCP_EXECUTION_ENGINE", "isolate")], &[]).await
    }

    /// With more variables for registry, executor and gateway.
    pub(crate) async fn start_with(
        registry: &[(&str, &str)],
        executor: &[(&str, &str)],
        gateway: &[(&str, &str)],
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str| format!("unix:{}", folder.path().join(name).display());
        let (registry_at, executor_at) = (place("registry.sock"), place("executor.sock"));
        let keys = testkit::keys::write_pair(folder.path());
        let registry_env = [
            ("MCP_REGISTRY_LISTEN", registry_at.as_str()),
            ("MCP_ADMIN_LISTEN", "127.0.0.1:0"),
            ("MCP_INTERNAL_VERIFY_KEYS_FILE", keys.public.as_str()),
        ];
        let executor_env = [
            ("MCP_EXECUTOR_LISTEN", executor_at.as_str()),
            ("MCP_ADMIN_LISTEN", "127.0.0.1:0"),
            ("MCP_INTERNAL_VERIFY_KEYS_FILE", keys.public.as_str()),
        ];
        let gateway_env = [
            ("MCP_REGISTRY_URL", registry_at.as_str()),
            ("MCP_EXECUTOR_URLS", executor_at.as_str()),
            ("MCP_INTERNAL_SIGNING_KEY_FILE", keys.private.as_str()),
            ("MCP_GATEWAY_ALLOW_DOCKER_SOCKET", "true"),
        ];
        let begin = |name: &str, own: &[(&str, &str)], more: &[(&str, &str)]| {
            Program::start(&binary(name), folder.path(), &[], &[own, more].concat())
        };
        let registry = begin("registry", &registry_env, registry);
        let mut executor = begin("executor", &executor_env, executor);
        let executor_metrics = executor
            .field_of_line("\"listener\":\"admin\"", "address")
            .await;
        let env = [OPEN, &gateway_env, gateway].concat();
        let gateway = Service::start(&binary("gateway"), folder.path(), &env).await;
        gateway.wait_ready().await;
        say(&format!(
            "three services: gateway {:.1} MiB, registry {:.1} MiB, executor {:.1} MiB resident",
            gateway.resident_mib(),
            registry.resident_kib() as f64 / 1024.0,
            executor.resident_kib() as f64 / 1024.0
        ));
        Self {
            address: gateway.address.clone(),
            executor_metrics,
            gateway,
            inner: [registry, executor],
            _folder: folder,
        }
    }

    pub(crate) fn executor_mib(&self) -> f64 {
        self.inner[1].resident_kib() as f64 / 1024.0
    }

    /// As [`Service::stop`].
    pub(crate) async fn stop(self) {
        self.gateway.stop().await;
        let [registry, executor] = self.inner;
        executor.stop().await;
        registry.stop().await;
    }
}

fn binary(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_dynamic-mcp")).with_file_name(name);
    assert!(
        path.exists(),
        "build it first: cargo build --release --workspace --bins"
    );
    path
}
