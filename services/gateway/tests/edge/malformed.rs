//! What is refused, with which status and code, and that nothing runs.

use serde_json::{Value, json};

use super::rig::{BOTH, Rig};

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
        let refused = rig.legacy("logging/setLevel", level).await;
        assert_eq!(refused.error(), (200, -32602));
        let id = refused.header("x-request-id");
        assert_eq!(refused.json()["error"]["data"]["requestId"], id);
    }
}
