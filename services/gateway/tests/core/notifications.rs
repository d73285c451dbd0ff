//! What reaches the client while a call runs, and what ends a call.

use std::time::Duration;

use domain::RunEvent;
use domain::runner::LogLevel;
use gateway::operations::Notification;
use serde_json::json;
use testkit::Step;
use tokio::sync::mpsc;

use super::rig::{rig, shown, tool_call};

fn log(level: LogLevel, data: &str) -> Step {
    Step::Event(RunEvent::Log {
        level,
        data: testkit::raw(data),
    })
}

fn progress(progress: f64) -> Step {
    Step::Event(RunEvent::Progress {
        progress,
        total: Some(3.0),
        message: None,
    })
}

fn script() -> Vec<Step> {
    vec![
        Step::accepted(),
        log(LogLevel::Debug, "\"quiet\""),
        log(LogLevel::Warning, "{\n\"a\": 1}"),
        progress(1.0),
        progress(1.0),
        progress(0.5),
        progress(f64::NAN),
        progress(2.0),
        Step::finished("null"),
    ]
}

#[tokio::test]
async fn logs_are_filtered_and_progress_grows() {
    let rig = rig(|_| {}).await;
    rig.create("noisy.tool", json!({})).await;
    rig.executor.play(script());
    let mut call = tool_call("noisy.tool", json!({}));
    call.log_level = Some(LogLevel::Info);
    call.wants_progress = true;
    let (notify, mut heard) = mpsc::channel(64);
    rig.gateway.call_tool(call, notify).await.unwrap();
    let mut told = Vec::new();
    while let Some(notification) = heard.recv().await {
        told.push(match notification {
            Notification::Log {
                level,
                logger,
                data,
            } => {
                assert_eq!(logger, "noisy.tool");
                assert!(!data.get().contains('\n'), "one line on any transport");
                level.as_str().to_owned()
            }
            Notification::Progress {
                progress, total, ..
            } => format!("{progress}/{total:?}"),
        });
    }
    assert_eq!(told, ["warning", "1/Some(3.0)", "2/Some(3.0)"]);
}

#[tokio::test]
async fn who_asks_for_nothing_hears_nothing() {
    let rig = rig(|_| {}).await;
    rig.executor.play(script());
    let (notify, mut heard) = mpsc::channel(64);
    let call = tool_call("run_js_ephemeral", json!({"code": "x"}));
    rig.gateway.call_tool(call, notify).await.unwrap();
    assert!(heard.recv().await.is_none());
}

#[tokio::test]
async fn a_listener_that_is_gone_is_not_the_end_of_the_call() {
    let rig = rig(|_| {}).await;
    rig.executor.play(script());
    let mut call = tool_call("run_js_ephemeral", json!({"code": "x"}));
    call.wants_progress = true;
    let (notify, heard) = mpsc::channel(1);
    drop(heard);
    assert!(!rig.gateway.call_tool(call, notify).await.unwrap().is_error);
}

#[tokio::test(start_paused = true)]
async fn a_slow_listener_holds_the_call_up_to_its_deadline_only() {
    let rig = rig(|_| {}).await;
    rig.executor.play(script());
    let mut call = tool_call("run_js_ephemeral", json!({"code": "x"}));
    call.wants_progress = true;
    call.context.budget = Duration::from_secs(3);
    let (notify, _never_read) = mpsc::channel(1);
    let started = tokio::time::Instant::now();
    let result = shown(rig.gateway.call_tool(call, notify).await.unwrap());
    assert_eq!(started.elapsed(), Duration::from_secs(3));
    assert_eq!(
        result.structured["ok"], true,
        "the tool had finished long before"
    );
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_a_call_and_stops_the_tool() {
    let rig = rig(|_| {}).await;
    rig.executor
        .play([Step::accepted(), Step::Wait(Duration::from_secs(3_600))]);
    let mut call = tool_call("run_js_ephemeral", json!({"code": "x"}));
    call.context.budget = Duration::from_secs(3);
    let result = rig.send(call).await.unwrap();
    assert_eq!(result.structured["code"], "timeout");
    assert_eq!(rig.executor.abandoned(), 1);
    let scopes = rig.ok("system.guard_metrics", json!({})).await.structured;
    assert_eq!(scopes["activeExecutions"], 0);
    assert_eq!(scopes["scopes"][0]["failed"], 1);
}

#[tokio::test]
async fn dropping_the_call_stops_the_tool_and_frees_its_place() {
    let rig = rig(|settings| settings.guard.max_concurrency = 1).await;
    rig.executor
        .play([Step::accepted(), Step::Wait(Duration::from_secs(3_600))]);
    let (notify, _heard) = mpsc::channel(1);
    let call = tool_call("run_js_ephemeral", json!({"code": "x"}));
    let running = rig.gateway.clone();
    let task = tokio::task::JoinSet::from_iter([async move {
        running.call_tool(call, notify).await.map(drop)
    }]);
    rig.executor.until_running(1).await;
    let refused = rig
        .refused("run_js_ephemeral", json!({"code": "x"}), "overloaded")
        .await;
    assert!(refused["retryAfterMs"].as_u64().unwrap() > 0);
    drop(task);
    rig.executor.until_running(0).await;
    assert_eq!(rig.executor.abandoned(), 1);
    rig.executor.play([Step::accepted(), Step::finished("1")]);
    rig.ok("run_js_ephemeral", json!({"code": "x"})).await;
    let text = rig.metrics.encode().unwrap();
    let counted = r#"mcp_tool_executions_total{status="cancelled",tool="run_js_ephemeral"} 1"#;
    assert!(text.contains(counted), "{text}");
}

#[tokio::test]
async fn an_executor_that_goes_away_is_told_as_it_is() {
    let rig = rig(|_| {}).await;
    rig.executor.play([Step::accepted()]);
    let refused = rig
        .refused("run_js_ephemeral", json!({"code": "x"}), "unavailable")
        .await;
    assert_eq!(refused["mayHaveRun"], true);
}
