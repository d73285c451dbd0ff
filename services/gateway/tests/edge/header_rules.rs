//! The headers and the metadata of the stateless era, and that nothing runs when they are wrong.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use super::rig::{BOTH, MODERN, Rig, post, with_meta};

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
