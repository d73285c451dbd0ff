//! What a gateway may not have, and what never leaves it: rows 101 and 106 of the threats.

use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::IntoResponse as _;
use serde_json::json;
use testkit::http::exchange;
use testkit::mcp::{Client, Era};
use testkit::process::Program;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::deployment::binary;
use crate::start::run;

/// Stands in headers of callers; none of it may come out behind the gateway.
const CANARY: &str = "canary-5f1d";

#[tokio::test]
async fn a_gateway_that_could_use_docker_or_a_database_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let keys = testkit::keys::write_pair(folder.path());
    let key = ("MCP_INTERNAL_SIGNING_KEY_FILE", keys.private.as_str());
    let run_with = async |more: &[(&str, &str)]| {
        let env = [&[key], more].concat();
        run("gateway", folder.path(), &["--check-config"], &env).await
    };
    // A socket that this very user may use, where Docker Desktop has it.
    let home = folder.path().join("home/.docker/run");
    std::fs::create_dir_all(&home).unwrap();
    let _socket = UnixListener::bind(home.join("docker.sock")).unwrap();
    let home = folder.path().join("home").display().to_string();
    let ended = run_with(&[("HOME", &home)]).await;
    ended.assert(
        78,
        &["MCP_GATEWAY_ALLOW_DOCKER_SOCKET", "docker.sock", "fix:"],
    );

    let allowed = ("MCP_GATEWAY_ALLOW_DOCKER_SOCKET", "true");
    run_with(&[allowed, ("HOME", &home)]).await.assert(0, &[]);
    for (name, value) in [
        ("DOCKER_HOST", "unix:///nowhere.sock"),
        ("MCP_DYNAMIC_PG_URL", "postgres://u:canary@db/x"),
        ("DATABASE_URL", "postgres://u:canary@db/x"),
        ("PGPASSWORD", "canary"),
    ] {
        let ended = run_with(&[allowed, (name, value)]).await;
        ended.assert(78, &[name, "unset it here"]);
        assert!(!format!("{ended:?}").contains("canary"), "{ended:#?}");
    }
    // A key that others can read is no key.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&keys.private, open).unwrap();
    let ended = run_with(&[allowed]).await;
    ended.assert(
        78,
        &["MCP_INTERNAL_SIGNING_KEY_FILE", "mode 0644", "chmod 600"],
    );
}

/// Row 101. A registry that keeps what it is sent: whatever headers callers send, the requests
/// behind the gateway carry ours and no others.
#[tokio::test]
async fn headers_of_callers_never_reach_the_services() {
    let folder = tempfile::tempdir().unwrap();
    let seen: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
    let kept = Arc::clone(&seen);
    let registry = Router::new().fallback(move |request: Request| {
        kept.lock().unwrap().push(request.headers().clone());
        async { [("content-type", "application/grpc"), ("grpc-status", "12")].into_response() }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, registry).await.unwrap() });
    let keys = testkit::keys::write_pair(folder.path());
    let env = [
        ("MCP_PORT", "0"),
        ("MCP_REGISTRY_URL", url.as_str()),
        ("MCP_INTERNAL_SIGNING_KEY_FILE", keys.private.as_str()),
        ("MCP_GATEWAY_ALLOW_DOCKER_SOCKET", "true"),
    ];
    let mut gateway = Program::start(&binary("gateway"), folder.path(), &[], &env);
    let address = gateway
        .field_of_line("\"listener\":\"http\"", "address")
        .await;
    let mut client = Client::new(&address, Era::Legacy);
    for name in [
        "x-dmcp-ctx",
        "dmcp-ctx-bin",
        "dynamic-mcp-identity",
        "dynamic-mcp-budget-ms",
        "dynamic-mcp-idempotency-key",
        "grpc-timeout",
        "grpc-metadata-x",
        "authority",
        "x-forwarded-for",
        "x-user",
        "authorization",
        "cookie",
        "user-agent",
        "tracestate",
    ] {
        client.headers.push((name.to_owned(), CANARY.to_owned()));
    }
    let before = seen.lock().unwrap().len();
    let tool = json!({"name": "any.tool", "description": "d", "code": "return 1"});
    let end = Instant::now() + Duration::from_secs(20);
    let create = json!({"name": "dynamic.tool.create", "arguments": {"tool": tool}});
    while seen.lock().unwrap().len() < before + 3 {
        client.send("tools/call", create.clone()).await;
        assert!(Instant::now() < end, "{:#?}", gateway.log());
        sleep(Duration::from_millis(20)).await;
    }
    let ours = [
        "content-type",
        "te",
        "user-agent",
        "dynamic-mcp-identity",
        "dynamic-mcp-budget-ms",
        "x-request-id",
        "traceparent",
        "tracestate",
    ];
    for headers in seen.lock().unwrap().iter() {
        for (name, value) in headers {
            assert!(ours.contains(&name.as_str()), "{name}: {value:?}");
            assert!(!format!("{value:?}").contains(CANARY), "{name}: {value:?}");
        }
        assert_eq!(headers.get_all("dynamic-mcp-identity").iter().count(), 1);
    }
    let health = exchange(&address, "GET", "/livez", &[], b"").await;
    assert_eq!(health.status, 200);
    gateway.stop().await;
}
