//! What is refused, and how it is told.

use domain::{Error, ErrorCode};
use serde_json::json;

use super::rig::{rig, tool_call};

#[tokio::test]
async fn a_name_that_means_nothing_is_an_unknown_tool() {
    let rig = rig(|_| {}).await;
    for name in [
        "no.such.tool",
        "",
        "upstream.mcp.attach",
        "dynamic.tool.nothing",
        "TIME.NOW",
    ] {
        rig.unknown(tool_call(name, json!({}))).await;
    }
    let text = rig.metrics.encode().unwrap();
    assert!(
        !text.contains("no.such.tool"),
        "what a stranger types is no label"
    );
}

#[tokio::test]
async fn the_guard_counts_calls_of_code_and_of_management_only() {
    let rig = rig(|settings| settings.guard.max_calls_per_window = 2).await;
    rig.create("rate.one", json!({})).await;
    for _ in 0..2 {
        rig.ok("rate.one", json!({})).await;
    }
    let refused = rig.refused("rate.one", json!({}), "rate_limited").await;
    let told = refused["error"].as_str().unwrap();
    let expected = "Rate limit exceeded for dynamic.exec.rate.one: max 2 calls per 60000ms.";
    assert!(told.starts_with(expected), "{told}");
    assert!(refused["retryAfterMs"].as_u64().unwrap() <= 62_000);
    for _ in 0..5 {
        rig.ok("system.health", json!({})).await;
        rig.ok("time.now", json!({})).await;
    }
    let metrics = rig.ok("system.guard_metrics", json!({})).await.structured;
    assert_eq!(
        metrics["scopes"],
        json!([
            {"scope": "dynamic.exec.rate.one", "total": 3, "allowed": 2, "rejectedRate": 1,
             "rejectedConcurrency": 0, "failed": 0},
            {"scope": "dynamic.tool.create", "total": 1, "allowed": 1, "rejectedRate": 0,
             "rejectedConcurrency": 0, "failed": 0}
        ])
    );
}

#[tokio::test]
async fn a_tools_own_rate_limit_is_kept() {
    let rig = rig(|_| {}).await;
    rig.create(
        "slow.tool",
        json!({"rateLimit": {"maxCalls": 1, "windowMs": 60_000}}),
    )
    .await;
    rig.ok("slow.tool", json!({})).await;
    rig.refused("slow.tool", json!({}), "rate_limited").await;
}

#[tokio::test]
async fn what_the_executor_refuses_is_told_with_its_code() {
    let rig = rig(|_| {}).await;
    rig.create("a.tool", json!({})).await;
    for code in [
        ErrorCode::Overloaded,
        ErrorCode::PolicyDenied,
        ErrorCode::Unavailable,
    ] {
        rig.executor
            .refuse_with(Error::new(code, "because").with_field("dependencies"));
        let refused = rig.refused("a.tool", json!({}), code.as_str()).await;
        assert_eq!(refused["field"], "dependencies");
    }
    rig.executor.refuse_with(Error::internal("secret cause"));
    let refused = rig.refused("a.tool", json!({}), "internal").await;
    assert_eq!(
        refused["error"],
        "internal error; look up request request-1 in the log"
    );
}

#[tokio::test]
async fn each_call_is_counted_by_how_it_ended() {
    let rig = rig(|_| {}).await;
    rig.create("a.tool", json!({})).await;
    rig.ok("a.tool", json!({})).await;
    rig.refused("a.tool", json!({"x": 1}), "invalid_argument")
        .await;
    let text = rig.metrics.encode().unwrap();
    for line in [
        r#"mcp_tool_executions_total{status="ok",tool="a.tool"} 1"#,
        r#"mcp_tool_executions_total{status="invalid_argument",tool="a.tool"} 1"#,
        r#"mcp_tool_execution_duration_seconds_count{engine="isolate",status="ok"} 1"#,
        "mcp_catalogue_tools 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn reserved_names_are_left_to_the_registry_and_never_served() {
    let rig = rig(|_| {}).await;
    // The fake stores anything, as an older version of the registry did.
    rig.create("upstream.mcp.attach", json!({})).await;
    assert!(rig.listed().is_empty());
    rig.unknown(tool_call("upstream.mcp.attach", json!({})))
        .await;
    let list = rig.ok("dynamic.tool.list", json!({})).await.structured;
    assert_eq!(list["tools"][0]["shadowed"], true);
}
