//! What is served again, to whom, and what is not.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::runner::LogLevel;
use domain::{Principal, RunEvent, Scope, TenantId};
use gateway::cache::CacheSettings;
use gateway::operations::ToolCall;
use serde_json::{Value, json};
use testkit::Step;
use tokio::time::sleep;

use super::rig::{CALLER, Rig, Shown, rig, tool_call, tool_call_as};

/// A tool that can be cached for a minute.
fn cached(scope: &str) -> Value {
    json!({"cache": {"ttlSeconds": 60, "scope": scope}, "inputSchema": {"type": "object"}})
}

fn somebody(subject: &str) -> Principal {
    Principal {
        subject: subject.to_owned(),
        ..Principal::anonymous(CALLER)
    }
}

fn hit(shown: &Shown) -> bool {
    shown.meta["dynamic-mcp/cache"]["hit"] == true
}

impl Rig {
    /// Whether the answer came from the cache.
    async fn hits(&self, call: ToolCall) -> bool {
        let runs = self.executor.calls().len();
        let shown = self.send(call).await.unwrap();
        assert!(!shown.is_error, "{}", shown.text());
        assert_eq!(shown.structured["result"], json!({"sum": 5}));
        let ran = self.executor.calls().len() - runs;
        assert_eq!(
            ran,
            usize::from(!hit(&shown)),
            "what says it is a hit does not run"
        );
        hit(&shown)
    }

    fn counted(&self, outcome: &str) -> u64 {
        let lookups = &self.metrics.response_cache_lookups;
        lookups.with_label_values(&[outcome]).get()
    }
}

#[tokio::test]
async fn a_tool_that_says_nothing_is_never_cached() {
    let rig = rig(|_| {}).await;
    rig.create("plain.tool", json!({})).await;
    for _ in 0..3 {
        assert!(!rig.hits(tool_call("plain.tool", json!({}))).await);
    }
    assert_eq!(rig.counted("miss") + rig.counted("hit"), 0);
}

#[tokio::test]
async fn the_same_call_is_answered_again_and_any_other_runs() {
    let rig = rig(|_| {}).await;
    rig.create("a.tool", cached("caller")).await;
    rig.create("b.tool", cached("caller")).await;
    let call = |arguments: Value| tool_call("a.tool", arguments);
    assert!(
        !rig.hits(call(json!({"x": 1, "y": {"a": [1, 2], "b": "ü"}})))
            .await
    );
    let mut reordered = call(json!({}));
    let text = r#"{ "y":{"b":"\u00fc", "a":[1,2]}, "x":1 }"#;
    reordered.arguments = Some(testkit::raw(text));
    assert!(
        rig.hits(reordered).await,
        "the same arguments, written differently"
    );
    for other in [
        json!({"x": 2, "y": {"a": [1, 2], "b": "ü"}}),
        json!({"x": 1}),
        json!({"x": "1"}),
        json!({"x": 1.0}),
        json!({"x": [1]}),
        json!({}),
    ] {
        assert!(!rig.hits(call(other.clone())).await, "{other}");
        assert!(rig.hits(call(other.clone())).await, "{other}");
    }
    assert!(
        !rig.hits(tool_call("b.tool", json!({"x": 1}))).await,
        "another tool"
    );
    let mut capable = call(json!({"x": 1}));
    capable.client_capabilities = Some(testkit::raw(r#"{"sampling":{}}"#));
    assert!(
        !rig.hits(capable).await,
        "the code can see what the client can do"
    );
    assert_eq!(rig.counted("hit"), 7);
}

#[tokio::test]
async fn a_new_revision_answers_for_itself() {
    let rig = rig(|_| {}).await;
    rig.create("a.tool", cached("caller")).await;
    let call = || tool_call("a.tool", json!({}));
    assert!(!rig.hits(call()).await);
    assert!(rig.hits(call()).await);
    let patch = json!({"name": "a.tool", "patch": {"description": "the same code"}});
    rig.ok("dynamic.tool.update", patch).await;
    assert!(!rig.hits(call()).await);
    assert!(rig.hits(call()).await);
    rig.ok("dynamic.tool.delete", json!({"name": "a.tool"}))
        .await;
    rig.unknown(call()).await;
    rig.create("a.tool", cached("caller")).await;
    assert!(!rig.hits(call()).await, "numbers are not used again");
}

#[tokio::test]
async fn nobody_gets_what_was_made_for_another_unless_the_tool_says_so() {
    let rig = rig(|_| {}).await;
    rig.create("mine.tool", cached("caller")).await;
    rig.create("ours.tool", cached("tenant")).await;
    rig.create("usual.tool", json!({"cache": {"ttlSeconds": 60}}))
        .await;
    let by = |who: &str, tool: &str| tool_call_as(somebody(who), tool, json!({}));
    for tool in ["mine.tool", "usual.tool"] {
        assert!(!rig.hits(by("ann", tool)).await);
        assert!(!rig.hits(by("bob", tool)).await);
        assert!(rig.hits(by("ann", tool)).await);
        assert!(rig.hits(by("bob", tool)).await);
    }
    assert!(!rig.hits(by("ann", "ours.tool")).await);
    assert!(rig.hits(by("bob", "ours.tool")).await);

    // A tenant has its own tools; what one of the same name and code answers is not another's.
    let other = Principal {
        tenant: TenantId::parse("other").unwrap(),
        ..somebody("ann")
    };
    let definition = json!({"name": "ours.tool", "description": "d", "code": "return 1;",
        "cache": {"ttlSeconds": 60, "scope": "tenant"}, "inputSchema": {"type": "object"}});
    let create = tool_call_as(
        other.clone(),
        "dynamic.tool.create",
        json!({"tool": definition}),
    );
    assert!(!rig.send(create).await.unwrap().is_error);
    assert!(!rig.hits(tool_call_as(other, "ours.tool", json!({}))).await);
}

#[tokio::test]
async fn rights_and_limits_come_before_the_cache() {
    let rig = rig(|_| {}).await;
    let mut guarded = cached("tenant");
    guarded["requiredScopes"] = json!(["team:blue"]);
    guarded["rateLimit"] = json!({"maxCalls": 3, "windowMs": 60_000});
    rig.create("blue.tool", guarded).await;
    let mut blue = somebody("ann");
    blue.scopes.insert("team:blue".to_owned());
    let call = || tool_call_as(blue.clone(), "blue.tool", json!({}));
    assert!(!rig.hits(call()).await);
    assert!(rig.hits(call()).await);
    rig.unknown(tool_call_as(somebody("bob"), "blue.tool", json!({})))
        .await;
    let mut no_more = blue.clone();
    no_more.scopes.remove(Scope::Invoke.as_str());
    rig.unknown(tool_call_as(no_more, "blue.tool", json!({})))
        .await;
    assert!(rig.hits(call()).await);
    let limited = rig.send(call()).await.unwrap();
    assert_eq!(
        limited.structured["code"], "rate_limited",
        "cached calls count"
    );
}

#[tokio::test]
async fn only_a_silent_success_is_kept() {
    let rig = rig(|_| {}).await;
    rig.create("a.tool", cached("caller")).await;
    let call = || tool_call("a.tool", json!({}));
    let spoke = |step: Step| vec![Step::accepted(), step, Step::finished(r#"{"sum":5}"#)];
    let failed = domain::Outcome::failed(domain::ErrorCode::ToolFailed, "thrown");
    for script in [
        vec![Step::accepted(), Step::Event(RunEvent::Finished(failed))],
        vec![
            Step::accepted(),
            Step::finished(r#"{"content":[],"isError":true}"#),
        ],
        vec![Step::accepted()],
    ] {
        rig.executor.play(script);
        assert!(rig.send(call()).await.unwrap().is_error);
    }
    for step in [
        Step::Event(RunEvent::Log {
            level: LogLevel::Info,
            data: testkit::raw("1"),
        }),
        Step::Event(RunEvent::Progress {
            progress: 1.0,
            total: None,
            message: None,
        }),
    ] {
        rig.executor.play(spoke(step));
        assert!(!rig.hits(call()).await);
    }
    rig.executor
        .play([Step::accepted(), Step::finished(r#"{"sum":5}"#)]);
    assert!(!rig.hits(call()).await, "nothing of all that was kept");
    assert!(rig.hits(call()).await);
    // Whoever wants to hear something does not get the answer of a call that was told not to speak.
    for change in [
        |call: &mut ToolCall| call.log_level = Some(LogLevel::Debug),
        |call: &mut ToolCall| call.wants_progress = true,
    ] {
        let mut call = call();
        change(&mut call);
        assert!(!rig.hits(call).await);
    }
}

#[tokio::test]
async fn a_cached_answer_is_the_answer_with_its_age() {
    let rig = rig(|_| {}).await;
    rig.create("a.tool", cached("caller")).await;
    let first = rig.ok("a.tool", json!({})).await;
    let again = rig.ok("a.tool", json!({})).await;
    assert_eq!(
        (&again.content, &again.structured),
        (&first.content, &first.structured)
    );
    assert_eq!(
        first.meta,
        json!({"dynamic-mcp/engine": first.meta["dynamic-mcp/engine"]})
    );
    let said = json!({"hit": true, "ageSeconds": 0});
    assert_eq!(again.meta["dynamic-mcp/cache"], said);
    assert_eq!(
        again.meta["dynamic-mcp/engine"],
        first.meta["dynamic-mcp/engine"]
    );
}

#[tokio::test]
async fn answers_end_by_the_tool_and_by_the_configuration() {
    let rig = rig(|settings| {
        settings.cache = CacheSettings {
            longest: Duration::from_secs(1),
            tools: BTreeMap::from([("off.tool".to_owned(), Duration::ZERO)]),
            ..CacheSettings::default()
        };
    })
    .await;
    rig.create("long.tool", cached("caller")).await;
    rig.create("off.tool", cached("caller")).await;
    assert!(!rig.hits(tool_call("long.tool", json!({}))).await);
    assert!(rig.hits(tool_call("long.tool", json!({}))).await);
    for _ in 0..2 {
        assert!(!rig.hits(tool_call("off.tool", json!({}))).await);
    }
    sleep(Duration::from_millis(1_100)).await;
    assert!(!rig.hits(tool_call("long.tool", json!({}))).await);
}

#[tokio::test]
async fn numbers_that_cannot_be_told_apart_are_not_cached() {
    let rig = rig(|_| {}).await;
    rig.create("a.tool", cached("caller")).await;
    for number in ["100000000000000000001", "100000000000000000002", "1e300"] {
        let mut call = tool_call("a.tool", json!({}));
        call.arguments = Some(testkit::raw(&format!("{{\"n\":{number}}}")));
        assert!(!rig.hits(call).await);
    }
    assert_eq!(rig.counted("uncacheable"), 3);
    for number in ["9007199254740993", "9007199254740992", "0.5", "-1"] {
        let call = || {
            let mut call = tool_call("a.tool", json!({}));
            call.arguments = Some(testkit::raw(&format!("{{\"n\":{number}}}")));
            call
        };
        assert!(!rig.hits(call()).await, "{number}");
        assert!(rig.hits(call()).await, "{number}");
    }
}

#[tokio::test]
async fn memory_is_bounded_and_seen() {
    let rig = rig(|settings| settings.cache.max_bytes = 64 << 10).await;
    rig.create("a.tool", cached("caller")).await;
    let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(4_000));
    for number in 0..200 {
        rig.executor.play([Step::accepted(), Step::finished(&long)]);
        rig.ok("a.tool", json!({"n": number})).await;
    }
    // What is over the bound goes within a moment.
    let end = tokio::time::Instant::now() + Duration::from_secs(5);
    loop {
        let check = rig
            .gateway
            .health()
            .into_iter()
            .find(|check| check.name == "cache")
            .unwrap();
        let responses = check.detail["responses"].clone();
        assert_eq!(responses["backend"], "memory");
        assert!(check.healthy && !check.needed);
        let bytes = responses["bytes"].as_u64().unwrap();
        if (1..=64 << 10).contains(&bytes) && responses["entries"].as_u64().unwrap() < 20 {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "{responses}");
        rig.send(tool_call("a.tool", json!({"n": 0})))
            .await
            .unwrap();
        sleep(Duration::from_millis(20)).await;
    }
    let scraped = rig.metrics.encode().unwrap();
    let line = scraped
        .lines()
        .find(|line| line.starts_with("mcp_response_cache_bytes "))
        .unwrap();
    let bytes: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((1..=64 << 10).contains(&bytes), "{line}");
    assert!(
        rig.metrics
            .response_cache_stores
            .with_label_values(&["stored"])
            .get()
            >= 200
    );

    rig.executor.play([
        Step::accepted(),
        Step::finished(&format!(
            r#""{}""#,
            "x".repeat(gateway::cache::MAX_ANSWER_BYTES)
        )),
    ]);
    rig.send(tool_call("a.tool", json!({"n": "huge"})))
        .await
        .unwrap();
    assert_eq!(
        rig.metrics
            .response_cache_stores
            .with_label_values(&["too_large"])
            .get(),
        1
    );
}

#[tokio::test]
async fn a_cache_that_is_off_does_nothing() {
    let rig = rig(|settings| settings.cache.enabled = false).await;
    rig.create("a.tool", cached("tenant")).await;
    for _ in 0..3 {
        assert!(!rig.hits(tool_call("a.tool", json!({}))).await);
    }
    let check = rig
        .gateway
        .health()
        .into_iter()
        .find(|check| check.name == "cache")
        .unwrap();
    assert_eq!(check.detail["responses"], json!({"backend": "off"}));
}
