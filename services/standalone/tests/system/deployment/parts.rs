//! Which process gets which variables.

use std::path::{Path, PathBuf};

use serde_json::json;
use testkit::issuer::{AUDIENCE, ISSUER, Issuer};
use testkit::postgres::{Cluster, Durability};
use testkit::process::Program;

use super::{Inner, Kind};

/// The image that `.ci/docker` makes: a Debian with node.
pub(crate) const IMAGE: &str = "dynamic-mcp-test/node:1";

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

/// Starts a program with these variables.
pub(super) fn start(process: &str, folder: &Path, env: &[(String, String)]) -> Program {
    let env: Vec<(&str, &str)> = env.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    Program::start(&binary(process), folder, &[], &env)
}

/// What the kind itself sets, beside what a test asks for.
pub(super) fn engine_of(kind: Kind) -> Vec<(&'static str, &'static str)> {
    // An unoptimised program on a machine full of tests is always late.
    let patient = ("MCP_HTTP_MAX_LAG_MS", "0");
    match kind {
        Kind::Direct | Kind::Pipes | Kind::Three => {
            vec![patient, ("MCP_EXECUTION_ENGINE", "isolate")]
        }
        Kind::Docker | Kind::Production => vec![
            patient,
            ("MCP_EXECUTION_ENGINE", "docker"),
            ("MCP_SANDBOX_ALLOWED_IMAGES", IMAGE),
        ],
    }
}

/// Which process a variable belongs to: each refuses the others' keys.
fn belongs(name: &str, process: &str) -> bool {
    let is = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
    let catalog = is(&["MCP_DYNAMIC", "MCP_AUDIT_KEEP", "MCP_DECLARED"]);
    let sandbox = is(&[
        "DOCKER_",
        "MCP_EXECUTION",
        "MCP_EXECUTOR_CAPACITY",
        "MCP_SANDBOX_CPU",
        "MCP_SANDBOX_EXTRA_CA_CERTS",
        "MCP_SANDBOX_INSTALL",
        "MCP_SANDBOX_MAX_SESSIONS",
        "MCP_SANDBOX_MAX_OUTPUT",
        "MCP_SANDBOX_MEMORY",
        "MCP_SANDBOX_POOL",
        "MCP_SANDBOX_RUNTIME",
        "MCP_SANDBOX_SESSION",
    ]);
    let shared = is(&["MCP_SANDBOX"]) && !sandbox
        || is(&["LOG_", "MCP_SHUTDOWN", "OTEL_", "RUST_LOG", "SENTRY_"]);
    shared
        || match process {
            "registry" => catalog,
            "executor" => sandbox,
            _ => !catalog && !sandbox,
        }
}

/// The variables of one process: its own, and of the rest those that belong to it.
pub(super) fn env_for(
    process: &str,
    env: &[(&str, &str)],
    own: &[(&str, &str)],
) -> Vec<(String, String)> {
    let given = env.iter().filter(|(name, _)| belongs(name, process));
    given
        .chain(own)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// What stands behind three processes in production.
pub(super) struct Backing {
    pub(super) postgres: Cluster,
    /// A token with every right that the product knows.
    pub(super) token: String,
    url: String,
    key: String,
}

impl Backing {
    pub(super) async fn start() -> Self {
        let postgres = Cluster::start(Durability::Synced).await;
        let issuer = Issuer::default();
        let scope = "mcp:invoke mcp:tools:read mcp:tools:write mcp:sandbox mcp:admin";
        Self {
            url: postgres.url("postgres"),
            token: issuer.token("tester", scope, &json!({})),
            key: issuer.public_pem(),
            postgres,
        }
    }

    pub(super) fn env(&self) -> Vec<(&str, &str)> {
        vec![
            ("MCP_DYNAMIC_BACKEND", "postgres"),
            ("MCP_DYNAMIC_PG_URL", &self.url),
            ("MCP_AUTH_MODE", "jwt"),
            ("MCP_AUTH_PUBLIC_KEY", &self.key),
            ("MCP_AUTH_ISSUER", ISSUER),
            ("MCP_AUTH_AUDIENCE", AUDIENCE),
            ("MCP_REQUIRE_ADMIN_TOKEN", "false"),
        ]
    }
}

/// Starts registry, executor and gateway over Unix sockets in `path`; gives the gateway back.
pub(super) fn start_three(path: &Path, env: &[(&str, &str)]) -> (Program, Inner) {
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
        // Tests run where a daemon may be, as who may use it.
        ("MCP_GATEWAY_ALLOW_DOCKER_SOCKET", "true"),
    ];
    let gateway_env = env_for("gateway", env, &own);
    let gateway = start("gateway", path, &gateway_env);
    let inner = Inner {
        registry: start("registry", path, &registry_env),
        executor: start("executor", path, &executor_env),
        registry_env,
        executor_env,
        gateway_env,
    };
    (gateway, inner)
}

/// A registry and a gateway of its own beside those of a deployment, over the same database and
/// executor.
pub(crate) struct SecondSide {
    /// `host:port` of its MCP endpoint.
    pub(crate) address: String,
    gateway: Program,
    registry: Program,
}

impl SecondSide {
    pub(super) async fn start(path: &Path, inner: &Inner) -> Self {
        let place = format!("unix:{}", path.join("registry2.sock").display());
        let with = |env: &[(String, String)], name: &str| -> Vec<(String, String)> {
            let others = env.iter().filter(|(set, _)| set != name).cloned();
            let own = (name.to_owned(), place.clone());
            others.chain(std::iter::once(own)).collect()
        };
        let registry_env = with(&inner.registry_env, "MCP_REGISTRY_LISTEN");
        let registry = start("registry", path, &registry_env);
        let gateway_env = with(&inner.gateway_env, "MCP_REGISTRY_URL");
        let mut gateway = start("gateway", path, &gateway_env);
        let address = gateway
            .field_of_line("\"listener\":\"http\"", "address")
            .await;
        gateway
            .field_of_line("\"message\":\"ready\"", "program")
            .await;
        Self {
            address,
            gateway,
            registry,
        }
    }

    /// Ends both as an operator does.
    pub(crate) async fn stop(self) {
        self.gateway.stop().await;
        self.registry.stop().await;
    }
}
