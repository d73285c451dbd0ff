//! Many clients at once: exactly one wins, limits hold to the call, and the counts add up.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use testkit::mcp::{Client, Era};
use tokio::time::{Instant, sleep};

use crate::deployment::{Deployment, Kind};

/// Clients of both eras by turns.
fn client(deployment: &Deployment, number: usize) -> Client {
    deployment.client([Era::Modern, Era::Legacy][number % 2])
}

fn tool(name: &str, code: &str) -> Value {
    json!({"tool": {"name": name, "description": "Of a test.", "code": code}})
}

/// `None` for success, else the code.
fn refused(result: &Value) -> Option<String> {
    let failed = result["isError"] == json!(true);
    failed.then(|| {
        let code = result["structuredContent"]["code"].as_str();
        code.unwrap_or_else(|| panic!("no code in {result}"))
            .to_owned()
    })
}

/// Sends the same call from so many clients at once.
async fn at_once(
    deployment: &Deployment,
    count: usize,
    call: impl Fn(usize) -> (String, Value),
) -> Vec<Value> {
    let calls = (0..count).map(|number| {
        let (name, arguments) = call(number);
        let client = client(deployment, number);
        async move { client.call(&name, arguments).await }
    });
    join_all(calls).await
}

fn count(results: &[Value], code: Option<&str>) -> usize {
    let matches = |result: &&Value| refused(result).as_deref() == code;
    results.iter().filter(matches).count()
}

const RACES: &[(&str, &str)] = &[
    ("MCP_TOOL_MAX_CONCURRENCY", "1000"),
    ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "100000"),
];

async fn one_name_is_created_once(kind: Kind) {
    let deployment = Deployment::start(kind, RACES).await;
    let create = |number: usize| {
        let code = format!("return {number}");
        ("dynamic.tool.create".to_owned(), tool("raced.name", &code))
    };
    let results = at_once(&deployment, 64, create).await;
    assert_eq!(count(&results, None), 1, "{results:?}");
    assert_eq!(count(&results, Some("already_exists")), 63, "{results:?}");
    let winner = results.iter().position(|result| refused(result).is_none());
    let client = client(&deployment, 0);
    let answer = client.ok("raced.name", json!({})).await;
    assert_eq!(
        answer["result"],
        json!(winner.unwrap()),
        "the acknowledged one is kept"
    );
    deployment.stop().await;
}

#[tokio::test]
async fn one_name_is_created_once_direct() {
    one_name_is_created_once(Kind::Direct).await;
}

#[tokio::test]
async fn one_name_is_created_once_three_processes() {
    one_name_is_created_once(Kind::Three).await;
}

async fn one_writer_wins_each_round(kind: Kind) {
    let deployment = Deployment::start(kind, RACES).await;
    let client = client(&deployment, 0);
    client
        .ok("dynamic.tool.create", tool("raced.update", "return 'none'"))
        .await;
    for round in 1..=20_u64 {
        let update = |writer: usize| {
            let patch = json!({"code": format!("return {writer}")});
            let arguments =
                json!({"name": "raced.update", "patch": patch, "expectedRevision": round});
            ("dynamic.tool.update".to_owned(), arguments)
        };
        let results = at_once(&deployment, 8, update).await;
        assert_eq!(count(&results, None), 1, "round {round}: {results:?}");
        assert_eq!(count(&results, Some("revision_conflict")), 7, "{results:?}");
        let winner = results.iter().position(|result| refused(result).is_none());
        let made = &results[winner.unwrap()]["structuredContent"]["tool"];
        assert_eq!(made["revision"], json!(round + 1));
        let answer = client.ok("raced.update", json!({})).await;
        assert_eq!(answer["result"], json!(winner.unwrap()), "round {round}");
    }
    deployment.stop().await;
}

#[tokio::test]
async fn one_writer_wins_each_round_direct() {
    one_writer_wins_each_round(Kind::Direct).await;
}

#[tokio::test]
async fn one_writer_wins_each_round_three_processes() {
    one_writer_wins_each_round(Kind::Three).await;
}

async fn max_tools_holds_under_concurrent_creates(kind: Kind) {
    let env = [RACES, &[("MCP_DYNAMIC_MAX_TOOLS", "16")]].concat();
    let deployment = Deployment::start(kind, &env).await;
    let create = |number: usize| {
        let name = format!("crowd.{number:02}");
        ("dynamic.tool.create".to_owned(), tool(&name, "return 1"))
    };
    let results = at_once(&deployment, 32, create).await;
    assert_eq!(count(&results, None), 16, "{results:?}");
    assert_eq!(count(&results, Some("limit_exceeded")), 16, "{results:?}");
    let client = client(&deployment, 0);
    let names = client.names().await;
    let made = names.iter().filter(|name| name.starts_with("crowd."));
    assert_eq!(made.count(), 16);
    let one = names.iter().find(|name| name.starts_with("crowd."));
    let gone = json!({"name": one.unwrap()});
    client.ok("dynamic.tool.delete", gone).await;
    client
        .ok("dynamic.tool.create", tool("crowd.next", "return 1"))
        .await;
    deployment.stop().await;
}

#[tokio::test]
async fn max_tools_holds_direct() {
    max_tools_holds_under_concurrent_creates(Kind::Direct).await;
}

#[tokio::test]
async fn max_tools_holds_three_processes() {
    max_tools_holds_under_concurrent_creates(Kind::Three).await;
}

/// Waits until so many guarded calls run.
async fn wait_active(client: &Client, wanted: u64) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let report = client.ok("system.guard_metrics", json!({})).await;
        if report["activeExecutions"] == json!(wanted) {
            return;
        }
        assert!(Instant::now() < end, "never {wanted} active: {report}");
        sleep(Duration::from_millis(20)).await;
    }
}

const SLOW: &str = "await new Promise(done => setTimeout(done, args.millis ?? 1500)); \
                    return {revision: ctx.tool.revision, says: 'old'}";

async fn a_running_call_keeps_its_revision(kind: Kind) {
    let deployment = Deployment::start(kind, &[("MCP_PROFILE", "enterprise")]).await;
    let client = client(&deployment, 0);
    client
        .ok("dynamic.tool.create", tool("slow.tool", SLOW))
        .await;
    let running = client.ok("slow.tool", json!({}));
    let meanwhile = async {
        wait_active(&client, 1).await;
        let patch = json!({"code": "return {revision: ctx.tool.revision, says: 'new'}"});
        let change = json!({"name": "slow.tool", "patch": patch});
        client.ok("dynamic.tool.update", change).await;
        let next = client.ok("slow.tool", json!({})).await;
        (next["result"].clone(), Instant::now())
    };
    let ended = async { (running.await["result"].clone(), Instant::now()) };
    let ((old, old_at), (new, new_at)) = tokio::join!(ended, meanwhile);
    assert_eq!(new, json!({"revision": 2, "says": "new"}));
    assert_eq!(old, json!({"revision": 1, "says": "old"}));
    assert!(new_at < old_at, "the old one was still running");
    deployment.stop().await;
}

#[tokio::test]
async fn a_running_call_keeps_its_revision_direct() {
    a_running_call_keeps_its_revision(Kind::Direct).await;
}

#[tokio::test]
async fn a_running_call_keeps_its_revision_three_processes() {
    a_running_call_keeps_its_revision(Kind::Three).await;
}

/// The counts of one scope; every call is in exactly one of three.
async fn scope(client: &Client, name: &str) -> Value {
    let report = client.ok("system.guard_metrics", json!({})).await;
    let scopes = report["scopes"].as_array().unwrap();
    for scope in scopes {
        let of = |field: &str| scope[field].as_u64().unwrap();
        let parts = of("allowed") + of("rejectedRate") + of("rejectedConcurrency");
        assert_eq!(of("total"), parts, "{scope}");
        assert!(of("failed") <= of("allowed"), "{scope}");
    }
    let found = scopes.iter().find(|scope| scope["scope"] == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {report}"))
        .clone()
}

fn counts(name: &str, allowed: u64, rate: u64, concurrency: u64, failed: u64) -> Value {
    json!({
        "scope": name, "total": allowed + rate + concurrency, "allowed": allowed,
        "rejectedRate": rate, "rejectedConcurrency": concurrency, "failed": failed
    })
}

/// Checks that each refusal with `code` says when to come back, at most `most` milliseconds later.
/// A place in a window of calls may come free a fifteenth of it late.
fn assert_retry_after(results: &[Value], code: &str, most: u64) {
    for result in results {
        if refused(result).as_deref() != Some(code) {
            continue;
        }
        let after = result["structuredContent"]["retryAfterMs"].as_u64();
        assert!(
            after.is_some_and(|after| (1..=most).contains(&after)),
            "{result}"
        );
    }
}

async fn the_concurrency_limit_is_exact(kind: Kind) {
    let env = [
        ("MCP_PROFILE", "enterprise"),
        ("MCP_TOOL_MAX_CONCURRENCY", "3"),
    ];
    let deployment = Deployment::start(kind, &env).await;
    let client = client(&deployment, 0);
    client
        .ok("dynamic.tool.create", tool("slow.tool", SLOW))
        .await;
    let slow = |_| ("slow.tool".to_owned(), json!({"args": {"millis": 2500}}));
    let results = at_once(&deployment, 10, slow).await;
    assert_eq!(count(&results, None), 3, "{results:?}");
    assert_eq!(count(&results, Some("overloaded")), 7, "{results:?}");
    assert_retry_after(&results, "overloaded", 60_000);
    wait_active(&client, 0).await;
    client.ok("slow.tool", json!({"args": {"millis": 1}})).await;
    let code = client
        .refusal("run_js_ephemeral", json!({"code": "throw new Error('no')"}))
        .await;
    assert_eq!(code, "tool_failed");
    let name = "dynamic.exec.slow.tool";
    assert_eq!(scope(&client, name).await, counts(name, 4, 0, 7, 0));
    let name = "run_js_ephemeral";
    assert_eq!(scope(&client, name).await, counts(name, 1, 0, 0, 1));
    let (_, metrics) = deployment.get("/metrics").await;
    let line = "mcp_guard_rejections_total{kind=\"concurrency\"} 7";
    assert!(metrics.lines().any(|one| one == line), "{metrics}");
    deployment.stop().await;
}

#[tokio::test]
async fn fault_79_the_concurrency_limit_is_exact_direct() {
    the_concurrency_limit_is_exact(Kind::Direct).await;
}

#[tokio::test]
async fn fault_79_the_concurrency_limit_is_exact_three_processes() {
    the_concurrency_limit_is_exact(Kind::Three).await;
}

#[tokio::test]
async fn the_rate_limit_is_exact_and_says_when_to_come_back() {
    let env = [
        ("MCP_PROFILE", "enterprise"),
        ("MCP_TOOL_MAX_CONCURRENCY", "100"),
        ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "5"),
        ("MCP_TOOL_RATE_WINDOW_MS", "4000"),
    ];
    let deployment = Deployment::start(Kind::Direct, &env).await;
    let client = client(&deployment, 0);
    for name in ["rated.one", "rated.two"] {
        client
            .ok("dynamic.tool.create", tool(name, "return 1"))
            .await;
    }
    let call = |_| ("rated.one".to_owned(), json!({}));
    let results = at_once(&deployment, 12, call).await;
    assert_eq!(count(&results, None), 5, "{results:?}");
    assert_eq!(count(&results, Some("rate_limited")), 7, "{results:?}");
    assert_retry_after(&results, "rate_limited", 4_000 + 4_000 / 15);
    client.ok("rated.two", json!({})).await;
    let late = client.call("rated.one", json!({})).await;
    let wait = late["structuredContent"]["retryAfterMs"].as_u64().unwrap();
    sleep(Duration::from_millis(wait)).await;
    client.ok("rated.one", json!({})).await;
    let name = "dynamic.exec.rated.one";
    assert_eq!(scope(&client, name).await, counts(name, 6, 8, 0, 0));
    let name = "dynamic.exec.rated.two";
    assert_eq!(scope(&client, name).await, counts(name, 1, 0, 0, 0));
    deployment.stop().await;
}

#[tokio::test]
async fn a_tool_has_a_rate_limit_of_its_own() {
    let deployment = Deployment::start(Kind::Three, &[("MCP_PROFILE", "enterprise")]).await;
    let client = client(&deployment, 0);
    let mut rated = tool("rated.own", "return 1");
    rated["tool"]["rateLimit"] = json!({"maxCalls": 2, "windowMs": 60_000});
    client.ok("dynamic.tool.create", rated).await;
    let call = |_| ("rated.own".to_owned(), json!({}));
    let results = at_once(&deployment, 6, call).await;
    assert_eq!(count(&results, None), 2, "{results:?}");
    assert_eq!(count(&results, Some("rate_limited")), 4, "{results:?}");
    assert_retry_after(&results, "rate_limited", 60_000 + 60_000 / 15);
    let change = json!({"name": "rated.own", "patch": {"rateLimit": null}});
    client.ok("dynamic.tool.update", change).await;
    client.ok("rated.own", json!({})).await;
    deployment.stop().await;
}
