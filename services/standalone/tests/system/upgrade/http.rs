//! U-201 to U-218: HTTP and the protocol.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::http::{Answer, exchange};
use testkit::issuer::{AUDIENCE, ISSUER, Issuer};
use testkit::mcp::{Client, Era};

use super::{checks, document, serve};
use crate::piped::Piped;

checks! {
    "U-201" "U-202" "U-203" => there_are_no_sessions,
    "U-204" => changes_are_told_where_somebody_listens,
    "U-205" => answers_are_json_until_they_take_long,
    "U-206" => old_versions_are_answered_with_one_that_is_served,
    "U-207" "U-208" => hosts_and_origins,
    "U-209" "U-215" => paths,
    "U-210" "U-211" => statuses_and_codes,
    "U-212" "U-213" "U-217" => tokens,
    "U-214" => readiness_names_what_fails,
    "U-218" => long_answers_are_compressed,
    "U-216" => the_version_is_the_programs_own,
}

const NODE: (&str, &str) = ("MCP_EXECUTION_ENGINE", "node");

/// What a client of the Node server sends, with these headers besides.
pub(super) async fn post(address: &str, path: &str, more: &[(&str, &str)], body: &str) -> Answer {
    let usual = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    let mut headers: Vec<(&str, &str)> = usual.to_vec();
    headers.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    headers.extend(more);
    exchange(address, "POST", path, &headers, body.as_bytes()).await
}

pub(super) fn request(method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

fn initialize(version: &str) -> String {
    let client = json!({"name": "test", "version": "1"});
    let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": client});
    request("initialize", params)
}

async fn there_are_no_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[]).await;
    let at = client.address.as_str();
    let opened = post(at, "/mcp", &[], &initialize("2025-11-25")).await;
    assert_eq!(opened.status, 200);
    assert_eq!(opened.headers.get("mcp-session-id"), None);
    let list = request("tools/list", json!({}));
    for headers in [&[][..], &[("mcp-session-id", "of-another-server")]] {
        let listed = post(at, "/mcp", headers, &list).await;
        assert_eq!(listed.status, 200, "{}", listed.text());
        assert!(listed.json()["result"]["tools"].is_array());
    }
    for method in ["GET", "DELETE"] {
        let headers = [("mcp-session-id", "x"), ("accept", "text/event-stream")];
        let answer = exchange(at, method, "/mcp", &headers, b"").await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.headers["allow"], "POST", "{method}");
    }
    program.stop().await;
}

async fn changes_are_told_where_somebody_listens() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[]).await;
    let answer = post(&client.address, "/mcp", &[], &initialize("2025-11-25")).await;
    let capabilities = &answer.json()["result"]["capabilities"];
    assert_eq!(capabilities["tools"], json!({}), "{capabilities}");
    program.stop().await;
    let mut piped = Piped::start(folder.path(), &["--execution-engine", "node"]);
    piped.initialize().await;
    let tool = json!({"name": "is.new", "description": "d", "code": "return 1"});
    piped
        .call(2, "dynamic.tool.create", json!({"tool": tool}))
        .await;
    let (mut told, mut answered) = (false, false);
    while !(told && answered) {
        let message = piped.next().await.unwrap();
        told |= message["method"] == "notifications/tools/list_changed";
        answered |= message["id"] == 2;
    }
    piped.close();
    piped.ended(Duration::from_secs(20)).await;
}

async fn answers_are_json_until_they_take_long() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[NODE]).await;
    for (code, kind) in [
        ("return 1", "application/json"),
        (
            "await new Promise((done) => setTimeout(done, 1500)); return 1",
            "text/event-stream",
        ),
    ] {
        let params = json!({"name": "run_js_ephemeral", "arguments": {"code": code}});
        let answer = post(&client.address, "/mcp", &[], &request("tools/call", params)).await;
        assert!(
            answer.headers["content-type"].starts_with(kind),
            "{:?}",
            answer.headers
        );
        let last = answer.messages().pop().unwrap();
        assert_eq!(last["result"]["structuredContent"]["result"], 1, "{last}");
    }
    program.stop().await;
}

async fn old_versions_are_answered_with_one_that_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[]).await;
    for (asked, got) in [
        ("2024-10-07", "2025-11-25"),
        ("2024-11-05", "2025-11-25"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
    ] {
        let answer = post(&client.address, "/mcp", &[], &initialize(asked)).await;
        assert_eq!(answer.json()["result"]["protocolVersion"], got, "{asked}");
    }
    let modern = Client::new(&client.address, Era::Modern);
    assert!(modern.names().await.contains(&"system.health".to_owned()));
    program.stop().await;
}

async fn hosts_and_origins() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[]).await;
    let at = client.address.as_str();
    let list = request("tools/list", json!({}));
    let foreign = post(at, "/mcp", &[("origin", "https://page.example")], &list).await;
    assert_eq!(foreign.status, 403);
    let said = &document::line("U-207").said[0];
    assert_eq!(foreign.json()["error"]["message"], json!(said));
    let local = post(at, "/mcp", &[("origin", "http://localhost:3000")], &list).await;
    assert_eq!(local.status, 200);
    let host = [("host", "page.example")];
    assert_eq!(post(at, "/mcp", &host, &list).await.status, 403);
    for path in ["/livez", "/readyz", "/health", "/metrics"] {
        let answer = exchange(at, "GET", path, &host, b"").await;
        assert_eq!(answer.status, 200, "{path}");
    }
    program.stop().await;
    let allowed = [("MCP_HTTP_ALLOWED_ORIGINS", "https://page.example")];
    let (program, client) = serve(folder.path(), &allowed).await;
    let origin = [("origin", "https://page.example")];
    assert_eq!(
        post(&client.address, "/mcp", &origin, &list).await.status,
        200
    );
    program.stop().await;
}

async fn paths() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[("MCP_PATH", "tools")]).await;
    let list = request("tools/list", json!({}));
    for (path, status) in [
        ("/tools", 200),
        ("/tools/", 404),
        ("/Tools", 404),
        ("/mcp", 404),
    ] {
        let answer = post(&client.address, path, &[], &list).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.json()["jsonrpc"], "2.0", "{path}");
    }
    program.stop().await;
}

async fn statuses_and_codes() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[("MCP_HTTP_MAX_REQUEST_BYTES", "1000")]).await;
    let at = client.address.as_str();
    let list = request("tools/list", json!({}));
    let large = "x".repeat(1_001);
    for (headers, body, status) in [
        (&[("content-type", "text/plain")][..], &list, 415),
        (&[("accept", "application/json")], &list, 406),
        (&[], &large, 413),
    ] {
        let answer = post(at, "/mcp", headers, body).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        let error = &answer.json()["error"];
        assert_eq!(error["code"], status, "{error}");
        assert!(error["data"]["code"].is_string(), "{error}");
    }
    let unreadable = post(at, "/mcp", &[], "{").await;
    assert_eq!(
        (unreadable.status, &unreadable.json()["error"]["code"]),
        (400, &json!(-32_700))
    );
    program.stop().await;
}

async fn readiness_names_what_fails() {
    // A gateway whose registry is not there.
    let folder = tempfile::tempdir().unwrap();
    let keys = testkit::keys::write_pair(folder.path());
    let registry = format!("unix:{}", folder.path().join("none.sock").display());
    let env = [
        ("MCP_PORT", "0"),
        ("MCP_REGISTRY_URL", registry.as_str()),
        ("MCP_INTERNAL_SIGNING_KEY_FILE", keys.private.as_str()),
        ("MCP_GATEWAY_ALLOW_DOCKER_SOCKET", "true"),
    ];
    let binary = crate::deployment::binary("gateway");
    let mut gateway = testkit::process::Program::start(&binary, folder.path(), &[], &env);
    let address = gateway
        .field_of_line("\"listener\":\"http\"", "address")
        .await;
    let answer = exchange(&address, "GET", "/readyz", &[], b"").await;
    assert_eq!(answer.status, 503);
    let body = answer.json();
    assert_eq!(body["status"], "not ready", "{body}");
    assert!(!body["failing"].as_array().unwrap().is_empty(), "{body}");
    gateway.stop().await;
}

async fn long_answers_are_compressed() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[]).await;
    let list = request("tools/list", json!({}));
    for (accepted, encoding) in [("gzip", Some("gzip")), ("identity", None)] {
        let headers = [("accept-encoding", accepted)];
        let answer = post(&client.address, "/mcp", &headers, &list).await;
        let got = answer.headers.get("content-encoding").map(String::as_str);
        assert_eq!(got, encoding, "{accepted}");
    }
    let short = [("accept-encoding", "gzip")];
    let answer = exchange(&client.address, "GET", "/livez", &short, b"").await;
    assert_eq!(answer.headers.get("content-encoding"), None);
    program.stop().await;
}

async fn the_version_is_the_programs_own() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[]).await;
    let answer = post(&client.address, "/mcp", &[], &initialize("2025-11-25")).await;
    let server = answer.json()["result"]["serverInfo"].clone();
    assert_eq!(server["name"], "dynamic-mcp");
    assert_eq!(server["version"], env!("CARGO_PKG_VERSION"));
    let health = client.ok("system.health", json!({})).await;
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    program.stop().await;
}

/// Tokens as the Node server's settings describe them.
async fn tokens() {
    let issuer = Issuer::default();
    let pem = issuer.public_pem();
    let env = [
        NODE,
        ("MCP_AUTH_MODE", "jwt"),
        ("MCP_AUTH_PUBLIC_KEY", pem.as_str()),
        ("MCP_AUTH_ISSUER", ISSUER),
        ("MCP_AUTH_AUDIENCE", AUDIENCE),
        ("MCP_AUTH_REQUIRED_SCOPES", "mcp.invoke"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &env).await;
    let scopes = "mcp.invoke mcp:invoke";
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap().as_secs();
    let none = "nothing".to_owned();
    for (status, token) in [
        (200, issuer.token("me", scopes, &json!({}))),
        (200, issuer.token("me", scopes, &json!({"exp": now - 10}))),
        (401, issuer.token("me", scopes, &json!({"exp": now - 40}))),
        (401, issuer.token("me", scopes, &json!({"exp": null}))),
        (401, issuer.token("me", scopes, &json!({"sub": null}))),
        (401, issuer.token("me", scopes, &json!({"aud": "another"}))),
        (401, Issuer::default().token("me", scopes, &json!({}))),
        (401, none),
        (403, issuer.token("me", "mcp:invoke", &json!({}))),
        (403, issuer.token("me", "mcp.invoke", &json!({}))),
    ] {
        let bearer = format!("Bearer {token}");
        let params = json!({"name": "run_js_ephemeral", "arguments": {"code": "return 1"}});
        let headers = [("authorization", bearer.as_str())];
        let body = request("tools/call", params);
        let answer = post(&client.address, "/mcp", &headers, &body).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(
            answer.headers.contains_key("www-authenticate"),
            status != 200
        );
    }
    let missing = post(&client.address, "/mcp", &[], "{}").await;
    assert_eq!(
        missing.status, 401,
        "the check of the Node server's runbook"
    );
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(
            exchange(&client.address, "GET", path, &[], b"")
                .await
                .status,
            200,
            "{path}"
        );
    }
    program.stop().await;
}
