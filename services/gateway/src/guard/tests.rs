use super::*;

fn guard(max_concurrency: u32, max_calls_per_window: u32) -> Guard {
    let metrics = Metrics::new(telemetry::BuildInfo {
        service: "gateway",
        version: "0",
        commit: "unknown",
    });
    let limits = GuardLimits {
        max_concurrency,
        max_calls_per_window,
        window: Duration::from_secs(60),
    };
    Guard::new(limits, Arc::new(metrics.unwrap()))
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

#[tokio::test(start_paused = true)]
async fn concurrency_is_for_all_scopes_and_places_come_back() {
    let guard = guard(2, 300);
    let first = guard.admit(&tenant("a"), "x", None).unwrap();
    let second = guard.admit(&tenant("b"), "y", None).unwrap();
    let refused = guard.admit(&tenant("a"), "z", None).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Overloaded);
    assert_eq!(
        refused.message(),
        "Too many concurrent tool executions (2/2)."
    );
    assert!(refused.retry_after().is_some());
    drop(first);
    let third = guard.admit(&tenant("a"), "z", None).unwrap();
    drop((second, third));
    assert_eq!(guard.report(&tenant("a")).active_executions, 0);
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_counted_by_tenant_and_scope() {
    let guard = guard(8, 2);
    let a = tenant("a");
    for _ in 0..2 {
        guard.admit(&a, "x", None).unwrap();
    }
    let refused = guard.admit(&a, "x", None).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::RateLimited);
    assert_eq!(
        refused.message(),
        "Rate limit exceeded for x: max 2 calls per 60000ms."
    );
    guard.admit(&a, "y", None).unwrap();
    guard.admit(&tenant("b"), "x", None).unwrap();
    tokio::time::advance(refused.retry_after().unwrap()).await;
    guard.admit(&a, "x", None).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_tool_may_have_a_limit_of_its_own() {
    let guard = guard(8, 300);
    let own = Some(RateLimit {
        max_calls: 1,
        window_ms: 1_000,
    });
    guard.admit(&tenant("a"), "x", own).unwrap();
    let refused = guard.admit(&tenant("a"), "x", own).unwrap_err();
    assert_eq!(
        refused.message(),
        "Rate limit exceeded for x: max 1 calls per 1000ms."
    );
    tokio::time::advance(Duration::from_millis(1_100)).await;
    guard.admit(&tenant("a"), "x", own).unwrap();
    guard.admit(&tenant("a"), "x", None).unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_report_has_the_node_servers_shape_and_only_the_tenants_scopes() {
    let guard = guard(1, 2);
    let a = tenant("a");
    let held = guard.admit(&a, "s", None).unwrap();
    guard.admit(&a, "s", None).unwrap_err();
    held.failed();
    drop(held);
    guard.admit(&tenant("b"), "secret", None).unwrap();
    let report = serde_json::to_value(guard.report(&a)).unwrap();
    assert_eq!(
        report,
        serde_json::json!({
            "activeExecutions": 0,
            "limits": {"maxConcurrency": 1, "maxCallsPerWindow": 2, "windowMs": 60_000},
            "scopes": [{
                "scope": "s", "total": 2, "allowed": 1, "rejectedRate": 0,
                "rejectedConcurrency": 1, "failed": 1
            }]
        })
    );
}

#[tokio::test(start_paused = true)]
async fn scopes_are_bounded_and_idle_ones_make_room() {
    let guard = guard(8, 1);
    let a = tenant("a");
    for n in 0..MAX_SCOPES {
        guard.admit(&a, &format!("scope-{n}"), None).unwrap();
    }
    guard.admit(&a, "one-more", None).unwrap();
    assert_eq!(
        guard.scopes.lock().count,
        MAX_SCOPES + 1,
        "and the shared one"
    );
    assert_eq!(
        guard.admit(&a, "another", None).unwrap_err().code(),
        ErrorCode::RateLimited,
        "it shares the window of all that are too many"
    );
    tokio::time::advance(Duration::from_secs(120)).await;
    guard.admit(&a, "another", None).unwrap();
    assert_eq!(guard.scopes.lock().count, 1);
}
