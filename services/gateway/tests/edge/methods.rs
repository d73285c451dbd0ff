//! Every method in both eras, through the fast path and through rmcp.

use serde_json::{Value, json};

use super::fake::ADMIN_TOKEN;
use super::rig::{BOTH, Rig, legacy, modern, post};

const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

#[tokio::test]
async fn a_call_in_both_eras() {
    for fast in BOTH {
        let rig = Rig::new(fast);
        let params = json!({"name": "echo", "arguments": {"a": [1, 2.5, "ü"]}});

        let answer = rig.modern("tools/call", params.clone()).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "application/json");
        let json = answer.json();
        assert_eq!(json["id"], 7);
        let result = &json["result"];
        assert_eq!(result["resultType"], "complete");
        assert_eq!(result["structuredContent"], params["arguments"]);
        assert_eq!(result["content"], json!([{"type": "text", "text": "echo"}]));
        assert_eq!(result["_meta"][SERVER_INFO]["name"], "dynamic-mcp");
        assert!(result["isError"].is_null());

        let answer = rig.legacy("tools/call", params.clone()).await;
        assert_eq!(answer.json()["id"], "seven");
        let result = answer.result();
        assert_eq!(result["structuredContent"], params["arguments"]);
        assert!(result["resultType"].is_null(), "{result}");
        assert!(result["_meta"].is_null(), "{result}");
    }
}

#[tokio::test]
async fn arguments_may_be_absent_and_meta_is_passed_on() {
    for fast in BOTH {
        let rig = Rig::new(fast);
        let result = rig
            .modern("tools/call", json!({"name": "echo"}))
            .await
            .result();
        assert_eq!(result["structuredContent"], json!({}));
        for answer in [
            rig.modern("tools/call", json!({"name": "fails"})).await,
            rig.legacy("tools/call", json!({"name": "fails"})).await,
        ] {
            let result = answer.result();
            assert_eq!(result["isError"], true);
            assert_eq!(result["_meta"]["dynamic-mcp/engine"], "isolate");
        }
    }
}

#[tokio::test]
async fn an_unknown_tool_is_a_protocol_error() {
    for fast in BOTH {
        let rig = Rig::new(fast);
        for answer in [
            rig.modern("tools/call", json!({"name": "nope"})).await,
            rig.legacy("tools/call", json!({"name": "nope"})).await,
        ] {
            assert_eq!(answer.error(), (200, -32602));
            let request_id = answer.header("x-request-id");
            assert_eq!(answer.json()["error"]["data"]["requestId"], request_id);
        }
        let answer = rig.modern("tools/call", json!({"name": "internal"})).await;
        assert_eq!(answer.error(), (200, -32603));
    }
}

#[tokio::test]
async fn lists_come_in_pages() {
    for fast in BOTH {
        let rig = Rig::new(fast);
        for modern in BOTH {
            let list = async |params: Value| {
                if modern {
                    rig.modern("tools/list", params).await
                } else {
                    rig.legacy("tools/list", params).await
                }
            };
            let first = list(json!({})).await.result();
            let cursor = first["nextCursor"].as_str().unwrap();
            let second = list(json!({ "cursor": cursor })).await.result();
            let names: Vec<&str> = [&first, &second]
                .iter()
                .flat_map(|page| page["tools"].as_array().unwrap())
                .map(|tool| tool["name"].as_str().unwrap())
                .collect();
            assert_eq!(names, ["echo", "fails", "notes", "slow"]);
            assert!(second["nextCursor"].is_null());
            if modern {
                assert_eq!(first["ttlMs"], 0);
                assert_eq!(first["cacheScope"], "private");
                assert_eq!(first["resultType"], "complete");
                assert_eq!(first["_meta"][SERVER_INFO]["name"], "dynamic-mcp");
            } else {
                assert!(
                    first["ttlMs"].is_null() && first["_meta"].is_null(),
                    "{first}"
                );
            }
            assert_eq!(
                list(json!({"cursor": "forged"})).await.error(),
                (200, -32602)
            );
            assert_eq!(
                list(json!({"cursor": 5})).await.error(),
                (200, -32602),
                "{fast}"
            );
        }
    }
}

#[tokio::test]
async fn the_handshake_of_the_older_versions() {
    for fast in BOTH {
        let rig = Rig::new(fast);
        for (asked, agreed) in [
            ("2025-11-25", "2025-11-25"),
            ("2025-06-18", "2025-06-18"),
            ("2025-03-26", "2025-03-26"),
            ("2024-11-05", "2025-11-25"),
            ("2026-07-28", "2025-11-25"),
            ("9999-01-01", "2025-11-25"),
        ] {
            let params = json!({
                "protocolVersion": asked, "capabilities": {},
                "clientInfo": {"name": "t", "version": "1"},
            });
            let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
            let answer = rig.raw(body.to_string()).await;
            let result = answer.result();
            assert_eq!(result["protocolVersion"], agreed, "{asked}");
            assert_eq!(result["serverInfo"]["name"], "dynamic-mcp");
            // There is no stream it could be sent on.
            assert!(
                result["capabilities"]["tools"]["listChanged"].is_null(),
                "{result}"
            );
            assert_eq!(result["capabilities"]["logging"], json!({}));
            assert_eq!(answer.header("mcp-session-id"), "");
        }
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let answer = rig.raw(initialized.to_string()).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (202, 0));
        assert_eq!(rig.legacy("ping", json!({})).await.result(), json!({}));
        let level = json!({"level": "debug"});
        assert_eq!(
            rig.legacy("logging/setLevel", level).await.result(),
            json!({})
        );
    }
}

#[tokio::test]
async fn discovery_names_versions_and_capabilities() {
    let result = Rig::new(true)
        .modern("server/discover", json!({}))
        .await
        .result();
    assert_eq!(
        result["supportedVersions"],
        json!(["2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"])
    );
    assert_eq!(result["capabilities"]["tools"]["listChanged"], true);
    assert_eq!(result["_meta"][SERVER_INFO]["name"], "dynamic-mcp");
    assert!(
        result["ttlMs"].is_u64() && result["cacheScope"].is_string(),
        "{result}"
    );
}

#[tokio::test]
async fn methods_that_left_with_the_handshake_are_unknown_on_the_modern_wire() {
    for fast in BOTH {
        let rig = Rig::new(fast);
        for method in [
            "initialize",
            "ping",
            "logging/setLevel",
            "resources/subscribe",
            "resources/unsubscribe",
            "tasks/list",
            "no/such/method",
        ] {
            let params = json!({"level": "debug", "uri": "test://static"});
            assert_eq!(
                rig.modern(method, params).await.error(),
                (404, -32601),
                "{method}"
            );
        }
        for method in ["server/discover", "subscriptions/listen", "no/such/method"] {
            let params = json!({"notifications": {}});
            assert_eq!(
                rig.legacy(method, params).await.error(),
                (200, -32601),
                "{method}"
            );
        }
        let long = "m".repeat(6_000);
        let message = rig.legacy(&long, json!({})).await.json()["error"]["message"].to_string();
        assert!(message.len() < 180, "{}", message.len());
    }
}

#[tokio::test]
async fn resources_prompts_and_completion() {
    let rig = Rig::new(true);
    for modern in BOTH {
        let ask = async |method: &str, params: Value| {
            let answer = if modern {
                rig.modern(method, params).await
            } else {
                rig.legacy(method, params).await
            };
            let result = answer.json()["result"].clone();
            let stamped = result["_meta"][SERVER_INFO]["name"] == "dynamic-mcp";
            assert_eq!(stamped, modern, "{method}: {result}");
            assert_eq!(
                result["resultType"] == "complete",
                modern,
                "{method}: {result}"
            );
            result
        };
        assert_eq!(
            ask("resources/list", json!({})).await["resources"][0]["name"],
            "static"
        );
        let templates = ask("resources/templates/list", json!({})).await;
        assert_eq!(templates["resourceTemplates"], json!([]));
        let read = ask("resources/read", json!({"uri": "test://static"})).await;
        assert_eq!(read["contents"][0]["text"], "hello");
        assert_eq!(
            ask("prompts/list", json!({})).await["prompts"][0]["name"],
            "checklist"
        );
        let asked = json!({"name": "checklist", "arguments": {"toolName": "x"}});
        let prompt = ask("prompts/get", asked).await;
        assert_eq!(prompt["messages"][0]["content"]["text"], "check x");
        let asked = json!({
            "ref": {"type": "ref/prompt", "name": "checklist"},
            "argument": {"name": "toolName", "value": "ec"},
        });
        let completed = ask("completion/complete", asked).await;
        assert_eq!(completed["completion"]["values"], json!(["ec-completed"]));
    }
    for answer in [
        rig.modern("resources/read", json!({"uri": "file:///etc/passwd"}))
            .await,
        rig.legacy("resources/read", json!({"uri": "file:///etc/passwd"}))
            .await,
    ] {
        assert_eq!(answer.error(), (200, -32602));
        assert_eq!(answer.json()["error"]["data"]["uri"], "file:///etc/passwd");
    }
}

#[tokio::test]
async fn what_the_profile_does_not_have_is_neither_declared_nor_answered() {
    let rig = Rig::new(true);
    *rig.fake.enterprise.lock() = false;
    let found = rig.modern("server/discover", json!({})).await.result();
    let declared: Vec<_> = found["capabilities"].as_object().unwrap().keys().collect();
    assert_eq!(declared, ["logging", "tools"]);
    for method in [
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "prompts/list",
        "prompts/get",
        "completion/complete",
    ] {
        let params = json!({"name": "checklist", "uri": "test://static"});
        let answer = rig.modern(method, params.clone()).await;
        assert_eq!(answer.error(), (404, -32601), "{method}");
        let request_id = answer.header("x-request-id");
        assert_eq!(answer.json()["error"]["data"]["requestId"], request_id);
        assert_eq!(
            rig.legacy(method, params).await.error(),
            (200, -32601),
            "{method}"
        );
    }
}

#[tokio::test]
async fn the_admin_token_elevates_one_request() {
    for fast in BOTH {
        let rig = Rig::new(fast);
        let call = || modern("tools/call", json!({"name": "whoami"}));
        let admin = async |request| {
            rig.answer(request).await.result()["structuredContent"]["admin"].clone()
        };
        assert_eq!(admin(call()).await, false);
        let mut request = call();
        request
            .headers_mut()
            .insert("x-mcp-admin-token", ADMIN_TOKEN.parse().unwrap());
        assert_eq!(admin(request).await, true);
        let mut request = call();
        request
            .headers_mut()
            .insert("x-mcp-admin-token", "wrong".parse().unwrap());
        let answer = rig.answer(request).await;
        assert_eq!(answer.error(), (401, 401));
        assert!(!answer.header("www-authenticate").is_empty());
    }
}

#[tokio::test]
async fn batches_exist_in_one_version_only() {
    for fast in BOTH {
        let rig = Rig::new(fast);
        let batch = json!([
            {"jsonrpc": "2.0", "id": 1, "method": "ping"},
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
                "name": "notes", "_meta": {"progressToken": 1}}},
            {"jsonrpc": "2.0", "id": 3, "method": "no/such/method"},
            5,
        ])
        .to_string();
        for headers in [&[][..], &[("mcp-protocol-version", "2025-03-26")]] {
            let answer = rig.answer(post(headers, batch.clone())).await;
            let answers = answer.json();
            let answers = answers.as_array().unwrap();
            assert_eq!(answers.len(), 4, "{answers:?}");
            assert_eq!(answers[0]["result"], json!({}));
            assert_eq!(answers[1]["result"]["content"][0]["text"], "done");
            assert_eq!(answers[2]["error"]["code"], -32601);
            assert_eq!(answers[3]["error"]["code"], -32600);
        }
        let quiet = json!([{"jsonrpc": "2.0", "method": "notifications/initialized"}]);
        assert_eq!(rig.raw(quiet.to_string()).await.status, 202);

        let before = rig.fake.calls();
        for version in ["2025-06-18", "2025-11-25", "2026-07-28"] {
            let request = post(&[("mcp-protocol-version", version)], batch.clone());
            assert_eq!(
                rig.answer(request).await.error(),
                (400, -32600),
                "{version}"
            );
        }
        assert_eq!(rig.raw("[]").await.error(), (400, -32600));
        let many = vec![json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}); 33];
        assert_eq!(
            rig.raw(json!(many).to_string()).await.error(),
            (400, -32600)
        );
        assert_eq!(rig.fake.calls(), before);
    }
}

#[tokio::test]
async fn a_trace_goes_on_from_meta_or_from_the_headers() {
    const META: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const HEADER: &str = "00-11111111111111111111111111111111-2222222222222222-00";
    for fast in BOTH {
        let rig = Rig::new(fast);
        for (meta, expected) in [
            (json!(META), META),
            (json!("junk"), HEADER),
            (json!(5), HEADER),
        ] {
            let params = json!({"name": "echo", "_meta": {"traceparent": meta}});
            for mut request in [
                modern("tools/call", params.clone()),
                legacy("tools/call", params),
            ] {
                request
                    .headers_mut()
                    .insert("traceparent", HEADER.parse().unwrap());
                request
                    .headers_mut()
                    .insert("x-request-id", "id-1".parse().unwrap());
                rig.answer(request).await.result();
                let context = rig.fake.last.lock().take().unwrap();
                assert_eq!(context.trace.traceparent.as_deref(), Some(expected));
                assert_eq!(context.request_id.as_str(), "id-1");
            }
        }
    }
}
