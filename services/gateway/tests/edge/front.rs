//! The layers in front of the endpoint, and the other routes.

use axum::body::Body;
use gateway::http::HostRules;
use http::{HeaderName, Request};
use serde_json::json;

use super::fake::ADMIN_TOKEN;
use super::rig::{Answer, Rig, legacy, modern, post, settings};

fn get(path: &str) -> Request<Body> {
    Request::get(path)
        .header("host", "localhost")
        .body(Body::empty())
        .unwrap()
}

#[tokio::test]
async fn every_answer_carries_a_request_id_and_the_security_headers() {
    let rig = Rig::new(true);
    let long = "x".repeat(128);
    let longer = "x".repeat(129);
    for request in [
        || get("/livez"),
        || get("/no/such/path"),
        || get("/mcp"),
        || legacy("ping", json!({})),
        || modern("tools/call", json!({"name": "panics"})),
        || post(&[("host", "evil.example.com")], "{}"),
        || post(&[("origin", "http://evil.example.com")], "{}"),
        || post(&[("x-mcp-admin-token", "wrong")], "{}"),
        || post(&[("content-type", "text/plain")], "{}"),
    ] as [fn() -> Request<Body>; 9]
    {
        for (given, taken) in [
            ("golden-1", true),
            (long.as_str(), true),
            (longer.as_str(), false),
            ("a b", false),
            ("ü", false),
        ] {
            let mut request = request();
            request
                .headers_mut()
                .insert("x-request-id", given.parse().unwrap());
            let answer = rig.answer(request).await;
            let id = answer.header("x-request-id");
            assert_eq!(id == given, taken, "{given}: {id}");
            assert!((1..=128).contains(&id.len()));
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
            assert_eq!(answer.header("x-frame-options"), "DENY");
            assert_eq!(answer.header("referrer-policy"), "no-referrer");
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(answer.header("server"), "");
            let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            if body["error"].is_object() {
                assert_eq!(body["error"]["data"]["requestId"], id, "{body}");
            }
        }
    }
}

#[tokio::test]
async fn hosts_and_origins() {
    let rig = Rig::new(true);
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    for (headers, status) in [
        (&[("host", "127.0.0.1:8788")][..], 200),
        (&[("host", "evil.example.com")], 403),
        (&[("host", "localhost:port")], 400),
        (&[("host", "")], 400),
        (&[("origin", "http://localhost:5173")], 200),
        (&[("origin", "https://evil.example.com")], 403),
        (&[("origin", "null")], 403),
    ] {
        let answer = rig.answer(post(headers, ping.clone())).await;
        assert_eq!(answer.status.as_u16(), status, "{headers:?}");
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    for path in ["/livez", "/readyz", "/metrics", "/health"] {
        let request = Request::get(path)
            .header("host", "10.1.2.3:80")
            .body(Body::empty())
            .unwrap();
        assert_eq!(rig.answer(request).await.status, 200, "{path}");
    }
    let mut open = settings(true);
    open.hosts = HostRules::new(false, &["gw.example.com".to_owned()], &[]).unwrap();
    let rig = Rig::with(open);
    for (host, status) in [
        ("gw.example.com", 200),
        ("gw.example.com:99", 200),
        ("localhost", 403),
    ] {
        let answer = rig.answer(post(&[("host", host)], ping.clone())).await;
        assert_eq!(answer.status.as_u16(), status, "{host}");
    }
}

#[tokio::test]
async fn heads_have_limits() {
    let rig = Rig::new(true);
    let mut request = legacy("ping", json!({}));
    *request.uri_mut() = format!("/mcp?{}", "q".repeat(9_000)).parse().unwrap();
    assert_eq!(rig.answer(request).await.error(), (414, 414));
    let mut request = legacy("ping", json!({}));
    request
        .headers_mut()
        .insert("x-large", "v".repeat(17_000).parse().unwrap());
    assert_eq!(rig.answer(request).await.error(), (431, 431));
    let mut request = legacy("ping", json!({}));
    for number in 0..64 {
        let name = HeaderName::try_from(format!("x-{number}")).unwrap();
        request.headers_mut().insert(name, "v".parse().unwrap());
    }
    assert_eq!(rig.answer(request).await.error(), (431, 431));
}

#[tokio::test]
async fn probes_and_the_health_page() {
    let rig = Rig::new(true);
    let live = rig.answer(get("/livez")).await;
    assert_eq!(live.json(), json!({"status": "ok"}));
    assert_eq!(
        live.header("content-type"),
        "application/json; charset=utf-8"
    );
    assert_eq!(
        rig.answer(get("/readyz")).await.json(),
        json!({"status": "ready"})
    );
    let health = rig.answer(get("/health")).await.json();
    assert_eq!(health["status"], "healthy");
    assert_eq!(
        health["checks"]["registry"],
        json!({"version": 3, "status": "healthy"})
    );
    assert_eq!(
        (&health["version"], &health["commit"]),
        (&json!(bootstrap::VERSION), &json!(bootstrap::COMMIT))
    );
    assert!(
        health["memory"]["rssBytes"].as_u64().unwrap() > 1 << 20,
        "{health}"
    );
    assert!(
        health["uptime"].is_number() && health["timestamp"].is_string(),
        "{health}"
    );

    *rig.fake.healthy.lock() = false;
    let ready = rig.answer(get("/readyz")).await;
    assert_eq!(
        (ready.status.as_u16(), ready.header("retry-after")),
        (503, "1")
    );
    assert_eq!(
        ready.json(),
        json!({"status": "not ready", "failing": ["registry"]})
    );
    let health = rig.answer(get("/health")).await;
    assert_eq!(
        (health.status.as_u16(), &health.json()["status"]),
        (503, &json!("unhealthy"))
    );
    assert_eq!(rig.answer(get("/livez")).await.status, 200);

    *rig.fake.healthy.lock() = true;
    rig.health.set_draining();
    let ready = rig.answer(get("/readyz")).await;
    assert_eq!(
        (ready.status.as_u16(), &ready.json()["failing"]),
        (503, &json!(["draining"]))
    );
}

#[tokio::test]
async fn paths_that_are_not_ours() {
    let rig = Rig::new(true);
    for path in [
        "/",
        "//mcp",
        "/mcp/",
        "/%6dcp",
        "/mcp/..;/",
        "/livez/../mcp",
        "/MCP",
    ] {
        let mut request = legacy("ping", json!({}));
        *request.uri_mut() = path.parse().unwrap();
        assert_eq!(rig.answer(request).await.error(), (404, 404), "{path}");
    }
    let mut elsewhere = settings(true);
    elsewhere.mcp_path = "/api/tools".to_owned();
    elsewhere.metrics = false;
    let rig = Rig::with(elsewhere);
    let mut request = legacy("ping", json!({}));
    *request.uri_mut() = "/api/tools".parse().unwrap();
    assert_eq!(rig.answer(request).await.result(), json!({}));
    assert_eq!(rig.legacy("ping", json!({})).await.status, 404);
    assert_eq!(rig.answer(get("/metrics")).await.status, 404);
}

#[tokio::test]
async fn requests_are_counted_by_method_route_and_status() {
    let rig = Rig::new(true);
    rig.legacy("ping", json!({})).await;
    rig.answer(get("/mcp")).await;
    rig.answer(get("/no/such/path")).await;
    let metrics = rig.answer(get("/metrics")).await;
    assert_eq!(
        metrics.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    for labels in [
        r#"method="POST",route="/mcp",status_code="200""#,
        r#"method="GET",route="/mcp",status_code="405""#,
        r#"method="GET",route="other",status_code="404""#,
    ] {
        assert!(
            text.contains(&format!("mcp_request_duration_seconds_count{{{labels}}} 1")),
            "{text}"
        );
    }
    assert!(!text.contains("no/such"));
}

/// The value of one line of `/metrics`.
async fn metric(rig: &Rig, line: &str) -> f64 {
    let answer = rig.answer(get("/metrics")).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let value = text.lines().find_map(|of| of.strip_prefix(line));
    value.map_or(0.0, |value| value.trim().parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_in_flight_and_measured_until_its_end() {
    const SUM: &str =
        r#"mcp_request_duration_seconds_sum{method="POST",route="/mcp",status_code="200"}"#;
    let rig = Rig::new(true);
    // Asking is a request too.
    assert_eq!(metric(&rig, "mcp_requests_in_flight").await, 1.0);
    let listen = modern("subscriptions/listen", json!({"notifications": {}}));
    let stream = rig.send(listen).await;
    tokio::time::sleep(std::time::Duration::from_secs(9)).await;
    assert_eq!(metric(&rig, "mcp_requests_in_flight").await, 2.0);
    assert_eq!(metric(&rig, SUM).await, 0.0);
    drop(stream);
    assert_eq!(metric(&rig, "mcp_requests_in_flight").await, 1.0);
    assert!((9.0..10.0).contains(&metric(&rig, SUM).await));
}

#[tokio::test]
async fn accepted_and_refused_credentials_are_counted() {
    let rig = Rig::new(true);
    rig.answer(legacy("ping", json!({}))).await;
    let body = || json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    for (token, status) in [(ADMIN_TOKEN, 200), ("wrong", 401), (ADMIN_TOKEN, 200)] {
        let asked = post(&[("x-mcp-admin-token", token)], body());
        assert_eq!(rig.answer(asked).await.status, status, "{token}");
    }
    assert_eq!(
        metric(&rig, "dynamic_mcp_http_auth_success_total").await,
        2.0
    );
    assert_eq!(
        metric(&rig, "dynamic_mcp_http_auth_denied_total").await,
        1.0
    );
}

#[tokio::test]
async fn large_answers_are_compressed_and_streams_are_not() {
    let rig = Rig::new(true);
    let asking = |mut request: Request<Body>, encoding: &str| {
        request
            .headers_mut()
            .insert("accept-encoding", encoding.parse().unwrap());
        request
    };
    let plain = rig.legacy("tools/list", json!({})).await.body.len();
    for encoding in ["gzip", "br", "zstd"] {
        let answer = rig
            .answer(asking(legacy("tools/list", json!({})), encoding))
            .await;
        assert_eq!(answer.header("content-encoding"), encoding);
        assert!(
            answer.body.len() < plain / 3,
            "{encoding}: {} of {plain}",
            answer.body.len()
        );
    }
    let small = rig.answer(asking(legacy("ping", json!({})), "gzip")).await;
    assert_eq!(small.header("content-encoding"), "");
    let text = "x".repeat(5_000);
    let params = json!({"name": "notes", "_meta": {"progressToken": text[..900]}});
    let stream: Answer = rig
        .answer(asking(legacy("tools/call", params), "gzip"))
        .await;
    assert_eq!(stream.header("content-type"), "text/event-stream");
    assert_eq!(stream.header("content-encoding"), "");
}
