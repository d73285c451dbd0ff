//! `--real`: the same way with the real parts behind it: containers, Postgres, tokens.

use std::time::Duration;

use serde_json::json;
use testkit::issuer::{AUDIENCE, ISSUER, Issuer};
use testkit::postgres::{Cluster, Durability};
use tokio::time::{Instant, sleep};

use crate::load::{Connection, Figures, run};
use crate::programs::{Service, Three};
use crate::{call, is_result, row, say};

/// Containers that wait; a burst is four times as many calls at once.
const POOL: usize = 4;
pub(crate) const IMAGE: &str = "dynamic-mcp-test/node:1";
/// How long a pool may take to be full again.
const REFILL: Duration = Duration::from_secs(30);

const DOCKER: &[(&str, &str)] = &[
    ("MCP_EXECUTION_ENGINE", "docker"),
    ("MCP_SANDBOX_ALLOWED_IMAGES", IMAGE),
    ("MCP_SANDBOX_POOL_SIZE", "4"),
];

/// The request of a caller who shows a token.
fn with_token(request: &[u8], token: &str) -> Vec<u8> {
    let end = request.windows(2).position(|two| two == b"\r\n");
    let (line, rest) = request.split_at(end.expect("a request line") + 2);
    let header = format!("authorization: Bearer {token}\r\n");
    [line, header.as_bytes(), rest].concat()
}

pub(crate) async fn measure(scale: usize) {
    say("the real parts, over HTTP on loopback; every server is a process of its own");
    tokens(scale).await;
    say(&format!(
        "containers: {POOL} wait; each call has one of its own, which costs about a quarter of a second \
         of a core to make"
    ));
    let standalone = Service::standalone(DOCKER).await;
    standalone.wait_ready().await;
    let here = Target {
        address: &standalone.address,
        metrics: &standalone.address,
    };
    containers("standalone", here, scale, |request| request).await;
    standalone.stop().await;

    let postgres = Cluster::start(Durability::Synced).await;
    let issuer = Issuer::default();
    let (url, key) = (postgres.url("postgres"), issuer.public_pem());
    let token = issuer.token(
        "bench",
        "mcp:invoke mcp:tools:read mcp:tools:write",
        &json!({}),
    );
    let database = [
        ("MCP_DYNAMIC_BACKEND", "postgres"),
        ("MCP_DYNAMIC_PG_URL", &*url),
    ];
    // All three check which images tools may use.
    let image = [("MCP_SANDBOX_ALLOWED_IMAGES", IMAGE)];
    let registry = [&database[..], &image].concat();
    let gateway = [&tokens_env(&key)[..], &image].concat();
    let three = Three::start_with(&registry, DOCKER, &gateway).await;
    let signed = |request: Vec<u8>| with_token(&request, &token);
    writes(&three.address, scale, signed).await;
    let there = Target {
        address: &three.address,
        metrics: &three.executor_metrics,
    };
    containers("three services, Postgres, token", there, scale, signed).await;
    three.stop().await;
}

/// Where to call, and where the process with the containers shows its metrics.
#[derive(Clone, Copy)]
struct Target<'a> {
    address: &'a str,
    metrics: &'a str,
}

fn tokens_env(key: &str) -> [(&str, &str); 4] {
    [
        ("MCP_AUTH_MODE", "jwt"),
        ("MCP_AUTH_PUBLIC_KEY", key),
        ("MCP_AUTH_ISSUER", ISSUER),
        ("MCP_AUTH_AUDIENCE", AUDIENCE),
    ]
}

/// What a token that was seen before adds to the shortest call there is.
async fn tokens(scale: usize) {
    let issuer = Issuer::default();
    let key = issuer.public_pem();
    let token = issuer.token("bench", "mcp:invoke", &json!({}));
    let profile = [
        ("MCP_PROFILE", "enterprise"),
        ("MCP_AUDIT_ENABLED", "false"),
        ("MCP_REQUIRE_ADMIN_TOKEN", "false"),
        ("MCP_EXECUTION_ENGINE", "isolate"),
    ];
    let open = Service::standalone(&profile).await;
    let closed = Service::standalone(&[&profile[..], &tokens_env(&key)].concat()).await;
    let clock = call("time.now", &json!({}));
    let signed = with_token(&clock, &token);
    let mut best = (f64::MAX, f64::MAX);
    for round in 1..=3 {
        let bare = run(&open.address, &clock, 1, 10_000 / scale, is_result).await;
        row(&format!("time.now without a token, round {round}"), &bare);
        let seen = run(&closed.address, &signed, 1, 10_000 / scale, is_result).await;
        row(
            &format!("time.now with a token seen before, round {round}"),
            &seen,
        );
        best = (
            best.0.min(bare.quantile(0.5)),
            best.1.min(seen.quantile(0.5)),
        );
    }
    say(&format!(
        "a token seen before adds {:+.1} us to p50",
        (best.1 - best.0) * 1e3
    ));
}

/// Tools made and changed, each answered when it is durable.
async fn writes(address: &str, scale: usize, dress: impl Fn(Vec<u8>) -> Vec<u8>) {
    let mut connection = Connection::open(address).await;
    let tool =
        json!({"name": "bench.add", "description": "adds", "code": "return args.a + args.b"});
    let make = dress(call("dynamic.tool.create", &json!({"tool": tool})));
    connection.exchange(&make).await;
    let patch = json!({"name": "bench.add", "patch": {"title": "Adds"}});
    let change = dress(call("dynamic.tool.update", &patch));
    let figures = run(address, &change, 1, 1_000 / scale, is_result).await;
    row(
        "write to Postgres (dynamic.tool.update), 1 connection",
        &figures,
    );
    let figures = run(address, &change, 4, 1_000 / scale, is_result).await;
    row(
        "write to Postgres (dynamic.tool.update), 4 connections",
        &figures,
    );
}

async fn containers(
    name: &str,
    target: Target<'_>,
    scale: usize,
    dress: impl Fn(Vec<u8>) -> Vec<u8>,
) {
    let Target { address, metrics } = target;
    let code = json!({"code": "return args.a + args.b", "args": {"a": 1, "b": 2}});
    let request = dress(call("run_js_ephemeral", &code));
    let mut figures = Vec::new();
    let begun = Instant::now();
    for _ in 0..100 / scale {
        until_full(metrics).await;
        // As many as wait, one after the other, while none has to be waited for.
        for _ in 0..POOL / 2 {
            figures.push(one(address, &request).await);
        }
    }
    report(
        &format!("{name}: container call from the pool"),
        figures,
        begun,
    );

    for round in 1..=3 {
        until_full(metrics).await;
        let begun = Instant::now();
        let calls = (0..POOL * 4).map(|_| one(address, &request));
        let burst = futures::future::join_all(calls).await;
        let title = format!(
            "{name}: burst of {} at a pool of {POOL}, round {round}",
            POOL * 4
        );
        report(&title, burst, begun);
    }
}

pub(crate) fn report(title: &str, mut latencies: Vec<Duration>, begun: Instant) {
    latencies.sort_unstable();
    let worst = latencies.last().copied().unwrap_or_default();
    row(title, &Figures::new(latencies, begun.elapsed()));
    say(&format!(
        "{:<58} worst {:.1} ms",
        "",
        worst.as_secs_f64() * 1e3
    ));
}

/// One call on a connection of its own that is open already.
async fn one(address: &str, request: &[u8]) -> Duration {
    let mut connection = Connection::open(address).await;
    let sent = Instant::now();
    let body = connection.exchange(request).await;
    let took = sent.elapsed();
    assert!(is_result(body), "{}", String::from_utf8_lossy(body));
    took
}

/// Waits until as many containers wait as there should be.
async fn until_full(metrics: &str) {
    let end = Instant::now() + REFILL;
    loop {
        let ready = idle(metrics).await;
        if ready >= POOL {
            // The last one made still costs a little beyond its being ready.
            sleep(Duration::from_millis(100)).await;
            return;
        }
        assert!(Instant::now() < end, "{ready} of {POOL} containers wait");
        sleep(Duration::from_millis(50)).await;
    }
}

/// How many containers wait.
pub(crate) async fn idle(metrics: &str) -> usize {
    let page = testkit::http::exchange(metrics, "GET", "/metrics", &[], b"");
    let text = page.await.text();
    let line = text
        .lines()
        .find(|line| line.starts_with("mcp_sandbox_pool_size{engine=\"docker\"}"));
    let count = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    count.unwrap_or(0)
}
