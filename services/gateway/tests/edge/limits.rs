//! What a request meets before its body is read: limits of its address, its caller, and of all.

use std::net::SocketAddr;
use std::sync::Arc;

use auth::MadeKey;
use auth::token::{KeySource, TokenSettings, TokenVerifier};
use axum::body::Body;
use axum::extract::ConnectInfo;
use bootstrap::config::{Rate, Rates};
use domain::keys::{ApiKeyRecord, KeptKey, NewKey};
use futures::future::join_all;
use gateway::audit::{AuditLog, AuditSettings, OnFailure};
use gateway::http::{HttpAuth, HttpSettings, TokenAuth};
use gateway::keys::KeyRing;
use gateway::limits::{LimitSettings, Limits};
use http::{Request, Response};
use secrecy::ExposeSecret as _;
use serde_json::json;
use telemetry::{BuildInfo, Metrics};
use testkit::issuer::{AUDIENCE, ISSUER, Issuer};
use tokio::time::{Duration, Instant, advance};

use super::rig::{Answer, Rig, legacy, modern, settings};

const MS: Duration = Duration::from_millis(1);

fn rate(max_requests: u32, seconds: u64) -> Rate {
    Rate {
        max_requests,
        window: Duration::from_secs(seconds),
    }
}

fn metrics() -> Arc<Metrics> {
    let build = BuildInfo {
        service: "gateway",
        version: "0",
        commit: "test",
    };
    Arc::new(Metrics::new(build).unwrap())
}

/// An edge that takes tokens, with these limits.
struct Limited {
    rig: Rig,
    issuer: Issuer,
}

impl Limited {
    fn new(change: impl FnOnce(&mut LimitSettings)) -> Self {
        Self::with(change, |_| {})
    }

    fn with(change: impl FnOnce(&mut LimitSettings), more: impl FnOnce(&mut HttpSettings)) -> Self {
        let issuer = Issuer::default();
        let keys = TokenSettings {
            keys: KeySource::PublicKeys(issuer.public_pem()),
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            tenant_claim: None,
            role_claim: None,
            roles: domain::principal::Roles::default(),
        };
        let verifier = Arc::new(TokenVerifier::new(keys, metrics()).unwrap());
        let tokens = TokenAuth::new(verifier, ISSUER.to_owned(), Vec::new(), None).unwrap();
        let mut limits = LimitSettings::default();
        change(&mut limits);
        let mut settings = settings(true);
        settings.auth = HttpAuth::Tokens(Arc::new(tokens));
        settings.limits = Arc::new(Limits::new(limits));
        more(&mut settings);
        Self {
            rig: Rig::with(settings),
            issuer,
        }
    }

    fn bearer(&self, subject: &str) -> String {
        let token = self.issuer.token(subject, "mcp:invoke", &json!({}));
        format!("Bearer {token}")
    }

    /// A ping from this address with this credential.
    async fn ping(&self, from: &str, credential: &str) -> Answer {
        let ping = legacy("ping", json!({}));
        self.rig.answer(with(ping, from, credential)).await
    }

    async fn metric(&self, line: &str) -> f64 {
        let metrics = Request::get("/metrics").body(Body::empty()).unwrap();
        let answer = self.rig.answer(metrics).await;
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let value = text.lines().find_map(|of| of.strip_prefix(line));
        value.map_or(0.0, |value| value.trim().parse().unwrap())
    }
}

fn with(mut request: Request<Body>, from: &str, credential: &str) -> Request<Body> {
    let peer: SocketAddr = format!("{from}:4000").parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    if !credential.is_empty() {
        let value = credential.parse().unwrap();
        request.headers_mut().insert("authorization", value);
    }
    request
}

/// The wait that a refusal tells, after a look at its form.
#[track_caller]
fn wait(answer: &Answer, status: u16, code: &str) -> Duration {
    assert_eq!(answer.error(), (status, i64::from(status)));
    let body = answer.json();
    let data = &body["error"]["data"];
    assert_eq!(data["code"], code, "{body}");
    let millis = data["retryAfterMs"].as_u64().unwrap();
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert_eq!(seconds, millis.div_ceil(1_000), "{body}");
    assert!(data["requestId"].is_string(), "{body}");
    Duration::from_millis(millis)
}

#[tokio::test(start_paused = true)]
async fn after_twenty_wrong_tokens_an_address_is_refused_with_a_good_one_too() {
    let limited = Limited::new(|_| {});
    let good = limited.bearer("alice");
    for n in 0..20 {
        let answer = limited
            .ping("192.0.2.1", &format!("Bearer not.a.token{n}"))
            .await;
        assert_eq!(answer.status, 401);
    }
    let refused = limited.ping("192.0.2.1", &good).await;
    let told = wait(&refused, 429, "rate_limited");
    assert_eq!(refused.header("www-authenticate"), "");
    assert_eq!(limited.ping("192.0.2.1", "Bearer x").await.status, 429);
    assert_eq!(limited.ping("192.0.2.2", &good).await.status, 200);
    let denied = "mcp_limit_rejections_total{limit=\"address_failures\"}";
    assert_eq!(limited.metric(denied).await, 2.0);

    advance(told - MS).await;
    assert_eq!(limited.ping("192.0.2.1", &good).await.status, 429);
    advance(MS).await;
    assert_eq!(limited.ping("192.0.2.1", &good).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn who_shows_no_credential_or_an_old_one_does_not_guess() {
    let limited = Limited::new(|_| {});
    let old = limited
        .issuer
        .token("alice", "mcp:invoke", &json!({"exp": 1_000_000}));
    let poor = limited.issuer.token("alice", "", &json!({}));
    for _ in 0..30 {
        assert_eq!(limited.ping("192.0.2.1", "").await.status, 401);
        let old = format!("Bearer {old}");
        assert_eq!(limited.ping("192.0.2.1", &old).await.status, 401);
        let list = modern("tools/call", json!({"name": "echo"}));
        let poor = with(list, "192.0.2.1", &format!("Bearer {poor}"));
        assert_ne!(limited.rig.answer(poor).await.status, 429);
    }
    let good = limited.bearer("alice");
    assert_eq!(limited.ping("192.0.2.1", &good).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn one_callers_burst_is_refused_to_the_millisecond_and_leaves_the_other_alone() {
    let limited = Limited::new(|limits| {
        limits.callers = Rates {
            any: Some(rate(5, 10)),
            ..Rates::default()
        };
    });
    let (alice, bob) = (limited.bearer("alice"), limited.bearer("bob"));
    let burst = (0..50).map(|_| limited.ping("192.0.2.1", &alice));
    let statuses: Vec<u16> = join_all(burst)
        .await
        .iter()
        .map(|answer| answer.status.as_u16())
        .collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 5);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 45);
    for _ in 0..5 {
        assert_eq!(limited.ping("192.0.2.1", &bob).await.status, 200);
    }
    let told = wait(
        &limited.ping("192.0.2.1", &alice).await,
        429,
        "rate_limited",
    );
    advance(told - MS).await;
    assert_eq!(limited.ping("192.0.2.9", &alice).await.status, 429);
    advance(MS).await;
    assert_eq!(limited.ping("192.0.2.9", &alice).await.status, 200);
}

/// A key of this tier, and its text.
fn key(tier: Option<&str>) -> (KeptKey, String) {
    let MadeKey {
        text,
        prefix,
        digest,
    } = MadeKey::generate().unwrap();
    let key = NewKey {
        prefix,
        digest,
        name: "test".to_owned(),
        subject: None,
        scopes: ["mcp:invoke".to_owned()].into(),
        role: None,
        tier: tier.map(str::to_owned),
        expires_at: None,
    };
    let now = jiff::Timestamp::now();
    let record = ApiKeyRecord::made(key, domain::TenantId::default(), "test", now);
    (KeptKey { record, digest }, text.expose_secret().to_owned())
}

#[tokio::test(start_paused = true)]
async fn each_key_has_the_rate_of_its_tier() {
    let keys: Vec<_> = [Some("pro"), Some("pro"), Some("nobody named it"), None]
        .map(key)
        .into();
    let kept = keys.iter().map(|(kept, _)| kept.clone()).collect();
    let limited = Limited::with(
        |limits| {
            limits.callers = Rates {
                any: Some(rate(2, 60)),
                named: [("pro".to_owned(), rate(6, 60))].into(),
            };
        },
        |settings| settings.auth = HttpAuth::Keys(Arc::new(KeyRing::new(kept, metrics()))),
    );
    for ((_, text), allowed) in keys.iter().zip([6, 6, 2, 2]) {
        let bearer = format!("Bearer {text}");
        for _ in 0..allowed {
            assert_eq!(limited.ping("192.0.2.1", &bearer).await.status, 200);
        }
        let refused = limited.ping("192.0.2.1", &bearer).await;
        wait(&refused, 429, "rate_limited");
    }
    // A guess at a key counts as one at a token does.
    for _ in 0..20 {
        let guess = format!("Bearer {}x", keys[0].1);
        assert_eq!(limited.ping("192.0.2.7", &guess).await.status, 401);
    }
    let guess = limited.ping("192.0.2.7", "Bearer x").await;
    wait(&guess, 429, "rate_limited");
}

#[tokio::test(start_paused = true)]
async fn the_total_counts_only_who_is_let_in_and_pages_have_no_limit() {
    let limited = Limited::new(|limits| {
        limits.global = Some(rate(2, 10));
        limits.auth_failures = None;
        limits.addresses = Some(rate(40, 10));
    });
    for _ in 0..30 {
        assert_eq!(limited.ping("192.0.2.1", "Bearer x").await.status, 401);
    }
    for subject in ["alice", "bob"] {
        let bearer = limited.bearer(subject);
        assert_eq!(limited.ping("192.0.2.2", &bearer).await.status, 200);
    }
    let carol = limited.bearer("carol");
    wait(
        &limited.ping("192.0.2.2", &carol).await,
        429,
        "rate_limited",
    );
    for _ in 0..10 {
        assert_eq!(limited.ping("192.0.2.1", "Bearer x").await.status, 401);
    }
    wait(
        &limited.ping("192.0.2.1", "Bearer x").await,
        429,
        "rate_limited",
    );
    for path in ["/livez", "/readyz", "/health", "/metrics"] {
        for _ in 0..50 {
            let page = Request::get(path).body(Body::empty()).unwrap();
            let page = limited.rig.send(with(page, "192.0.2.1", "")).await;
            assert_eq!(page.status(), 200, "{path}");
        }
    }
}

/// A call that is worked on until it is dropped.
async fn begin(limited: &Limited, bearer: &str) -> impl Future<Output = Response<Body>> + use<> {
    let call = with(
        modern("tools/call", json!({"name": "slow"})),
        "192.0.2.1",
        bearer,
    );
    let router = limited.rig.router.clone();
    let mut call = Box::pin(async move { tower::ServiceExt::oneshot(router, call).await.unwrap() });
    for _ in 0..10 {
        assert!(futures::poll!(&mut call).is_pending());
        tokio::task::yield_now().await;
    }
    call
}

#[tokio::test(start_paused = true)]
async fn beyond_the_requests_in_progress_is_a_refusal_within_fifty_milliseconds() {
    let limited = Limited::new(|limits| {
        limits.max_in_flight = 2;
        limits.max_queued = 1;
    });
    let alice = limited.bearer("alice");
    let held = [begin(&limited, &alice).await, begin(&limited, &alice).await];
    let begun = Instant::now();
    let both = join_all((0..2).map(|_| limited.ping("192.0.2.1", &alice))).await;
    for refused in &both {
        wait(refused, 503, "overloaded");
    }
    assert!(begun.elapsed() <= 50 * MS, "{:?}", begun.elapsed());
    let page = Request::get("/livez").body(Body::empty()).unwrap();
    assert_eq!(limited.rig.send(page).await.status(), 200);
    let health = Request::get("/health").body(Body::empty()).unwrap();
    let checks = limited.rig.answer(health).await.json()["checks"]["limits"].clone();
    assert_eq!(checks["scope"], "gateway");
    assert_eq!(checks["sharedStore"], false);
    assert_eq!(
        (&checks["inFlight"], &checks["maxInFlight"]),
        (&json!(2), &json!(2))
    );
    drop(held);
    assert_eq!(limited.ping("192.0.2.1", &alice).await.status, 200);
    let denied = "mcp_limit_rejections_total{limit=\"in_flight\"}";
    assert_eq!(limited.metric(denied).await, 2.0);
}

#[tokio::test(start_paused = true)]
async fn one_callers_requests_in_progress_leave_places_to_others() {
    let limited = Limited::new(|limits| limits.max_in_flight_per_caller = 2);
    let (alice, bob) = (limited.bearer("alice"), limited.bearer("bob"));
    let held = [begin(&limited, &alice).await, begin(&limited, &alice).await];
    wait(
        &limited.ping("192.0.2.1", &alice).await,
        429,
        "rate_limited",
    );
    assert_eq!(limited.ping("192.0.2.1", &bob).await.status, 200);
    drop(held);
    assert_eq!(limited.ping("192.0.2.1", &alice).await.status, 200);
}

#[tokio::test]
async fn a_flood_leaves_a_record_of_each_and_metrics_without_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    let audit = AuditSettings {
        file: file.clone(),
        max_event_bytes: 20_000,
        max_file_bytes: 10_000_000,
        max_files: 1,
        on_failure: OnFailure::Deny,
        version: "0",
    };
    let (log, task) = AuditLog::open(audit, metrics()).unwrap();
    let closing = tokio_util::sync::CancellationToken::new();
    let mut written = tokio::task::JoinSet::new();
    written.spawn(task.run(closing.clone()));
    let limited = Limited::with(
        |limits| {
            limits.callers = Rates {
                any: Some(rate(1, 600)),
                ..Rates::default()
            };
        },
        |settings| settings.audit = log,
    );
    let alice = limited.bearer("alice");
    let mut series = 0;
    for n in 0..500 {
        limited.ping("192.0.2.1", &alice).await;
        limited.ping(&format!("198.51.100.{}", n % 250), "").await;
        limited.ping("203.0.113.1", "Bearer wrong").await;
        if n == 25 {
            // By now everything has happened once, the look at the metrics too.
            limited.metric_lines().await;
            series = limited.metric_lines().await;
        }
    }
    assert_eq!(
        limited.metric_lines().await,
        series,
        "a series for each name"
    );
    drop(limited);
    closing.cancel();
    written.join_next().await.unwrap().unwrap().unwrap();
    let records = testkit::audit::records(&file);
    let of = |action: &str, key: &str, value: &str| {
        let matching = records
            .iter()
            .filter(|record| record["action"] == action && record["details"][key] == value);
        matching.count()
    };
    assert_eq!(of("limit.denied", "limit", "caller"), 1);
    assert_eq!(of("limit.denied", "limit", "address_failures"), 1);
    assert_eq!(of("http.auth", "reason", "malformed"), 20, "every guess");
    let without = of("http.auth", "reason", "missing");
    assert!((400..=600).contains(&without), "{without}");
    let denied = records
        .iter()
        .find(|record| record["details"]["limit"] == "caller");
    let denied = denied.unwrap();
    assert_eq!(denied["actor"]["subject"], "alice");
    assert_eq!(
        (&denied["result"], &denied["code"]),
        (&json!("denied"), &json!("rate_limited"))
    );
    assert_eq!(denied["source"], "192.0.2.1");
}

impl Limited {
    /// How many series there are.
    async fn metric_lines(&self) -> usize {
        let metrics = Request::get("/metrics").body(Body::empty()).unwrap();
        let answer = self.rig.answer(metrics).await;
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).count()
    }
}
