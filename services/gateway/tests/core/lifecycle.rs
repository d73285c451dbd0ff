//! From making a tool to deleting it.

use serde_json::{Value, json};

use super::rig::{rig, tool_call};

#[tokio::test]
async fn a_tool_is_in_or_out_of_the_very_next_list_and_call() {
    let rig = rig(|_| {}).await;
    let created = rig.create("golden.one", json!({"code": "return 1;"})).await;
    assert_eq!(created["revision"], 1);
    assert_eq!(created["codeSizeBytes"], 9);
    assert_eq!(created["image"], "node:lts-slim");
    assert!(created.get("code").is_none());
    assert_eq!(rig.listed(), ["golden.one"]);

    let called = rig.ok("golden.one", json!({"args": {"a": 2}})).await;
    assert_eq!(called.structured["result"], json!({"sum": 5}));
    assert_eq!(called.meta["dynamic-mcp/engine"], "isolate");
    let (_, run) = rig.executor.calls().pop().unwrap();
    assert_eq!((run.args.get(), &*run.code), (r#"{"a":2}"#, "return 1;"));
    assert_eq!(run.revision.unwrap().0, 1);

    let patch = json!({"code": "return 2;", "title": "Two"});
    let updated = rig.ok(
        "dynamic.tool.update",
        json!({"name": "golden.one", "patch": patch}),
    );
    let updated = updated.await;
    assert_eq!(updated.text(), "Updated dynamic tool: golden.one");
    assert_eq!(updated.structured["tool"]["revision"], 2);
    rig.ok("golden.one", json!({})).await;
    let (_, run) = rig.executor.calls().pop().unwrap();
    assert_eq!((&*run.code, run.args.get()), ("return 2;", "{}"));

    let off = json!({"name": "golden.one", "enabled": false});
    let disabled = rig.ok("dynamic.tool.enable", off).await;
    assert_eq!(disabled.text(), "Disabled dynamic tool: golden.one");
    assert!(rig.listed().is_empty());
    rig.unknown(tool_call("golden.one", json!({}))).await;
    let on = json!({"name": "golden.one", "enabled": true, "expectedRevision": 3});
    rig.ok("dynamic.tool.enable", on).await;
    rig.ok("golden.one", json!({})).await;

    let stale = json!({"name": "golden.one", "expectedRevision": 1});
    rig.refused("dynamic.tool.delete", stale, "revision_conflict")
        .await;
    let deleted = rig
        .ok("dynamic.tool.delete", json!({"name": "golden.one"}))
        .await;
    assert_eq!(deleted.text(), "Deleted dynamic tool: golden.one");
    assert_eq!(
        deleted.structured,
        json!({"name": "golden.one", "deleted": true})
    );
    assert!(rig.listed().is_empty());
    rig.unknown(tool_call("golden.one", json!({}))).await;
    let gone = json!({"name": "golden.one"});
    rig.refused("dynamic.tool.delete", gone, "not_found").await;
}

#[tokio::test]
async fn get_and_list_have_the_node_servers_shapes() {
    let rig = rig(|_| {}).await;
    assert_eq!(rig.ok("dynamic.tool.list", json!({})).await.text(), "[]");
    rig.create("b.second", json!({"code": "return \"ü\";", "tags": ["x"]}))
        .await;
    rig.create("a.first", json!({"enabled": false, "title": "First"}))
        .await;

    let got = rig
        .ok("dynamic.tool.get", json!({"name": "b.second"}))
        .await;
    let tool = got.structured["tool"].clone();
    assert_eq!(
        (&tool["code"], &tool["codeSizeBytes"]),
        (&json!("return \"ü\";"), &json!(12))
    );
    assert_eq!(
        got.text(),
        serde_json::to_string_pretty(&ordered(got.text())).unwrap()
    );
    assert!(
        got.text()
            .starts_with("{\n  \"name\": \"b.second\",\n  \"description\"")
    );
    rig.refused("dynamic.tool.get", json!({"name": "no.such"}), "not_found")
        .await;

    let list = rig.ok("dynamic.tool.list", json!({})).await;
    assert_eq!(names(&list.structured), ["a.first", "b.second"]);
    let text: Value = serde_json::from_str(list.text()).unwrap();
    assert_eq!(text, list.structured["tools"]);
    assert!(text[0].get("code").is_none());
    let list = rig
        .ok("dynamic.tool.list", json!({"includeCode": true}))
        .await;
    assert_eq!(list.structured["tools"][1]["code"], "return \"ü\";");
    let tagged = rig.ok("dynamic.tool.list", json!({"tag": "x"})).await;
    assert_eq!(names(&tagged.structured), ["b.second"]);
    let found = rig.ok("dynamic.tool.list", json!({"query": "FIRST"})).await;
    assert_eq!(names(&found.structured), ["a.first"]);

    let page = rig
        .ok("dynamic.tool.list", json!({"limit": 1}))
        .await
        .structured;
    assert_eq!(names(&page), ["a.first"]);
    let next = json!({"limit": 1, "cursor": page["nextCursor"]});
    let page = rig.ok("dynamic.tool.list", next).await.structured;
    assert_eq!(names(&page), ["b.second"]);
    assert!(page.get("nextCursor").is_none());
    let bad = rig
        .refused(
            "dynamic.tool.list",
            json!({"cursor": "x"}),
            "invalid_argument",
        )
        .await;
    assert_eq!(bad["field"], "cursor");
}

/// The text's value in the text's own order.
fn ordered(text: &str) -> Box<serde_json::value::RawValue> {
    serde_json::from_str(text).unwrap()
}

fn names(structured: &Value) -> Vec<&str> {
    let tools = structured["tools"].as_array().unwrap();
    tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn code_that_is_not_stored_runs_like_that_of_a_tool() {
    let rig = rig(|_| {}).await;
    let arguments =
        json!({"code": "return args;", "args": {"z": 1, "a": [1.50]}, "timeoutMs": 1000});
    let shown = rig.ok("run_js_ephemeral", arguments).await;
    assert!(
        shown
            .text()
            .starts_with("Dynamic tool succeeded: run_js_ephemeral\n\nDuration: ")
    );
    assert_eq!(shown.structured["result"], json!({"sum": 5}));
    let (_, run) = rig.executor.calls().pop().unwrap();
    assert_eq!(
        (run.tool.as_str(), run.revision),
        ("run_js_ephemeral", None)
    );
    assert_eq!(run.limits.timeout.as_millis(), 1_000);
    for (bad, code, field) in [
        (json!({}), "invalid_argument", "arguments"),
        (json!({"code": ""}), "invalid_argument", "/code"),
        (
            json!({"code": "x", "timeoutMs": 999}),
            "invalid_argument",
            "/timeoutMs",
        ),
        (
            json!({"code": "x", "image": "--privileged"}),
            "invalid_argument",
            "/image",
        ),
        (
            json!({"code": "x", "image": "evil:latest"}),
            "policy_denied",
            "/image",
        ),
        (
            json!({"code": "x", "dependencies": [{"name": "pm2", "version": "1.0.0"}]}),
            "policy_denied",
            "/dependencies/0/name",
        ),
    ] {
        let refused = rig.refused("run_js_ephemeral", bad, code).await;
        assert_eq!(refused["field"], field, "{refused}");
    }
    assert_eq!(
        rig.executor.calls().len(),
        1,
        "what is refused does not run"
    );
}

#[tokio::test]
async fn unicode_and_long_code_come_back_as_they_were() {
    let rig = rig(|_| {}).await;
    let code = format!("return \"{}\";", "é漢👩‍👩‍👧".repeat(15_000));
    rig.create("long.code", json!({ "code": code })).await;
    let got = rig
        .ok("dynamic.tool.get", json!({"name": "long.code"}))
        .await;
    assert_eq!(got.structured["tool"]["code"], code);
    rig.ok("long.code", json!({"args": {"text": "x".repeat(900_000)}}))
        .await;
    let (_, run) = rig.executor.calls().pop().unwrap();
    assert_eq!(&*run.code, code);
    assert!(run.args.get().len() > 900_000);
    let long = json!({"name": "too.long", "description": "d", "code": "x".repeat(200_001)});
    let refused = rig
        .refused(
            "dynamic.tool.create",
            json!({ "tool": long }),
            "invalid_argument",
        )
        .await;
    assert_eq!(refused["field"], "/tool/code");
    assert!(
        refused["error"].as_str().unwrap().len() < 500,
        "the code is not echoed"
    );
}
