//! Rows 40 to 50 in both eras: what a body may be, and what is echoed of it.

use serde_json::{Value, json};

use crate::edge::rig::{Answer, BOTH, MODERN, Rig, legacy, modern, post, with_meta};

/// The headers of a request of either era, for a body that need not fit.
fn headers(is_modern: bool) -> Vec<(&'static str, &'static str)> {
    if is_modern {
        vec![
            ("mcp-protocol-version", MODERN),
            ("mcp-method", "tools/call"),
            ("mcp-name", "echo"),
        ]
    } else {
        vec![("mcp-protocol-version", "2025-11-25")]
    }
}

async fn send(rig: &Rig, is_modern: bool, body: Vec<u8>) -> Answer {
    rig.answer(post(&headers(is_modern), body)).await
}

#[tokio::test]
async fn row_40_41_47_bodies_that_are_no_message_in_both_eras() {
    let nested = |depth: usize| {
        format!(r#"{{"a":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth)).into_bytes()
    };
    let cases: Vec<(Vec<u8>, i64)> = vec![
        (Vec::new(), -32700),
        (b"\xef\xbb\xbf{}".to_vec(), -32700),
        (b"{\"jsonrpc\":\"2.0\",".to_vec(), -32700),
        (b"{\"a\":\"\\ud800\"}".to_vec(), -32700),
        (b"{\"a\":\"\\x41\"}".to_vec(), -32700),
        (b"{\"a\":\"\x01\"}".to_vec(), -32700),
        (b"{\"a\":\"\xc0\xaf\"}".to_vec(), -32700),
        (b"{\"a\":01}".to_vec(), -32700),
        (b"{\"a\":1}\0".to_vec(), -32700),
        (b"\x1f\x8b\x08\0\0\0\0\0".to_vec(), -32700),
        (nested(200), -32700),
        (nested(40_000), -32700),
        (
            format!("{{\"a\":{}}}", "1".repeat(100_000)).into_bytes(),
            -32700,
        ),
        (b"[]".to_vec(), -32600),
        (
            br#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#.to_vec(),
            -32600,
        ),
        (
            br#"{"jsonrpc":"2.0","id":{},"method":"tools/call"}"#.to_vec(),
            -32600,
        ),
        (
            br#"{"jsonrpc":"2.0","id":1.5,"method":"tools/call"}"#.to_vec(),
            -32600,
        ),
        (
            br#"{"jsonrpc":"2.0","id":null,"method":"tools/call"}"#.to_vec(),
            -32600,
        ),
        (
            br#"{"jsonrpc":"3.0","id":1,"method":"tools/call"}"#.to_vec(),
            -32600,
        ),
        (
            br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["echo"]}"#.to_vec(),
            -32600,
        ),
        (
            br#"{"jsonrpc":"2.0","id":1,"id":1,"method":"tools/call"}"#.to_vec(),
            -32600,
        ),
    ];
    for is_modern in BOTH {
        let rig = Rig::new(true);
        for (body, code) in &cases {
            let answer = send(&rig, is_modern, body.clone()).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
            assert_eq!(answer.error(), (400, *code), "{is_modern} {shown}");
            assert!(answer.body.len() < 1_000);
        }
        assert_eq!(rig.fake.calls(), 0);
    }
}

#[tokio::test]
async fn row_42_43_what_is_echoed_is_short_and_plain() {
    let long = format!("no/{}", "\u{1b}[31m\n<b>x".repeat(600));
    let rig = Rig::new(true);
    let echoed = |answer: &Answer| {
        let message = answer.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(message.chars().count() < 400, "{message}");
        assert!(!message.contains(['\u{1b}', '\n']), "{message:?}");
        assert!(answer.body.len() < 1_500, "{}", answer.body.len());
    };
    let unknown = rig.legacy(&long, json!({})).await;
    assert_eq!(unknown.error(), (200, -32601));
    echoed(&unknown);
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": long, "params": with_meta(json!({}))});
    let mismatch = [
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/list"),
    ];
    let answer = rig.answer(post(&mismatch, body.to_string())).await;
    assert_eq!(answer.error(), (400, -32020));
    echoed(&answer);
    // One that a header can say.
    let plain = format!("no/{}", "x".repeat(6_000));
    let answer = rig.modern(&plain, json!({})).await;
    assert_eq!(answer.error(), (404, -32601));
    echoed(&answer);
    // A name in a header that is not the one in the body.
    let params = with_meta(json!({"name": "y".repeat(6_000)}));
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
    let other = [
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "z"),
    ];
    let answer = rig.answer(post(&other, body.to_string())).await;
    assert_eq!(answer.error(), (400, -32020));
    echoed(&answer);
    // A version, which is in the data as well.
    let version = "1900-01-01".repeat(500);
    let asked = [("mcp-protocol-version", version.as_str())];
    let ping = json!({"jsonrpc": "2.0", "id": 7, "method": "ping"}).to_string();
    let answer = rig.answer(post(&asked, ping)).await;
    assert_eq!(answer.error(), (400, -32022));
    echoed(&answer);
    assert_eq!(rig.fake.calls(), 0);
}

#[tokio::test]
async fn row_44_versions_and_metadata() {
    let rig = Rig::new(true);
    let answer = rig
        .answer(post(
            &[("mcp-protocol-version", "1900-01-01")],
            json!({
        "jsonrpc": "2.0", "id": 1, "method": "ping"})
            .to_string(),
        ))
        .await;
    assert_eq!(answer.error(), (400, -32022));
    let data = &answer.json()["error"]["data"];
    assert_eq!(data["requested"], "1900-01-01");
    assert_eq!(data["supported"].as_array().unwrap().len(), 4);
    for meta in [
        json!(5),
        json!("x"),
        json!([]),
        json!({}),
        json!({"io.modelcontextprotocol/protocolVersion": MODERN}),
        json!({"io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": 5}),
    ] {
        let params = json!({"name": "echo", "_meta": meta});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let answer = send(&rig, true, body.to_string().into_bytes()).await;
        assert_eq!(answer.error(), (400, -32602), "{body}");
    }
    assert_eq!(rig.fake.calls(), 0);
}

/// The gateway keeps no sessions, so that none can be taken over: an id is neither given nor looked
/// at, in both eras.
#[tokio::test]
async fn row_45_46_session_ids_are_neither_made_nor_looked_at() {
    let rig = Rig::new(true);
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "x", "version": "1"}});
    for id in [
        "",
        "x",
        "00000000-0000-0000-0000-000000000000",
        "ÄÖ",
        "../../etc",
    ] {
        for mut request in [
            legacy("initialize", hello.clone()),
            legacy("tools/call", json!({"name": "echo"})),
            modern("tools/call", json!({"name": "echo"})),
        ] {
            let value = http::HeaderValue::from_bytes(id.as_bytes()).unwrap();
            request
                .headers_mut()
                .insert("mcp-session-id", value.clone());
            request.headers_mut().insert("last-event-id", value);
            let answer = rig.answer(request).await;
            assert_eq!(answer.status, 200, "{id}");
            assert_eq!(answer.header("mcp-session-id"), "");
            assert!(answer.json()["result"].is_object());
        }
    }
    let mut delete = legacy("ping", json!({}));
    *delete.method_mut() = http::Method::DELETE;
    assert_eq!(rig.answer(delete).await.status, 405);
}

/// No tool of this version asks its client anything, so no state is ever given out: one that comes
/// is no ticket to anything.
#[tokio::test]
async fn row_48_a_request_state_opens_nothing() {
    for fast in BOTH {
        let rig = Rig::new(fast);
        let plain = rig
            .modern("tools/call", json!({"name": "whoami"}))
            .await
            .result();
        for state in [json!("forged"), json!("x".repeat(2_000)), Value::Null] {
            let params = json!({"name": "whoami", "requestState": state,
                "inputResponses": {"user_name": {"action": "accept", "content": {"admin": true}}}});
            let answer = rig.modern("tools/call", params).await;
            if answer.json()["error"].is_null() {
                assert_eq!(answer.result(), plain);
            }
        }
    }
}

#[tokio::test]
async fn row_49_cursors_and_uris_that_are_not_ours() {
    let rig = Rig::new(true);
    for is_modern in BOTH {
        for cursor in [
            "forged",
            "2 ",
            "' OR 1=1 --",
            "../../etc/passwd",
            "%00",
            "\u{1f600}",
        ] {
            let params = json!({ "cursor": cursor });
            let answer = if is_modern {
                rig.modern("tools/list", params).await
            } else {
                rig.legacy("tools/list", params).await
            };
            assert_eq!(answer.error(), (200, -32602), "{cursor}");
            assert!(!answer.json().to_string().to_lowercase().contains("sql"));
        }
    }
    for uri in [
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data/",
        "dynamic://service/../../etc/passwd",
        "test://static/..",
    ] {
        let answer = rig.modern("resources/read", json!({ "uri": uri })).await;
        assert_eq!(answer.error().1, -32602, "{uri}");
    }
}
