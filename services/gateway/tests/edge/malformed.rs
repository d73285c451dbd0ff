//! What is refused, with which status and code, and that nothing runs.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use super::rig::{BOTH, MODERN, Rig, legacy, modern, post, with_meta};

/// A modern `tools/call` of `echo` with one thing changed.
fn tampered(headers: &[(&str, &str)], params: Value) -> Request<Body> {
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
    let mut all = vec![
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "echo"),
    ];
    all.extend(headers);
    post(&all, body.to_string())
}

#[tokio::test]
async fn bodies_that_are_no_json_rpc() {
    let nested = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":{}{}}}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    let digits = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":{}}}}}"#,
        "9".repeat(100_000)
    );
    let cases: Vec<(Vec<u8>, i64)> = vec![
        (b"".to_vec(), -32700),
        (b" ".to_vec(), -32700),
        (b"{".to_vec(), -32700),
        (b"nonsense".to_vec(), -32700),
        (b"{\"jsonrpc\":".to_vec(), -32700),
        (b"{'jsonrpc':'2.0'}".to_vec(), -32700),
        (br#"{"jsonrpc":"2.0","id":1,"method":"ping"} {}"#.to_vec(), -32700),
        (br#"{"jsonrpc":"2.0","id":1,"method":"ping",}"#.to_vec(), -32700),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pi\xff\xfeng\"}".to_vec(), -32700),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"p\x00\"}".to_vec(), -32700),
        (br#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\ud800"}}"#.to_vec(), -32700),
        (br#"{"jsonrpc":"2.0","id":NaN,"method":"ping"}"#.to_vec(), -32700),
        (nested.into_bytes(), -32700),
        ("[".repeat(40_000).into_bytes(), -32700),
        (digits.into_bytes(), -32700),
        (b"5".to_vec(), -32600),
        (b"null".to_vec(), -32600),
        (b"\"text\"".to_vec(), -32600),
        (b"{}".to_vec(), -32600),
        (br#"{"id":1,"method":"ping"}"#.to_vec(), -32600),
        (br#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#.to_vec(), -32600),
        (br#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#.to_vec(), -32600),
        (br#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#.to_vec(), -32600),
        (br#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#.to_vec(), -32600),
        (br#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#.to_vec(), -32600),
        (br#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#.to_vec(), -32600),
        (br#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#.to_vec(), -32600),
        (br#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#.to_vec(), -32600),
        (br#"{"jsonrpc":"2.0","id":1}"#.to_vec(), -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":5}"#.to_vec(), -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":null}"#.to_vec(), -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}"#.to_vec(), -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":"x"}"#.to_vec(), -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":null}"#.to_vec(), -32600),
        (br#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"echo"}}"#.to_vec(), -32600),
        (br#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_vec(), -32600),
        (br#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#.to_vec(), -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","name":"x"}}"#.to_vec(), -32600),
    ];
    assert!(cases.len() >= 38);
    for fast in BOTH {
        let rig = Rig::new(fast);
        for (body, code) in &cases {
            let answer = rig.raw(body.clone()).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(90)]).into_owned();
            assert_eq!(answer.error(), (400, *code), "{shown}");
            assert_eq!(answer.header("content-type"), "application/json");
            let json = answer.json();
            assert_eq!(json["jsonrpc"], "2.0");
            assert_eq!(
                json["error"]["data"]["requestId"],
                answer.header("x-request-id")
            );
        }
        assert_eq!(rig.fake.calls(), 0);
    }
}

#[tokio::test]
async fn an_error_carries_the_id_whenever_it_can_be_read() {
    let rig = Rig::new(true);
    for (body, id) in [
        (
            r#"{"jsonrpc":"1.0","id":"a\"b","method":"ping"}"#,
            json!("a\"b"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":-9223372036854775808}"#,
            json!(i64::MIN),
        ),
        (
            r#"{"jsonrpc":"2.0","id":0,"method":"tools/call","params":[]}"#,
            json!(0),
        ),
        (r#"{"jsonrpc":"2.0","id":"","method":"no/such"}"#, json!("")),
        (
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            Value::Null,
        ),
        ("{", Value::Null),
    ] {
        assert_eq!(rig.raw(body).await.json()["id"], id, "{body}");
    }
    let long = json!({"jsonrpc": "2.0", "id": "i".repeat(2_000), "method": "ping"});
    let answer = rig.raw(long.to_string()).await;
    assert_eq!(answer.error(), (400, -32600));
    assert!(answer.json()["id"].is_null());
}

/// What is wrong, the request, and the HTTP status with the JSON-RPC code.
type Case<'a> = (&'a str, Box<dyn Fn() -> Request<Body> + 'a>, (u16, i64));

#[tokio::test]
async fn headers_of_the_stateless_era() {
    let good = || with_meta(json!({"name": "echo"}));
    let region = |headers: &[(&str, &str)], region: Value| {
        let mut all = vec![("mcp-name", "region")];
        all.extend(headers);
        tampered(
            &all,
            with_meta(json!({"name": "region", "arguments": {"region": region}})),
        )
    };
    let meta = |key: &str, value: Value| {
        let mut params = good();
        params["_meta"][format!("io.modelcontextprotocol/{key}")] = value;
        params
    };
    let twice = |name: &'static str, value: &'static str| {
        let mut request = tampered(&[], good());
        request.headers_mut().append(name, value.parse().unwrap());
        request
    };
    let unknown = meta("protocolVersion", json!("1900-01-01"));
    let mut bare = good();
    bare["_meta"] = json!({"io.modelcontextprotocol/clientCapabilities": {}});
    let cases: Vec<Case<'_>> = vec![
        (
            "no version header",
            Box::new(|| tampered(&[("mcp-protocol-version", "")], good())),
            (400, -32020),
        ),
        (
            "other version header",
            Box::new(|| tampered(&[("mcp-protocol-version", "2025-11-25")], good())),
            (400, -32020),
        ),
        (
            "two version headers",
            Box::new(|| twice("mcp-protocol-version", MODERN)),
            (400, -32020),
        ),
        (
            "no method header",
            Box::new(|| tampered(&[("mcp-method", "")], good())),
            (400, -32020),
        ),
        (
            "other method header",
            Box::new(|| tampered(&[("mcp-method", "tools/list")], good())),
            (400, -32020),
        ),
        (
            "method in other case",
            Box::new(|| tampered(&[("mcp-method", "Tools/Call")], good())),
            (400, -32020),
        ),
        (
            "two method headers",
            Box::new(|| twice("mcp-method", "tools/call")),
            (400, -32020),
        ),
        (
            "no name header",
            Box::new(|| tampered(&[("mcp-name", "")], good())),
            (400, -32020),
        ),
        (
            "other name header",
            Box::new(|| tampered(&[("mcp-name", "fails")], good())),
            (400, -32020),
        ),
        (
            "two name headers",
            Box::new(|| twice("mcp-name", "echo")),
            (400, -32020),
        ),
        (
            "bad base64",
            Box::new(|| tampered(&[("mcp-name", "=?base64?ZWN!?=")], good())),
            (400, -32020),
        ),
        (
            "base64 that is no text",
            Box::new(|| tampered(&[("mcp-name", "=?base64?/w==?=")], good())),
            (400, -32020),
        ),
        (
            "an unknown version",
            Box::new(|| tampered(&[("mcp-protocol-version", "1900-01-01")], unknown.clone())),
            (400, -32022),
        ),
        (
            "an unknown version without meta",
            Box::new(|| {
                tampered(
                    &[("mcp-protocol-version", "1900-01-01")],
                    json!({"name": "echo"}),
                )
            }),
            (400, -32022),
        ),
        (
            "no meta",
            Box::new(|| tampered(&[], json!({"name": "echo"}))),
            (400, -32602),
        ),
        (
            "meta without a version",
            Box::new(|| tampered(&[], bare.clone())),
            (400, -32602),
        ),
        (
            "meta that is no object",
            Box::new(|| tampered(&[], json!({"name": "echo", "_meta": 5}))),
            (400, -32602),
        ),
        (
            "a version that is no string",
            Box::new(|| tampered(&[], meta("protocolVersion", json!(5)))),
            (400, -32602),
        ),
        (
            "capabilities that are no object",
            Box::new(|| tampered(&[], meta("clientCapabilities", json!(5)))),
            (400, -32602),
        ),
        (
            "no capabilities",
            Box::new(|| tampered(&[], meta("clientCapabilities", Value::Null))),
            (400, -32602),
        ),
        (
            "an unknown log level",
            Box::new(|| tampered(&[], meta("logLevel", json!("loud")))),
            (200, -32602),
        ),
        (
            "arguments that are no object",
            Box::new(|| tampered(&[], with_meta(json!({"name": "echo", "arguments": [1]})))),
            (200, -32602),
        ),
        (
            "no tool",
            Box::new(|| tampered(&[], with_meta(json!({})))),
            (200, -32602),
        ),
        (
            "a tool that is no string",
            Box::new(|| tampered(&[], with_meta(json!({"name": 5})))),
            (200, -32602),
        ),
        (
            "a progress token that is none",
            Box::new(|| {
                tampered(
                    &[],
                    with_meta(json!({"name": "echo", "_meta": {"progressToken": []}})),
                )
            }),
            (200, -32602),
        ),
        (
            "a missing param header",
            Box::new(|| region(&[], json!("eu"))),
            (400, -32020),
        ),
        (
            "another param header",
            Box::new(|| region(&[("mcp-param-region", "us")], json!("eu"))),
            (400, -32020),
        ),
        (
            "a param header with bad base64",
            Box::new(|| region(&[("mcp-param-region", "=?base64?*?=")], json!("eu"))),
            (400, -32020),
        ),
        (
            "a param header too many",
            Box::new(|| region(&[("mcp-param-region", "eu")], Value::Null)),
            (400, -32020),
        ),
    ];
    for fast in BOTH {
        let rig = Rig::new(fast);
        for (what, request, expected) in &cases {
            let answer = rig.answer(request()).await;
            assert_eq!(answer.error(), *expected, "{what}, fast {fast}");
            assert_eq!(answer.json()["id"], 7, "{what}");
            assert_eq!(rig.fake.calls(), 0, "{what}");
            if expected.1 == -32022 {
                let data = &answer.json()["error"]["data"];
                assert_eq!(data["requested"], "1900-01-01");
                assert!(
                    data["supported"]
                        .as_array()
                        .unwrap()
                        .contains(&json!(MODERN))
                );
            }
        }
        for request in [
            tampered(&[("mcp-name", "=?base64?ZWNobw==?=")], good()),
            tampered(
                &[("mcp-session-id", "anything"), ("mcp-param-other", "x")],
                good(),
            ),
            region(&[("mcp-param-region", "=?base64?w7Y=?=")], json!("ö")),
            tampered(&[("mcp-name", "  echo\t")], good()),
        ] {
            let answer = rig.answer(request).await;
            assert!(answer.result()["content"].is_array());
            assert_eq!(answer.header("mcp-session-id"), "");
        }
    }
}

#[tokio::test]
async fn parameters_that_rmcp_cannot_read_are_invalid_not_unknown() {
    for fast in BOTH {
        let rig = Rig::new(fast);
        for (method, params) in [
            ("resources/read", json!({})),
            ("resources/read", json!({"uri": 5})),
            ("prompts/get", json!({"arguments": {}})),
            ("prompts/get", json!({"name": "checklist", "arguments": []})),
            ("completion/complete", json!({"ref": {"type": "ref/none"}})),
            ("resources/list", json!({"cursor": {}})),
            ("subscriptions/listen", json!({"notifications": 5})),
        ] {
            assert_eq!(
                rig.modern(method, params.clone()).await.error().1,
                -32602,
                "{method} {params}"
            );
            if method != "subscriptions/listen" {
                assert_eq!(
                    rig.legacy(method, params).await.error(),
                    (200, -32602),
                    "{method}"
                );
            }
        }
        let level = json!({"level": "loud"});
        assert_eq!(
            rig.legacy("logging/setLevel", level).await.error(),
            (200, -32602)
        );
    }
}

#[tokio::test]
async fn methods_types_and_sizes_of_http() {
    let rig = Rig::new(true);
    for method in ["GET", "DELETE", "PUT", "PATCH", "OPTIONS", "TRACE"] {
        let mut request = legacy("ping", json!({}));
        *request.method_mut() = method.parse().unwrap();
        let answer = rig.answer(request).await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), "POST");
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    for content_type in [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ] {
        let answer = rig
            .answer(post(&[("content-type", content_type)], body.clone()))
            .await;
        assert_eq!(answer.error(), (415, 415), "{content_type}");
    }
    let zipped = post(&[("content-encoding", "gzip")], body.clone());
    assert_eq!(rig.answer(zipped).await.status, 415);
    for accept in [
        "",
        "application/json",
        "text/event-stream",
        "text/html",
        "application/json, text/event-stream;q=0",
    ] {
        let answer = rig.answer(post(&[("accept", accept)], body.clone())).await;
        assert_eq!(answer.error(), (406, 406), "{accept}");
    }
    for accept in [
        "*/*",
        "application/*, text/*",
        "text/event-stream; q=0.5 , APPLICATION/JSON",
    ] {
        let answer = rig.answer(post(&[("accept", accept)], body.clone())).await;
        assert_eq!(answer.result(), json!({}), "{accept}");
    }
    let utf8 = post(
        &[("content-type", "application/json; charset=utf-8")],
        body.clone(),
    );
    assert_eq!(rig.answer(utf8).await.status, 200);

    let large =
        json!({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"a": "x".repeat(1 << 20)}});
    let answer = rig.raw(large.to_string()).await;
    assert_eq!(answer.error(), (413, 413));
    // Without a length, too: the body is counted while it comes.
    let pieces = futures::stream::iter(
        std::iter::repeat_n(vec![b' '; 100_000], 11).map(Ok::<_, std::io::Error>),
    );
    assert_eq!(rig.raw(Body::from_stream(pieces)).await.error(), (413, 413));
    let arguments = json!({"text": "ü".repeat(450_000)});
    let answer = rig
        .modern(
            "tools/call",
            json!({"name": "echo", "arguments": arguments}),
        )
        .await;
    assert_eq!(answer.result()["structuredContent"], arguments);
}

#[tokio::test]
async fn bodies_in_pieces_are_put_together() {
    let text = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "echo", "arguments": {"a": "b".repeat(5_000)}}})
    .to_string();
    let pieces: Vec<_> = text
        .as_bytes()
        .chunks(7)
        .map(|piece| Ok::<_, std::io::Error>(bytes::Bytes::copy_from_slice(piece)))
        .collect();
    let rig = Rig::new(true);
    let answer = rig
        .raw(Body::from_stream(futures::stream::iter(pieces)))
        .await;
    assert_eq!(answer.result()["structuredContent"]["a"], "b".repeat(5_000));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_ends_the_wait() {
    let rig = Rig::new(true);
    let started = tokio::time::Instant::now();
    let answer = rig
        .raw(Body::from_stream(futures::stream::pending::<
            Result<Vec<u8>, std::io::Error>,
        >()))
        .await;
    assert_eq!(answer.error(), (408, 408));
    assert_eq!(started.elapsed().as_secs(), 15);
}

#[tokio::test]
async fn notifications_are_accepted_or_refused_without_a_body_of_their_own() {
    let rig = Rig::new(true);
    let note = |headers: &[(&str, &str)], method: &str| {
        post(
            headers,
            json!({"jsonrpc": "2.0", "method": method}).to_string(),
        )
    };
    let cancelled = "notifications/cancelled";
    for (request, status) in [
        (note(&[], cancelled), 202),
        (
            note(
                &[("mcp-protocol-version", "2025-11-25")],
                "notifications/unknown",
            ),
            202,
        ),
        (
            note(
                &[("mcp-protocol-version", MODERN), ("mcp-method", cancelled)],
                cancelled,
            ),
            202,
        ),
        (note(&[("mcp-protocol-version", MODERN)], cancelled), 400),
        (
            note(
                &[("mcp-protocol-version", MODERN), ("mcp-method", "other")],
                cancelled,
            ),
            400,
        ),
        (
            note(&[("mcp-protocol-version", "1900-01-01")], cancelled),
            400,
        ),
    ] {
        let answer = rig.answer(request).await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.body.is_empty(), status == 202);
    }
}

#[tokio::test]
async fn a_panic_of_the_core_is_an_error_and_not_the_end() {
    for fast in BOTH {
        let rig = Rig::new(fast);
        let answer = rig
            .answer(modern("tools/call", json!({"name": "panics"})))
            .await;
        assert_eq!(answer.json()["error"]["code"], -32603);
        assert!(!answer.header("x-request-id").is_empty());
        assert_eq!(rig.legacy("ping", json!({})).await.result(), json!({}));
    }
}
