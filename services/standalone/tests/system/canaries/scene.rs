//! Three processes over TLS, Postgres and Docker, with a secret wherever one can be.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use testkit::issuer::{AUDIENCE, ISSUER, Issuer};
use testkit::mcp::{Client, Era};
use testkit::postgres::{Cluster, Durability};
use testkit::process::Program;
use testkit::receiver::Receiver;
use tokio::time::{Instant, sleep};

use crate::deployment::{IMAGE, binary};
use crate::start::run;

/// A secret and what it is.
#[derive(Debug, Clone)]
pub(super) struct Canary {
    pub(super) what: &'static str,
    pub(super) text: String,
}

pub(super) struct Scene {
    pub(super) folder: TempDir,
    pub(super) programs: Vec<Program>,
    /// Where traces and error reports go.
    pub(super) receiver: Receiver,
    pub(super) canaries: Vec<Canary>,
    /// `host:port` of the MCP endpoint, and of the inner services' admin endpoints.
    pub(super) address: String,
    pub(super) admins: Vec<String>,
    _postgres: Cluster,
}

/// A secret that no text holds by chance, with signs that every encoding changes.
pub(super) fn made(what: &str) -> String {
    let mut random = || fastrand::alphanumeric();
    let random: String = std::iter::repeat_with(&mut random).take(24).collect();
    format!("Canary+{what}/{random}=~end")
}

/// The middle of a file's secret part: PEM in one line.
fn pem_body(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    body[body.len() - 44..body.len() - 4].to_owned()
}

/// Writes a secret for its owner alone, and gives the variable that names the file.
fn secret_file(folder: &Path, name: &str, secret: &str) -> (String, String) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join(name.to_lowercase());
    std::fs::write(&path, format!("{secret}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    (format!("{name}_FILE"), path.display().to_string())
}

impl Scene {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let certs = async |words: &[&str]| {
            let words = [&["certs"], words].concat();
            run("dynamic-mcp", path, &words, &[]).await.assert(0, &[]);
        };
        certs(&["ca"]).await;
        for name in ["gateway", "registry", "executor"] {
            certs(&["leaf", name]).await;
        }
        certs(&["signing-key", "gateway"]).await;
        let postgres = Cluster::start(Durability::Relaxed).await;
        let issuer = Issuer::default();
        let admin = made("admin");
        let password = made("db").replace(['+', '/', '=', '~'], "_");
        let index = made("index").replace(['+', '/', '=', '~'], "_");
        let url = postgres
            .url("postgres")
            .replace("postgres@", &format!("postgres:{password}@"));
        let pg = secret_file(path, "MCP_DYNAMIC_PG_URL", &url);
        let scopes = "mcp:invoke mcp:tools:read mcp:tools:write mcp:sandbox mcp:admin";
        let token = issuer.token("tester", scopes, &json!({}));
        let user = "mcp:invoke mcp:tools:read mcp:tools:write";
        let user = issuer.token("user", user, &json!({}));
        let key = made_key(path, &pg).await;
        let signing = path.join("certs/gateway-signing.pem");
        let mut canaries = vec![
            canary("admin token", &admin),
            canary("API key", &key),
            canary("token", &token),
            canary("token of a user", &user),
            canary("signature of the token", token.rsplit('.').next().unwrap()),
            canary("password of the database", &password),
            canary("signing key", &pem_body(&signing)),
            canary("credentials of a package index", &index),
        ];
        for name in ["gateway", "registry", "executor"] {
            let key = pem_body(&path.join(format!("certs/{name}.key")));
            canaries.push(canary("key of mutual TLS", &key));
        }
        let receiver = Receiver::start().await;
        let plain = |what: &str| made(what).replace(['+', '/', '=', '~'], "_");
        let (otlp, sentry) = (plain("otlp"), plain("sentry"));
        canaries.push(canary("headers for traces", &otlp));
        canaries.push(canary("key of error reports", &sentry));
        let (redis, profiling) = (plain("redis"), made("profiling"));
        canaries.push(canary("password of Redis", &redis));
        canaries.push(canary("token for profiles", &profiling));
        let profiling = secret_file(path, "MCP_PROFILING_TOKEN", &profiling);
        let reports = receiver.endpoint.replace("//", &format!("//{sentry}@"));
        let outward = [
            secret_file(
                path,
                "OTEL_EXPORTER_OTLP_HEADERS",
                &format!("x-canary={otlp}"),
            ),
            secret_file(path, "SENTRY_DSN", &format!("{reports}/7")),
        ];
        let own = |name: &str, more: &[(&str, &str)]| -> Vec<(String, String)> {
            let tls = [
                ("CA", "ca.pem".to_owned()),
                ("CERT", format!("{name}.pem")),
                ("KEY", format!("{name}.key")),
            ];
            let tls = tls
                .into_iter()
                .map(|(kind, file)| (format!("MCP_INTERNAL_TLS_{kind}"), format!("certs/{file}")));
            let shared = [
                ("RUST_LOG", "debug"),
                ("MCP_SANDBOX_ALLOWED_IMAGES", IMAGE),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint),
            ];
            let more = shared
                .iter()
                .chain(more)
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            tls.chain(more).chain(outward.clone()).collect()
        };
        let accept = ("MCP_INTERNAL_VERIFY_KEYS_FILE", "certs/gateway-signing.pub");
        let admin_at = ("MCP_ADMIN_LISTEN", "127.0.0.1:0");
        let mut env = own(
            "registry",
            &[
                accept,
                admin_at,
                ("MCP_REGISTRY_LISTEN", "127.0.0.1:0"),
                ("MCP_DYNAMIC_BACKEND", "postgres"),
            ],
        );
        env.extend([pg, profiling.clone()]);
        let mut registry = begin("registry", path, &env);
        let registry_at = registry
            .field_of_line("\"listener\":\"grpc\"", "address")
            .await;
        let registry_admin = registry
            .field_of_line("\"listener\":\"admin\"", "address")
            .await;
        let mut env = own(
            "executor",
            &[
                accept,
                admin_at,
                ("MCP_EXECUTOR_LISTEN", "127.0.0.1:0"),
                ("MCP_EXECUTION_ENGINE", "docker"),
                ("MCP_SANDBOX_POOL_SIZE", "1"),
            ],
        );
        env.push(profiling);
        // Nobody listens there: an installation fails, and says why.
        env.push(secret_file(
            path,
            "MCP_SANDBOX_NPM_REGISTRY",
            &format!("http://user:{index}@127.0.0.1:9/npm/"),
        ));
        env.push(secret_file(
            path,
            "MCP_SANDBOX_PIP_INDEX",
            &format!("http://user:{index}@127.0.0.1:9/pip/"),
        ));
        let mut executor = begin("executor", path, &env);
        let executor_at = executor
            .field_of_line("\"listener\":\"grpc\"", "address")
            .await;
        let executor_admin = executor
            .field_of_line("\"listener\":\"admin\"", "address")
            .await;
        let (registry_url, executor_url) = (
            format!("https://{registry_at}"),
            format!("https://{executor_at}"),
        );
        let mut env = own(
            "gateway",
            &[
                ("MCP_PORT", "0"),
                ("MCP_PROFILE", "enterprise"),
                ("MCP_REGISTRY_URL", &registry_url),
                ("MCP_EXECUTOR_URLS", &executor_url),
                ("MCP_INTERNAL_SIGNING_KEY_FILE", "certs/gateway-signing.pem"),
                ("MCP_GATEWAY_ALLOW_DOCKER_SOCKET", "true"),
                ("MCP_AUTH_MODE", "jwt+apikey"),
                ("MCP_AUTH_PUBLIC_KEY", &issuer.public_pem()),
                ("MCP_AUTH_ISSUER", ISSUER),
                ("MCP_AUTH_AUDIENCE", AUDIENCE),
            ],
        );
        env.push(secret_file(path, "MCP_ADMIN_TOKEN", &admin));
        // Nor here: a cache that is away is told of.
        let redis = format!("redis://user:{redis}@127.0.0.1:9/0");
        env.push(secret_file(path, "REDIS_URL", &redis));
        let mut gateway = begin("gateway", path, &env);
        let address = gateway
            .field_of_line("\"listener\":\"http\"", "address")
            .await;
        let scene = Self {
            folder,
            programs: vec![gateway, registry, executor],
            receiver,
            canaries,
            address,
            admins: vec![registry_admin, executor_admin],
            _postgres: postgres,
        };
        scene.ready().await;
        scene
    }

    async fn ready(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let ready = testkit::http::exchange(&self.address, "GET", "/readyz", &[], b"").await;
            if ready.status == 200 {
                return;
            }
            let logs: Vec<_> = self.programs.iter().flat_map(Program::log).collect();
            assert!(
                Instant::now() < end,
                "{}\n{}",
                ready.text(),
                logs[logs.len().saturating_sub(40)..].join("\n")
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) fn secret(&self, what: &str) -> &str {
        let of_it = self.canaries.iter().find(|canary| canary.what == what);
        &of_it.unwrap_or_else(|| panic!("no {what}")).text
    }

    /// A client with these headers.
    pub(super) fn client(&self, headers: &[(&str, &str)]) -> Client {
        let mut client = Client::new(&self.address, Era::Modern);
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        client.headers = headers.iter().map(owned).collect();
        client
    }
}

pub(super) fn canary(what: &'static str, text: &str) -> Canary {
    Canary {
        what,
        text: text.to_owned(),
    }
}

fn begin(name: &str, folder: &Path, env: &[(String, String)]) -> Program {
    let env: Vec<(&str, &str)> = env.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    Program::start(&binary(name), folder, &[], &env)
}

/// An API key, made as an operator makes it.
async fn made_key(folder: &Path, pg: &(String, String)) -> String {
    let env = [("MCP_DYNAMIC_BACKEND", "postgres"), (&*pg.0, &*pg.1)];
    let words = ["keys", "create", "--name", "canary", "--role", "admin"];
    let ended = run("dynamic-mcp", folder, &words, &env).await;
    ended.assert(0, &[]);
    let from = ended
        .out
        .find("dmcp_")
        .unwrap_or_else(|| panic!("{ended:?}"));
    let key = ended.out[from..].split(|c: char| c.is_whitespace() || "\",".contains(c));
    key.into_iter().next().unwrap().to_owned()
}
