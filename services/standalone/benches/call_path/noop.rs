//! The gateway itself, with a runner that does nothing, as a process of its own.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use auth::MadeKey;
use auth::token::{KeySource, TokenSettings, TokenVerifier};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bootstrap::Health;
use bootstrap::config::{Rate, Rates};
use domain::keys::{ApiKeyRecord, KeptKey, KeyDigest, KeyPrefix, NewKey};
use domain::principal::Roles;
use domain::{
    Call, CallContext, Catalog as _, Lockfile, Resolve, Result, RunStream, Runner, Scope, TenantId,
};
use gateway::Gateway;
use gateway::audit::{AuditLog, AuditSettings, OnFailure};
use gateway::http::{
    HostRules, HttpAuth, HttpSettings, Lifecycle, ServeSettings, TokenAuth, anonymous, router,
    serve,
};
use gateway::keys::KeyRing;
use gateway::limits::{CallLimits, LimitSettings, Limits};
use gateway::mcp::McpSettings;
use gateway::settings::{GuardLimits, Parts, Settings};
use secrecy::ExposeSecret as _;
use telemetry::{BuildInfo, Metrics};
use testkit::es256::Es256;
use testkit::issuer::{AUDIENCE, ISSUER};
use testkit::{FakeCatalog, FakeRunner, FakeSessions};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::say;

/// The stored tool that every server has.
pub(crate) const TOOL: &str = "bench.noop";
/// What a call of a server `busy` takes, and how many it runs at once.
pub(crate) const BUSY: (Duration, u32) = (Duration::from_millis(5), 8);

/// A running server.
pub(crate) struct Noop {
    pub(crate) address: String,
    /// The header with the credential that it takes.
    pub(crate) header: String,
    /// Who makes more of them, where they are tokens.
    pub(crate) issuer: Es256,
    _child: Child,
}

impl Noop {
    /// `open`, `limits` (with audit), `tokens`, `keys`, `full` (tokens, limits and audit), `shed` (open,
    /// but for what it cannot keep up with), `busy` (the same, and calls take a while).
    #[allow(clippy::disallowed_methods, reason = "a bench has no bootstrap")]
    pub(crate) async fn start(variant: &str) -> Self {
        let issuer = Es256::default();
        let pem = STANDARD.encode(issuer.public_pem());
        let key = MadeKey::generate().expect("random bytes");
        let (prefix, digest) = (key.prefix.to_string(), key.digest.to_hex());
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args(["--peer", "noop", variant, &pem, &prefix, &digest])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("starts");
        let stdout = child.stdout.take().expect("piped");
        let line = BufReader::new(stdout).lines().next_line().await;
        let token = issuer.token("bench", "mcp:invoke", "seen");
        let credential = match variant {
            "keys" => key.text.expose_secret(),
            _ => &token,
        };
        Self {
            address: line.expect("a line").expect("an address"),
            header: format!("authorization: Bearer {credential}"),
            issuer,
            _child: child,
        }
    }
}

/// Takes every call and does nothing, or nothing for a while.
struct Nothing {
    result: FakeRunner,
    wait: Duration,
}

#[async_trait::async_trait]
impl Runner for Nothing {
    async fn run(&self, _: &CallContext, _: Call) -> Result<RunStream> {
        // Even the shortest sleep takes a millisecond of the timer.
        if !self.wait.is_zero() {
            tokio::time::sleep(self.wait).await;
        }
        let accepted = domain::RunEvent::Accepted {
            executor: "noop".to_owned(),
            engine: domain::runner::EngineKind::Isolate,
        };
        let finished = domain::RunEvent::Finished(testkit::outcome("null"));
        Ok(Box::pin(futures::stream::iter([accepted, finished])))
    }

    async fn resolve(&self, context: &CallContext, request: Resolve) -> Result<Lockfile> {
        self.result.resolve(context, request).await
    }
}

/// Serves until it is killed; its address is the first line of standard output. `credentials`: the
/// public key of the issuer, and prefix and digest of an API key.
pub(crate) async fn serve_variant(variant: &str, credentials: [&str; 3]) {
    let [pem, prefix, digest] = credentials;
    let metrics = Arc::new(
        Metrics::new(BuildInfo {
            service: "gateway",
            version: "0",
            commit: "bench",
        })
        .expect("metrics"),
    );
    let (limited, busy) = (matches!(variant, "limits" | "full"), variant == "busy");
    let folder = tempfile::tempdir().expect("a folder");
    let audit = if limited {
        audit(folder.path(), &metrics)
    } else {
        AuditLog::default()
    };
    let settings = Settings {
        guard: GuardLimits {
            max_concurrency: if busy { BUSY.1 } else { 10_000 },
            max_calls_per_window: 1_000_000_000,
            window: Duration::from_secs(60),
        },
        calls: if limited {
            calls()
        } else {
            CallLimits::default()
        },
        ..Settings::default()
    };
    let gateway = Gateway::new(Parts {
        settings,
        catalog: catalog().await,
        runner: Arc::new(Nothing {
            result: FakeRunner::answering("null"),
            wait: if busy { BUSY.0 } else { Duration::ZERO },
        }),
        sessions: Arc::new(FakeSessions::new("noop")),
        placement: None,
        metrics: Arc::clone(&metrics),
        audit: audit.clone(),
    })
    .expect("a gateway");
    assert!(gateway.synced(Duration::from_secs(5)).await);
    // What is measured for its own sake must not be refused.
    let sheds = matches!(variant, "busy" | "shed");
    let limits = LimitSettings {
        max_lag: if sheds {
            LimitSettings::default().max_lag
        } else {
            Duration::ZERO
        },
        auth_failures: limited.then(a_lot),
        addresses: limited.then(a_lot),
        global: limited.then(a_lot),
        callers: if limited { of_each() } else { Rates::default() },
        ..LimitSettings::default()
    };
    let limits = Arc::new(Limits::new(limits));
    let http = HttpSettings {
        mcp_path: "/mcp".to_owned(),
        health_path: "/health".to_owned(),
        metrics: true,
        request_timeout: Duration::from_secs(60),
        addresses: gateway::http::AddressRules::default(),
        hosts: HostRules::new(true, &[], &[]).expect("rules"),
        https: false,
        limits: Arc::clone(&limits),
        auth: match variant {
            "tokens" | "full" => tokens(pem, &metrics),
            "keys" => keys(prefix, digest, &metrics),
            _ => HttpAuth::Anonymous(anonymous(false)),
        },
        audit,
        mcp: McpSettings::default(),
    };
    let health = Health::new();
    health.set_started();
    let lifecycle = Lifecycle::default();
    let router = router(
        http,
        Arc::new(gateway),
        health,
        Arc::clone(&metrics),
        lifecycle,
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    say(&listener.local_addr().expect("an address").to_string());
    let served = serve(
        listener,
        router,
        ServeSettings::default(),
        metrics,
        CancellationToken::new(),
    );
    tokio::join!(served, limits.watch()).0;
}

/// A rate that is counted and never reached.
fn a_lot() -> Rate {
    Rate {
        max_requests: 1_000_000_000,
        window: Duration::from_secs(60),
    }
}

fn of_each() -> Rates {
    Rates {
        any: Some(a_lot()),
        ..Rates::default()
    }
}

fn calls() -> CallLimits {
    CallLimits {
        tenants: of_each(),
        tenant_concurrency: Some(10_000),
        caller_concurrency: Some(10_000),
        ..CallLimits::default()
    }
}

fn keys(prefix: &str, digest: &str, metrics: &Arc<Metrics>) -> HttpAuth {
    let digest = KeyDigest::parse(digest).expect("a digest");
    let key = NewKey {
        prefix: KeyPrefix::parse(prefix).expect("a prefix"),
        digest,
        name: "bench".to_owned(),
        subject: None,
        scopes: [Scope::Invoke.as_str().to_owned()].into(),
        role: None,
        tier: None,
        expires_at: None,
    };
    let now = jiff::Timestamp::now();
    let record = ApiKeyRecord::made(key, TenantId::default(), "bench", now);
    let ring = KeyRing::new(vec![KeptKey { record, digest }], Arc::clone(metrics));
    HttpAuth::Keys(Arc::new(ring))
}

fn tokens(pem: &str, metrics: &Arc<Metrics>) -> HttpAuth {
    let pem = STANDARD.decode(pem).expect("base64");
    let settings = TokenSettings {
        keys: KeySource::PublicKeys(String::from_utf8(pem).expect("PEM")),
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        tenant_claim: None,
        role_claim: None,
        roles: Roles::default(),
    };
    let verifier = TokenVerifier::new(settings, Arc::clone(metrics)).expect("a verifier");
    let issuer = ISSUER.to_owned();
    let tokens = TokenAuth::new(Arc::new(verifier), issuer, Vec::new(), None).expect("settings");
    HttpAuth::Tokens(Arc::new(tokens))
}

#[allow(
    clippy::disallowed_methods,
    reason = "a bench has no bootstrap, and the process ends with its parent"
)]
fn audit(folder: &std::path::Path, metrics: &Arc<Metrics>) -> AuditLog {
    let settings = AuditSettings {
        file: folder.join("audit.log"),
        max_event_bytes: 20_000,
        max_file_bytes: 10_000_000,
        max_files: 5,
        on_failure: OnFailure::Deny,
        version: "0",
    };
    let (log, task) = AuditLog::open(settings, Arc::clone(metrics)).expect("a log");
    drop(tokio::spawn(task.run(CancellationToken::new())));
    log
}

async fn catalog() -> Arc<FakeCatalog> {
    let catalog = Arc::new(FakeCatalog::default());
    let context = testkit::context(&[Scope::ToolsWrite]);
    let created = catalog.create(&context, testkit::draft(TOOL)).await;
    created.expect("a tool");
    catalog
}
