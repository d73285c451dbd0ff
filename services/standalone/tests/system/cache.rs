//! The response cache of real programs, with a real Redis that is shared, hung and killed.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::certificates::{self, Authority};
use testkit::mcp::{Client, Era};
use testkit::process::Program;
use testkit::redis::Redis;
use tokio::time::{Instant, sleep};

use crate::deployment::{Deployment, Kind, binary};

/// Longest time of one call while Redis does not answer: unoptimised programs on a busy machine.
const BEARABLE: Duration = Duration::from_secs(3);
/// How long Redis may take to be used again once it is back.
const BACK: Duration = Duration::from_secs(20);

/// A tool that answers something else each time that it runs.
async fn dice(client: &Client, name: &str, scope: &str) {
    let tool = json!({
        "name": name, "description": "Of a test.", "code": "return Math.random()",
        "cache": {"ttlSeconds": 600, "scope": scope}, "inputSchema": {"type": "object"},
    });
    client
        .ok("dynamic.tool.create", json!({"tool": tool}))
        .await;
}

/// The number, and whether it came from the cache.
async fn throw(client: &Client, tool: &str, at: u32) -> (Value, bool) {
    let result = client.call(tool, json!({"at": at})).await;
    assert_ne!(result["isError"], json!(true), "{result}");
    let hit = result["_meta"]["dynamic-mcp/cache"]["hit"] == json!(true);
    (result["structuredContent"]["result"].clone(), hit)
}

/// Waits until a second call of the same kind is a hit.
async fn until_cached(client: &Client, tool: &str, from: u32) {
    let end = Instant::now() + BACK;
    for at in from.. {
        let (made, _) = throw(client, tool, at).await;
        let (again, hit) = throw(client, tool, at).await;
        if hit {
            assert_eq!(made, again);
            return;
        }
        assert!(Instant::now() < end, "Redis is not used again");
        sleep(Duration::from_millis(100)).await;
    }
}

async fn health(address: &str) -> Value {
    let answer = testkit::http::exchange(address, "GET", "/health", &[], b"").await;
    let page: Value = serde_json::from_str(&answer.text()).unwrap();
    page["checks"]["cache"].clone()
}

async fn metric(address: &str, line: &str) -> u64 {
    let answer = testkit::http::exchange(address, "GET", "/metrics", &[], b"").await;
    let text = answer.text();
    let found = text
        .lines()
        .find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("no {line}:\n{text}"))
}

/// Calls run while Redis is away, none of them slowly, and the page says what is wrong.
async fn goes_on_without(deployment: &Deployment, client: &Client, from: u32) {
    let started = Instant::now();
    for at in from..from + 10 {
        let begun = Instant::now();
        let (_, hit) = throw(client, "dice.tool", at).await;
        assert!(!hit && begun.elapsed() < BEARABLE, "{:?}", begun.elapsed());
    }
    assert!(started.elapsed() < 2 * BEARABLE, "{:?}", started.elapsed());
    let check = health(&deployment.address).await;
    assert_eq!(check["status"], "unhealthy", "{check}");
    assert_eq!(check["responses"]["connected"], false, "{check}");
    assert_eq!(metric(&deployment.address, "mcp_redis_up ").await, 0);
    // What runs without it is ready without it.
    assert_eq!(deployment.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn gateways_share_answers_and_go_on_without_redis() {
    let mut redis = Redis::start().await;
    let url = redis.url();
    let password = url.split([':', '@']).nth(2).unwrap().to_owned();
    let deployment = Deployment::start(Kind::Three, &[("REDIS_URL", &url)]).await;
    let (mut second, there) = second_gateway(&deployment, &url).await;
    let here = deployment.client(Era::Modern);
    dice(&here, "dice.tool", "caller").await;
    until_cached(&here, "dice.tool", 1_000).await;
    let check = health(&deployment.address).await;
    assert_eq!(check["status"], "healthy", "{check}");
    assert_eq!(
        check["responses"],
        json!({"backend": "redis", "connected": true,
        "rateLimits": "per gateway"})
    );

    // What one has made, the other serves.
    let (made, hit) = throw(&here, "dice.tool", 1).await;
    assert!(!hit);
    let end = Instant::now() + BACK;
    let shared = loop {
        // The other has to know the tool first, and be connected.
        let response = there.response(
            "tools/call",
            json!({"name": "dice.tool", "arguments": {"at": 1}}),
        );
        let result = response.await["result"].clone();
        if result["_meta"]["dynamic-mcp/cache"]["hit"] == json!(true) {
            break result["structuredContent"]["result"].clone();
        }
        assert!(Instant::now() < end, "{result}");
        sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(shared, made);
    let keys = redis.ask("DBSIZE").await;
    assert!(keys.starts_with(':') && keys != ":0\r\n", "{keys}");
    assert!(
        !redis.ask("RANDOMKEY").await.contains("dice"),
        "keys say nothing"
    );

    // It hangs: it takes what it is sent and answers nothing.
    redis.pause();
    goes_on_without(&deployment, &here, 100).await;
    assert!(
        metric(
            &deployment.address,
            "mcp_redis_failures_total{kind=\"timeout\"} "
        )
        .await
            < 5
    );
    redis.unpause();
    until_cached(&here, "dice.tool", 2_000).await;
    assert_eq!(health(&deployment.address).await["status"], "healthy");

    // It dies, and comes back empty.
    redis.kill().await;
    goes_on_without(&deployment, &here, 200).await;
    redis.resume().await;
    until_cached(&here, "dice.tool", 3_000).await;
    let (_, hit) = throw(&here, "dice.tool", 1).await;
    assert!(!hit, "what it held is gone");
    assert!(
        metric(
            &deployment.address,
            "mcp_response_cache_lookups_total{outcome=\"hit\"} "
        )
        .await
            >= 3
    );

    // It answers, and refuses: no memory left.
    redis.ask("CONFIG SET maxmemory 1").await;
    let (_, hit) = throw(&here, "dice.tool", 4_000).await;
    let (_, again) = throw(&here, "dice.tool", 4_000).await;
    assert!(!hit && !again);
    assert_eq!(
        health(&deployment.address).await["status"],
        "healthy",
        "it is there"
    );
    assert!(
        metric(
            &deployment.address,
            "mcp_redis_failures_total{kind=\"refused\"} "
        )
        .await
            >= 1
    );

    for log in [deployment.front.log(), second.log()] {
        let text = log.join("\n");
        assert!(!text.contains(&password), "the password is in the log");
        assert!(text.contains("Redis is there"), "{text}");
    }
    assert!(!second.has_ended());
    second.stop().await;
    deployment.stop().await;
}

/// A gateway beside that of the deployment, with the same Redis.
async fn second_gateway(deployment: &Deployment, url: &str) -> (Program, Client) {
    let place = |name: &str| format!("unix:{}", deployment.folder().join(name).display());
    let key = deployment
        .folder()
        .join("service.pem")
        .display()
        .to_string();
    let env = [
        ("MCP_PORT", "0"),
        ("MCP_REGISTRY_URL", &*place("registry.sock")),
        ("MCP_EXECUTOR_URLS", &*place("executor.sock")),
        ("MCP_INTERNAL_SIGNING_KEY_FILE", &key),
        ("MCP_GATEWAY_ALLOW_DOCKER_SOCKET", "true"),
        ("MCP_HTTP_MAX_LAG_MS", "0"),
        ("REDIS_URL", url),
    ];
    let mut gateway = Program::start(&binary("gateway"), deployment.folder(), &[], &env);
    let address = gateway
        .field_of_line("\"listener\":\"http\"", "address")
        .await;
    gateway
        .field_of_line("\"message\":\"ready\"", "program")
        .await;
    (gateway, Client::new(&address, Era::Modern))
}

#[tokio::test]
async fn a_program_starts_without_its_redis_and_audits_what_is_cached() {
    let env = [
        // Nothing listens there.
        ("REDIS_URL", "redis://127.0.0.1:1"),
        ("MCP_AUDIT_ENABLED", "true"),
    ];
    let deployment = Deployment::start(Kind::Direct, &env).await;
    let client = deployment.client(Era::Modern);
    dice(&client, "dice.tool", "tenant").await;
    goes_on_without(&deployment, &client, 1).await;
    deployment.stop().await;

    let deployment = Deployment::start(Kind::Direct, &env[1..]).await;
    let client = deployment.client(Era::Modern);
    dice(&client, "dice.tool", "tenant").await;
    let (made, first) = throw(&client, "dice.tool", 1).await;
    let (again, second) = throw(&client, "dice.tool", 1).await;
    assert!(!first && second && made == again);
    let folder = deployment.stop_keeping().await;
    let records = testkit::audit::records(&folder.path().join(".dynamic-mcp/audit.log"));
    let of_calls: Vec<_> = records
        .iter()
        .filter(|record| record["action"] == "dynamic.exec")
        .collect();
    let results: Vec<_> = of_calls
        .iter()
        .map(|record| record["result"].as_str().unwrap())
        .collect();
    assert_eq!(results, ["begun", "success", "begun", "success"]);
    let cached: Vec<_> = of_calls
        .iter()
        .map(|record| &record["details"]["cached"])
        .collect();
    assert_eq!(
        cached,
        [&Value::Null, &Value::Null, &json!(true), &json!(true)]
    );
}

#[tokio::test]
async fn redis_over_tls_is_checked_against_the_authority_that_is_named() {
    let authority = Authority::new("of Redis");
    let redis = Redis::start_tls(&authority.service("redis")).await;
    let folder = tempfile::tempdir().unwrap();
    certificates::write(&folder.path().join("ca.pem"), &authority.pem);
    certificates::write(
        &folder.path().join("other.pem"),
        &Authority::new("other").pem,
    );
    let url = redis.url();
    let env = [("REDIS_URL", url.as_str()), ("REDIS_TLS_CA", "ca.pem")];
    let deployment = Deployment::start_in(Kind::Direct, folder, &env).await;
    let client = deployment.client(Era::Modern);
    dice(&client, "dice.tool", "caller").await;
    until_cached(&client, "dice.tool", 1).await;
    let folder = deployment.stop_keeping().await;

    let env = [("REDIS_URL", url.as_str()), ("REDIS_TLS_CA", "other.pem")];
    let mut deployment = Deployment::start_in(Kind::Direct, folder, &env).await;
    let why = deployment
        .front
        .field_of_line("Redis does not answer", "why")
        .await;
    assert!(why.contains("certificate"), "{why}");
    goes_on_without(&deployment, &deployment.client(Era::Modern), 1_000).await;
    deployment.stop().await;
}
