//! Registry, executor and gateway over TCP with TLS, made as the documentation says.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use auth::internal::{Audience, Signer, SigningKey};
use bootstrap::tls::{NamedFile, TlsFiles};
use rpc::client::Link;
use rpc::{Certificates, Endpoint, Tls};
use serde_json::json;
use tempfile::TempDir;
use testkit::certificates::write;
use testkit::mcp::{Client, Era};
use testkit::process::Program;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::deployment::binary;
use crate::start::run;

/// A deployment of three processes with an internal service `billing` that is known to it.
pub(super) struct Rig {
    pub(super) folder: TempDir,
    pub(super) registry: Program,
    pub(super) executor: Program,
    pub(super) gateway: Program,
    pub(super) registry_at: String,
    pub(super) executor_at: String,
    /// `host:port` of the MCP endpoint.
    pub(super) address: String,
}

/// Runs `dynamic-mcp certs` with these words and gives its answer back.
pub(super) async fn certs(folder: &Path, words: &[&str]) -> String {
    let words = [&["certs"], words].concat();
    let ended = run("dynamic-mcp", folder, &words, &[]).await;
    assert_eq!(ended.code, Some(0), "{words:?}: {ended:#?}");
    ended.out
}

/// The entry to paste that an answer ends with.
pub(super) fn entry(answer: &str) -> &str {
    &answer[answer.find("[[keys]]").unwrap()..]
}

/// Everything that the three need, in `certs`; `verify.toml` holds the keys that are accepted.
async fn prepare(folder: &Path) {
    certs(folder, &["ca"]).await;
    for name in ["gateway", "registry", "executor"] {
        certs(folder, &["leaf", name]).await;
    }
    certs(folder, &["signing-key", "gateway"]).await;
    let executor = certs(folder, &["signing-key", "executor"]).await;
    let billing = [
        "service",
        "billing",
        "--scope",
        "mcp:invoke",
        "--scope",
        "mcp:tools:read",
    ];
    let billing = certs(folder, &billing).await;
    let gateway = std::fs::read_to_string(folder.join("certs/gateway-signing.pub")).unwrap();
    let keys = format!("{gateway}\n{}\n{}", entry(&executor), entry(&billing));
    write(&folder.join("certs/verify.toml"), &keys);
}

/// The variables of TLS for one of the three.
fn tls(name: &str) -> Vec<(String, String)> {
    [
        ("CA", "ca.pem".to_owned()),
        ("CERT", format!("{name}.pem")),
        ("KEY", format!("{name}.key")),
    ]
    .into_iter()
    .map(|(kind, file)| (format!("MCP_INTERNAL_TLS_{kind}"), format!("certs/{file}")))
    .collect()
}

fn start(name: &str, folder: &Path, own: &[(&str, &str)]) -> Program {
    let tls = tls(name);
    let tls = tls
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let env: Vec<_> = tls.chain(own.iter().copied()).collect();
    Program::start(&binary(name), folder, &[], &env)
}

impl Rig {
    /// Starts all three; `sandbox`: more variables for the executor.
    pub(super) async fn start(sandbox: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        prepare(path).await;
        let admin = ("MCP_ADMIN_LISTEN", "127.0.0.1:0");
        let accept = ("MCP_INTERNAL_VERIFY_KEYS_FILE", "certs/verify.toml");
        let listen = ("MCP_REGISTRY_LISTEN", "127.0.0.1:0");
        let mut registry = start("registry", path, &[listen, admin, accept]);
        let grpc = "\"listener\":\"grpc\"";
        let registry_at = registry.field_of_line(grpc, "address").await;
        let registry_url = format!("https://{registry_at}");
        let engine: &[(&str, &str)] = if sandbox.is_empty() {
            &[("MCP_EXECUTION_ENGINE", "isolate")]
        } else {
            sandbox
        };
        let own = [
            ("MCP_EXECUTOR_LISTEN", "127.0.0.1:0"),
            ("MCP_REGISTRY_URL", registry_url.as_str()),
            (
                "MCP_INTERNAL_SIGNING_KEY_FILE",
                "certs/executor-signing.pem",
            ),
            admin,
            accept,
        ];
        let mut executor = start("executor", path, &[&own, engine].concat());
        let executor_at = executor.field_of_line(grpc, "address").await;
        let own = [
            ("MCP_PORT", "0"),
            ("MCP_PROFILE", "enterprise"),
            ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "1000000"),
            ("MCP_REGISTRY_URL", registry_url.as_str()),
            ("MCP_INTERNAL_SIGNING_KEY_FILE", "certs/gateway-signing.pem"),
            ("MCP_GATEWAY_ALLOW_DOCKER_SOCKET", "true"),
        ];
        // The gateway names images too; the executor has the last word.
        let images = sandbox
            .iter()
            .filter(|(name, _)| *name == "MCP_SANDBOX_ALLOWED_IMAGES");
        let own: Vec<_> = own.into_iter().chain(images.copied()).collect();
        let mut gateway = start("gateway", path, &own);
        let address = gateway
            .field_of_line("\"listener\":\"http\"", "address")
            .await;
        let joined = "joined the fleet";
        executor.field_of_line(joined, "executor").await;
        let rig = Self {
            folder,
            registry,
            executor,
            gateway,
            registry_at,
            executor_at,
            address,
        };
        rig.ready().await;
        rig
    }

    async fn ready(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = testkit::http::exchange(&self.address, "GET", "/readyz", &[], b"").await;
            // Ready, and the executor is known from the registry.
            let call = json!({"code": "return 1"});
            if answer.status == 200
                && self.client().call("run_js_ephemeral", call).await["isError"] != json!(true)
            {
                return;
            }
            let log = self.gateway.log().join("\n");
            assert!(Instant::now() < end, "{}\n{log}", answer.text());
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) fn client(&self) -> Client {
        Client::new(&self.address, Era::Modern)
    }

    /// Makes a tool and calls it, through all three.
    pub(super) async fn works(&self, name: &str) {
        let client = self.client();
        let tool = json!({"name": name, "description": "d", "code": "return 6 * 7"});
        client
            .ok("dynamic.tool.create", json!({"tool": tool}))
            .await;
        let answer = client.ok(name, json!({"args": {}})).await;
        assert_eq!(answer["result"], 42, "{answer}");
    }

    pub(super) fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("certs").join(name)
    }

    /// A link to the registry or the executor as somebody who has the certificate `shown` and the key
    /// `signing`, both names of files.
    pub(super) fn link(&self, to: Audience, shown: &str, signing: &str) -> Link {
        let pem = std::fs::read_to_string(self.file(&format!("{signing}-signing.pem"))).unwrap();
        let key = Arc::new(SigningKey::from_pem(&pem).unwrap());
        self.link_signed(to, shown, key)
    }

    pub(super) fn link_signed(&self, to: Audience, shown: &str, key: Arc<SigningKey>) -> Link {
        let files = TlsFiles {
            endpoint: "internal",
            certificate: NamedFile::new("CERT", &self.file(&format!("{shown}.pem"))),
            key: NamedFile::new("KEY", &self.file(&format!("{shown}.key"))),
            authority: Some(NamedFile::new("CA", &self.file("ca.pem"))),
        };
        let made = files.read().unwrap();
        let shown = Certificates::new(&made.chain, &made.key, &made.roots).unwrap();
        let (_, current) = watch::channel(Arc::new(shown));
        let at = match to {
            Audience::Registry => &self.registry_at,
            Audience::Executor => &self.executor_at,
        };
        let endpoint = Endpoint::parse("test", &format!("https://{at}")).unwrap();
        Link::over_tls(&endpoint, Signer::new(key, to), Some(Tls::new(current))).unwrap()
    }

    /// Tells all three to look at their files.
    pub(super) async fn reload(&self) {
        for program in [&self.registry, &self.executor, &self.gateway] {
            program.signal("HUP").await;
        }
    }

    /// Waits until a program has said so often that it read these files again.
    pub(super) async fn reread(&self, what: &str, times: usize) {
        let programs: &[&Program] = match what {
            "internal" => &[&self.registry, &self.executor, &self.gateway],
            "verify_keys" => &[&self.registry, &self.executor],
            _ => &[&self.gateway],
        };
        let end = Instant::now() + Duration::from_secs(15);
        for program in programs {
            let said = || {
                let log = program.log();
                let line = format!("\"what\":\"{what}\"");
                let lines = log
                    .iter()
                    .filter(|one| one.contains("read again") && one.contains(&line));
                lines.count()
            };
            while said() < times {
                assert!(Instant::now() < end, "{what}: {}", program.log().join("\n"));
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    pub(super) async fn stop(self) {
        self.gateway.stop().await;
        self.executor.stop().await;
        self.registry.stop().await;
    }
}
