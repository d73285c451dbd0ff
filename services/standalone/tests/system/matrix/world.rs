//! What the matrix runs against, and what is in it before: per tenant a tool for everybody, one that
//! requires a scope which no role has, and a sandbox session of each caller who may have one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use testkit::docker::{IMAGE, PYTHON_IMAGE, daemon};
use testkit::mcp::{Client, Era};
use tokio::sync::Mutex;

use super::{ROLES, TENANTS};
use crate::pairs::{More, Pairs};
use crate::tokens::issuer::{Issuer, RESOURCE};

/// A tenant's tool for everybody.
pub(super) fn open(tenant: &str) -> String {
    format!("matrix.{tenant}.open")
}

/// A tenant's tool that requires a scope which no role has.
pub(super) fn closed(tenant: &str) -> String {
    format!("matrix.{tenant}.closed")
}

/// What the key `limited` is good for; see [`limits`].
const LIMITED: &str = "reports";

pub(super) struct World {
    pub(super) pairs: Pairs,
    /// Tokens by `tenant-role`.
    tokens: BTreeMap<String, String>,
    /// Paths of the private keys of an internal service and of a stranger.
    pub(super) limited: String,
    pub(super) forged: String,
    made: AtomicUsize,
    /// Sessions by `tenant-role`; one that a row stops is not among them.
    sessions: Mutex<BTreeMap<String, String>>,
    _issuer: Issuer,
}

/// What registries and executors accept: the gateways' key, and one of an internal service that may
/// read the tools of one tenant.
fn limits(gateway: &str, service: &str) -> String {
    format!(
        "{gateway}\n[[keys]]\nissuer = \"{LIMITED}\"\naudiences = [\"registry\", \"executor\"]\n\
         scopes = [\"mcp:tools:read\"]\ntenants = [\"acme\"]\npublic_key = \"\"\"\n{service}\"\"\"\n"
    )
}

impl World {
    pub(super) async fn start() -> Self {
        let issuer = Issuer::start().await;
        let mut tokens = BTreeMap::new();
        for (tenant, _) in TENANTS {
            for role in ROLES {
                let caller = format!("{tenant}-{role}");
                let token = issuer.token(&caller, "").await;
                tokens.insert(caller, token);
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let keys = ["gateways", "reports", "forged"].map(|name| {
            let place = folder.path().join(name);
            std::fs::create_dir(&place).unwrap();
            testkit::keys::write_pair(&place)
        });
        let [gateways, service, forged] = keys;
        let text = |path: &str| std::fs::read_to_string(path).unwrap();
        let accepted = folder.path().join("accepted.toml");
        std::fs::write(
            &accepted,
            limits(&text(&gateways.public), &text(&service.public)),
        )
        .unwrap();
        let accepted = accepted.display().to_string();
        let docker = daemon();
        let images = format!("{IMAGE},{PYTHON_IMAGE}");
        let jwks = format!("{}/jwks", issuer.url);
        let gateway = [
            ("MCP_PROFILE", "enterprise"),
            ("MCP_REQUIRE_ADMIN_TOKEN", "false"),
            ("MCP_AUTH_MODE", "jwt"),
            ("MCP_AUTH_JWKS_URL", &jwks),
            ("MCP_AUTH_ISSUER", &issuer.url),
            ("MCP_AUTH_AUDIENCE", RESOURCE),
            ("MCP_AUTH_RESOURCE", RESOURCE),
            ("MCP_AUTH_TENANT_CLAIM", "tenant"),
            ("MCP_AUTH_ROLE_CLAIM", "roles"),
            ("MCP_AUTH_MAX_FAILURES_PER_MINUTE", "0"),
            ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "100000"),
            ("MCP_TOOL_MAX_CONCURRENCY", "64"),
            ("MCP_SANDBOX_ALLOWED_IMAGES", &images),
            ("MCP_INTERNAL_SIGNING_KEY_FILE", &gateways.private),
        ];
        let registry = [("MCP_SANDBOX_ALLOWED_IMAGES", images.as_str())];
        let mut executor = vec![
            ("MCP_EXECUTION_ENGINE", "docker"),
            ("MCP_SANDBOX_ALLOWED_IMAGES", images.as_str()),
            ("MCP_SANDBOX_POOL_SIZE", "1"),
            ("MCP_SANDBOX_MAX_SESSIONS", "100"),
        ];
        executor.extend(docker.host().map(|host| ("DOCKER_HOST", host)));
        let more = More {
            gateway: &gateway,
            registry: &registry,
            executor: &executor,
            verify_keys: Some(&accepted),
        };
        let pairs = Pairs::start(folder, more).await;
        let mut world = Self {
            pairs,
            tokens,
            limited: service.private,
            forged: forged.private,
            made: AtomicUsize::new(0),
            sessions: Mutex::default(),
            _issuer: issuer,
        };
        world.pairs.key = gateways.private;
        for (tenant, _) in TENANTS {
            let admin = world.client(tenant, "admin", 0);
            for (name, scopes) in [
                (open(tenant), json!([])),
                (closed(tenant), json!(["team:closed"])),
            ] {
                let tool = json!({
                    "name": name, "description": "Of the matrix.", "code": "return 1",
                    "image": IMAGE, "requiredScopes": scopes,
                });
                admin
                    .ok("dynamic.tool.create", json!({ "tool": tool }))
                    .await;
            }
        }
        world.settled().await;
        world
    }

    /// Waits until both gateways serve what was made.
    async fn settled(&self) {
        for at in 0..2 {
            for (tenant, _) in TENANTS {
                let admin = self.client(tenant, "admin", at);
                let end = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
                while !admin
                    .names()
                    .await
                    .iter()
                    .any(|name| *name == closed(tenant))
                {
                    assert!(
                        tokio::time::Instant::now() < end,
                        "{tenant}'s tools are not seen at {at}"
                    );
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            }
        }
    }

    /// A client of a gateway with the token of this caller.
    pub(super) fn client(&self, tenant: &str, role: &str, gateway: usize) -> Client {
        let mut client = self.anonymous(gateway);
        let token = &self.tokens[&format!("{tenant}-{role}")];
        let bearer = format!("Bearer {token}");
        client.headers.push(("authorization".to_owned(), bearer));
        client
    }

    pub(super) fn anonymous(&self, gateway: usize) -> Client {
        Client::new(&self.pairs.gateways[gateway].address, Era::Modern)
    }

    /// What `tools/list` shows to a caller.
    pub(super) async fn listed(&self, tenant: &str, role: &str) -> Vec<String> {
        self.client(tenant, role, 0).names().await
    }

    /// A name that nothing has.
    pub(super) fn fresh(&self) -> String {
        format!("matrix.n{}", self.made.fetch_add(1, Ordering::Relaxed))
    }

    /// A tool that its tenant's administrator has just made.
    pub(super) async fn own(&self, tenant: &str) -> String {
        let name = self.fresh();
        let tool = json!({"name": name, "description": "Of one cell.", "code": "return 1", "image": IMAGE});
        let admin = self.client(tenant, "admin", 0);
        admin
            .ok("dynamic.tool.create", json!({ "tool": tool }))
            .await;
        name
    }

    /// A session of a caller who may have one, the same for every row.
    pub(super) async fn session(&self, tenant: &str, role: &str) -> String {
        let caller = format!("{tenant}-{role}");
        let mut sessions = self.sessions.lock().await;
        if !sessions.contains_key(&caller) {
            let id = self.new_session(tenant, role).await;
            sessions.insert(caller.clone(), id);
        }
        sessions[&caller].clone()
    }

    /// A new session of a caller who may have one.
    pub(super) async fn new_session(&self, tenant: &str, role: &str) -> String {
        let client = self.client(tenant, role, 0);
        let ready = client
            .ok("sandbox.initialize", json!({ "image": IMAGE }))
            .await;
        let id = ready["sessionId"].as_str().unwrap().to_owned();
        let file: Value = json!({"sessionId": id, "path": "a.txt", "content": "a"});
        client.ok("sandbox.files.write", file).await;
        id
    }

    pub(super) async fn stop(self) {
        self.pairs.stop().await;
    }
}
