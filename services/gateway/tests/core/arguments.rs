//! Arguments and results against the tool's schemas.

use gateway::operations::ToolCall;
use serde_json::json;
use testkit::Step;

use super::rig::{rig, tool_call};

#[tokio::test]
async fn arguments_are_checked_and_handed_over_as_they_are() {
    let rig = rig(|_| {}).await;
    let schema = json!({"type": "object", "required": ["n"], "properties": {
        "n": {"type": "integer", "minimum": 1}, "when": {"type": "string", "format": "date-time"}}});
    rig.create("checked.tool", json!({ "inputSchema": schema }))
        .await;
    let mut call = tool_call("checked.tool", json!({}));
    call.arguments = Some(testkit::raw(r#"{"z":1.50,"n":2}"#));
    rig.send(call).await.unwrap();
    let (_, run) = rig.executor.calls().pop().unwrap();
    assert_eq!(
        run.args.get(),
        r#"{"z":1.50,"n":2}"#,
        "not a digit is touched"
    );
    for (bad, field, told) in [
        (json!({}), "arguments", "[required]"),
        (json!({"n": 0}), "/n", "[minimum]"),
        (json!({"n": "1"}), "/n", "[type]"),
        (json!({"n": 1, "when": "noon"}), "/when", "[format]"),
    ] {
        let refused = rig.refused("checked.tool", bad, "invalid_argument").await;
        assert_eq!(refused["field"], field);
        assert!(
            refused["error"].as_str().unwrap().contains(told),
            "{refused}"
        );
    }
    assert_eq!(rig.executor.calls().len(), 1);
}

#[tokio::test]
async fn a_new_revision_has_its_own_schema() {
    let rig = rig(|_| {}).await;
    let schema = |name: &str| json!({"type": "object", "required": [name]});
    rig.create("checked.tool", json!({"inputSchema": schema("a")}))
        .await;
    rig.ok("checked.tool", json!({"a": 1})).await;
    let patch = json!({"name": "checked.tool", "patch": {"inputSchema": schema("b")}});
    rig.ok("dynamic.tool.update", patch).await;
    rig.refused("checked.tool", json!({"a": 1}), "invalid_argument")
        .await;
    rig.ok("checked.tool", json!({"b": 1})).await;
    let patch = json!({"name": "checked.tool", "patch": {"inputSchema": null}});
    rig.ok("dynamic.tool.update", patch).await;
    rig.ok("checked.tool", json!({"args": {"c": 1}})).await;
}

#[tokio::test]
async fn without_a_schema_there_is_the_one_property_args() {
    let rig = rig(|_| {}).await;
    rig.create("plain.tool", json!({})).await;
    let bare = ToolCall {
        arguments: None,
        ..tool_call("plain.tool", json!({}))
    };
    assert!(!rig.send(bare).await.unwrap().is_error);
    let refused = rig
        .refused("plain.tool", json!({"args": [1]}), "invalid_argument")
        .await;
    assert_eq!(refused["field"], "/args");
    let refused = rig
        .refused("plain.tool", json!({"a": 1}), "invalid_argument")
        .await;
    assert_eq!(refused["field"], "/a");
    for malformed in ["[]", "7", "\"x\""] {
        let mut call = tool_call("plain.tool", json!({}));
        call.arguments = Some(testkit::raw(malformed));
        let error = rig.send(call).await.unwrap_err();
        assert_eq!(error.code, -32602);
    }
}

#[tokio::test]
async fn results_are_checked_before_they_are_sent() {
    let rig = rig(|_| {}).await;
    let schema = json!({"type": "object", "properties": {"at": {"format": "email"}}});
    let input = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let schemas = json!({"inputSchema": input, "outputSchema": schema});
    rig.create("typed.tool", schemas).await;
    rig.executor.play([
        Step::accepted(),
        Step::finished(r#"{"at":"a@example.com"}"#),
    ]);
    let good = rig.ok("typed.tool", json!({})).await;
    assert_eq!(good.structured, json!({"at": "a@example.com"}));
    rig.executor
        .play([Step::accepted(), Step::finished(r#"{"at":"nowhere"}"#)]);
    // A failure does not fit the author's schema, so it is not in structuredContent: neither one of
    // the code nor one before it ran.
    for (arguments, code, told) in [
        (json!({}), "tool_failed", "/at"),
        (json!({"n": "x"}), "invalid_argument", "/n"),
    ] {
        let failed = rig.send(tool_call("typed.tool", arguments)).await.unwrap();
        assert!(failed.is_error && failed.structured.is_null(), "{failed:?}");
        let failure = &failed.meta["dynamic-mcp/error"];
        assert_eq!(
            (&failure["ok"], &failure["code"]),
            (&json!(false), &json!(code))
        );
        assert!(failure["error"].as_str().unwrap().contains(told));
        assert!(failed.text().contains(told));
    }
}

#[tokio::test]
async fn unknown_fields_of_management_tools_are_named() {
    let rig = rig(|_| {}).await;
    let tool = json!({"name": "a.tool", "description": "d", "code": "1", "colour": "red"});
    for (name, bad, word) in [
        ("dynamic.tool.create", json!({ "tool": tool }), "colour"),
        ("dynamic.tool.create", json!({}), "tool"),
        ("dynamic.tool.update", json!({"name": "a.tool"}), "patch"),
        (
            "dynamic.tool.update",
            json!({"name": "a.tool", "patch": {"name": "b.b"}}),
            "name",
        ),
        ("dynamic.tool.enable", json!({"name": "a.tool"}), "enabled"),
        ("dynamic.tool.get", json!({"name": "x"}), "name"),
        (
            "dynamic.tool.delete",
            json!({"name": "a.tool", "expectedRevision": "1"}),
            "expectedRevision",
        ),
        (
            "dynamic.tool.update",
            json!({"name": "a.tool", "patch": {}, "expectedRevision": 0}),
            "expectedRevision",
        ),
        ("system.health", json!({"verbose": true}), "verbose"),
        ("dev.echo", json!({"message": ""}), "message"),
    ] {
        let refused = rig.refused(name, bad, "invalid_argument").await;
        assert!(
            refused["error"].as_str().unwrap().contains(word),
            "{refused}"
        );
    }
}
