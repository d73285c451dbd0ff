use bootstrap::config::Rates;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn guard(max_concurrency: u32, max_calls_per_window: u32) -> Guard {
    guard_with(max_concurrency, max_calls_per_window, CallLimits::default())
}

fn guard_with(max_concurrency: u32, max_calls_per_window: u32, more: CallLimits) -> Guard {
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
    Guard::new(limits, more, Arc::new(metrics.unwrap()))
}

fn rate(max_requests: u32, seconds: u64) -> Rate {
    Rate {
        max_requests,
        window: Duration::from_secs(seconds),
    }
}

fn caller(tenant: &str, subject: &str) -> Principal {
    let mut principal = Principal::anonymous(&[]);
    principal.tenant = TenantId::parse(tenant).unwrap();
    principal.subject = subject.to_owned();
    principal
}

/// A call by somebody of the tenant.
fn admit(guard: &Guard, tenant: &str, name: &str) -> Result<Permit, Error> {
    guard.admit(&caller(tenant, "somebody"), ScopeName::whole(name), None)
}

fn kinds(guard: &Guard, kind: &str) -> u64 {
    let rejections = &guard.metrics.guard_rejections;
    rejections.with_label_values(&[kind]).get()
}

/// Waiting as long as it was told succeeds, and a millisecond less does not.
async fn exact(refused: Error, mut ask: impl FnMut() -> Result<Permit, Error>) {
    assert_eq!(refused.code(), ErrorCode::RateLimited);
    tokio::time::advance(refused.retry_after().unwrap() - MS).await;
    assert_eq!(ask().unwrap_err().retry_after(), Some(MS), "too long");
    tokio::time::advance(MS).await;
    ask().unwrap();
}

#[tokio::test(start_paused = true)]
async fn concurrency_is_for_all_scopes_and_places_come_back() {
    let guard = guard(2, 300);
    let first = admit(&guard, "a", "x").unwrap();
    let second = admit(&guard, "b", "y").unwrap();
    let refused = admit(&guard, "a", "z").unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Overloaded);
    assert_eq!(
        refused.message(),
        "Too many concurrent tool executions (2/2)."
    );
    assert!(refused.retry_after().is_some());
    drop(first);
    let third = admit(&guard, "a", "z").unwrap();
    drop((second, third));
    let a = TenantId::parse("a").unwrap();
    let report = serde_json::to_value(guard.report(&a)).unwrap();
    assert_eq!(report["activeExecutions"], 0);
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_counted_by_tenant_and_scope() {
    let guard = guard(8, 2);
    for _ in 0..2 {
        admit(&guard, "a", "x").unwrap();
    }
    let refused = admit(&guard, "a", "x").unwrap_err();
    assert_eq!(
        refused.message(),
        "Rate limit exceeded for x: max 2 calls per 60000ms."
    );
    admit(&guard, "a", "y").unwrap();
    admit(&guard, "b", "x").unwrap();
    let stored = ScopeName::stored("x");
    guard.admit(&caller("a", "somebody"), stored, None).unwrap();
    exact(refused, || admit(&guard, "a", "x")).await;
}

#[tokio::test(start_paused = true)]
async fn a_tool_may_have_a_limit_of_its_own() {
    let guard = guard(8, 300);
    let own = Some(RateLimit {
        max_calls: 1,
        window_ms: 1_000,
    });
    let a = caller("a", "somebody");
    let ask = || guard.admit(&a, ScopeName::stored("x"), own);
    ask().unwrap();
    let refused = ask().unwrap_err();
    assert_eq!(
        refused.message(),
        "Rate limit exceeded for dynamic.exec.x: max 1 calls per 1000ms."
    );
    exact(refused, ask).await;
    guard.admit(&a, ScopeName::stored("x"), None).unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_configuration_can_name_tools_and_tenants() {
    let more = CallLimits {
        tools: Rates {
            any: Some(rate(4, 60)),
            named: [("x.y".to_owned(), rate(1, 10))].into(),
        },
        tenants: Rates {
            any: None,
            named: [("small".to_owned(), rate(2, 30))].into(),
        },
        ..CallLimits::default()
    };
    let guard = guard_with(100, 1_000, more);
    let ask = |tenant: &str, tool: &str| {
        guard.admit(&caller(tenant, "somebody"), ScopeName::stored(tool), None)
    };
    ask("large", "x.y").unwrap();
    let refused = ask("large", "x.y").unwrap_err();
    exact(refused, || ask("large", "x.y")).await;
    for _ in 0..4 {
        ask("large", "other").unwrap();
    }
    ask("large", "other").unwrap_err();

    ask("small", "a").unwrap();
    ask("small", "b").unwrap();
    let refused = ask("small", "c").unwrap_err();
    assert_eq!(
        refused.message(),
        "Rate limit exceeded for this tenant: max 2 calls per 30000ms."
    );
    ask("large", "c").unwrap();
    exact(refused, || ask("small", "c")).await;
    assert_eq!(kinds(&guard, "tenant_rate"), 2);
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_that_of_the_limit_that_takes_longest_and_a_refused_call_uses_up_nothing() {
    let more = CallLimits {
        tenants: Rates {
            any: Some(rate(3, 60)),
            ..Rates::default()
        },
        ..CallLimits::default()
    };
    let guard = guard_with(100, 300, more);
    let own = Some(RateLimit {
        max_calls: 1,
        window_ms: 1_000,
    });
    let a = caller("a", "somebody");
    let ask = || guard.admit(&a, ScopeName::stored("x"), own);
    ask().unwrap();
    for _ in 0..10 {
        let refused = ask().unwrap_err();
        assert!(refused.retry_after().unwrap() < Duration::from_secs(2));
    }
    admit(&guard, "a", "y").unwrap();
    admit(&guard, "a", "z").unwrap();
    let refused = ask().unwrap_err();
    assert!(refused.retry_after().unwrap() > Duration::from_secs(50));
    exact(refused, ask).await;
}

#[tokio::test(start_paused = true)]
async fn one_tenant_and_one_caller_leave_places_to_the_others() {
    let more = CallLimits {
        tenant_concurrency: Some(3),
        caller_concurrency: Some(2),
        ..CallLimits::default()
    };
    let guard = guard_with(5, 300, more);
    let ask = |tenant: &str, subject: &str| {
        guard.admit(&caller(tenant, subject), ScopeName::whole("x"), None)
    };
    let refused = |tenant: &str, subject: &str| {
        let refused = ask(tenant, subject).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Overloaded);
        refused.message().to_owned()
    };
    let held = [ask("a", "one").unwrap(), ask("a", "one").unwrap()];
    assert_eq!(
        refused("a", "one"),
        "Too many concurrent tool executions of this caller (2/2)."
    );
    let more = ask("a", "two").unwrap();
    assert_eq!(
        refused("a", "two"),
        "Too many concurrent tool executions of this tenant (3/3)."
    );
    let others = [ask("b", "one").unwrap(), ask("b", "one").unwrap()];
    assert_eq!(
        refused("c", "one"),
        "Too many concurrent tool executions (5/5)."
    );
    drop(more);
    let again = ask("a", "two").unwrap();
    drop((held, others, again));
    for (kind, count) in [
        ("caller_concurrency", 1),
        ("tenant_concurrency", 1),
        ("concurrency", 1),
    ] {
        assert_eq!(kinds(&guard, kind), count, "{kind}");
    }
    let all: Vec<_> = (0..2).map(|_| ask("c", "one").unwrap()).collect();
    assert_eq!(all.len(), 2, "the refused one took no place of its caller");
}

#[tokio::test(start_paused = true)]
async fn the_report_has_the_node_servers_shape_and_only_the_tenants_scopes() {
    let guard = guard(1, 2);
    let held = admit(&guard, "a", "s").unwrap();
    admit(&guard, "a", "s").unwrap_err();
    held.failed();
    drop(held);
    admit(&guard, "b", "secret").unwrap();
    let a = TenantId::parse("a").unwrap();
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
    let mut admitted = 0;
    for n in 0..100_000 {
        admitted += usize::from(admit(&guard, "a", &format!("scope-{n}")).is_ok());
    }
    let known = guard.scopes.len();
    assert!(known <= MAX_SCOPES, "{known}");
    assert_eq!(admitted, known + 1, "those beyond share one window");
    tokio::time::advance(Duration::from_secs(120)).await;
    admit(&guard, "a", "another").unwrap();
    assert!(guard.scopes.len() < known);
}

#[tokio::test(start_paused = true)]
async fn who_guesses_the_admin_token_is_refused_before_the_next_guess() {
    let guesses = AdminGuesses::new(&CallLimits::default());
    let context = |subject: &str| {
        let request = domain::RequestId::random();
        domain::CallContext::new(
            Arc::new(caller("a", subject)),
            request,
            Duration::from_secs(1),
        )
    };
    for _ in 0..20 {
        guesses.check(&context("mallory")).unwrap();
        guesses.wrong(&context("mallory"));
    }
    let refused = guesses.check(&context("mallory")).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::RateLimited);
    guesses.check(&context("alice")).unwrap();
    tokio::time::advance(refused.retry_after().unwrap() - MS).await;
    guesses.check(&context("mallory")).unwrap_err();
    tokio::time::advance(MS).await;
    guesses.check(&context("mallory")).unwrap();
}
