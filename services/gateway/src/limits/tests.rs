use bootstrap::config::{GuardConfig, LimitsConfig, Rates};
use domain::{Scope, TenantId};

use super::*;

const MS: Duration = Duration::from_millis(1);

fn rate(max_requests: u32, seconds: u64) -> Rate {
    Rate {
        max_requests,
        window: Duration::from_secs(seconds),
    }
}

fn caller(tenant: &str, subject: &str, tier: Option<&str>) -> Principal {
    let mut principal = Principal::anonymous(&[Scope::Invoke]);
    principal.tenant = TenantId::parse(tenant).unwrap();
    principal.subject = subject.to_owned();
    principal.tier = tier.map(str::to_owned);
    principal
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Waiting as long as it was told succeeds, and a millisecond less does not.
async fn exact<T>(denied: Denied, mut ask: impl FnMut() -> Result<T, Denied>) -> T {
    tokio::time::advance(denied.retry_after - MS).await;
    let Err(early) = ask() else {
        panic!("{denied:?}: a millisecond less would have done");
    };
    assert_eq!((early.limit, early.retry_after), (denied.limit, MS));
    tokio::time::advance(MS).await;
    let Ok(admitted) = ask() else {
        panic!("{denied:?}: the wait was too short");
    };
    admitted
}

#[tokio::test(start_paused = true)]
async fn after_twenty_wrong_credentials_an_address_is_refused_and_let_in_again_to_the_millisecond()
{
    let limits = Limits::default();
    let (attacker, other) = (address("192.0.2.1"), address("192.0.2.2"));
    for _ in 0..20 {
        limits.address(attacker).unwrap();
        limits.failed(attacker);
        tokio::time::advance(Duration::from_millis(37)).await;
    }
    let denied = limits.address(attacker).unwrap_err();
    assert_eq!(denied.limit, Limit::AddressFailures);
    limits.address(other).unwrap();
    exact(denied, || limits.address(attacker)).await;
    assert_eq!(limits.tracked()[0], ("address_failures", 1));
}

#[tokio::test(start_paused = true)]
async fn requests_of_an_address_have_a_rate_of_their_own() {
    let limits = Limits::new(LimitSettings {
        addresses: Some(rate(3, 10)),
        auth_failures: None,
        ..LimitSettings::default()
    });
    let here = address("192.0.2.1");
    for _ in 0..3 {
        limits.failed(here);
        limits.address(here).unwrap();
    }
    let denied = limits.address(here).unwrap_err();
    assert_eq!(denied.limit, Limit::Address);
    limits.address(address("192.0.2.2")).unwrap();
    exact(denied, || limits.address(here)).await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_has_the_rate_of_its_tier_and_leaves_others_alone() {
    let limits = Limits::new(LimitSettings {
        callers: Rates {
            any: Some(rate(2, 60)),
            named: [("pro".to_owned(), rate(5, 30))].into(),
        },
        ..LimitSettings::default()
    });
    let ask = |who: &Principal| limits.caller(who, true).map(drop);
    let [free, pro] = [caller("a", "free", None), caller("a", "pro", Some("pro"))];
    let unnamed = caller("a", "x", Some("no such tier"));
    for (who, allowed) in [(&free, 2), (&pro, 5), (&unnamed, 2)] {
        for _ in 0..allowed {
            ask(who).unwrap();
        }
        assert_eq!(ask(who).unwrap_err().limit, Limit::Caller, "{who:?}");
    }
    ask(&caller("b", "free", None)).unwrap();
    let denied = ask(&pro).unwrap_err();
    exact(denied, || ask(&pro)).await;
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_that_of_the_limit_that_takes_longest() {
    let limits = Limits::new(LimitSettings {
        global: Some(rate(2, 60)),
        callers: Rates {
            any: Some(rate(1, 10)),
            ..Rates::default()
        },
        ..LimitSettings::default()
    });
    let [a, b, c] = ["a", "b", "c"].map(|name| caller("t", name, None));
    let ask = |who: &Principal| limits.caller(who, true).map(drop);
    ask(&a).unwrap();
    assert_eq!(ask(&a).unwrap_err().limit, Limit::Caller);
    ask(&b).unwrap();
    assert_eq!(ask(&c).unwrap_err().limit, Limit::Global);
    let denied = ask(&a).unwrap_err();
    assert_eq!(
        denied.limit,
        Limit::Global,
        "waiting for its own would not do"
    );
    exact(denied, || ask(&a)).await;
}

#[tokio::test(start_paused = true)]
async fn requests_in_progress_are_bounded_by_caller_but_not_of_one_who_stands_for_all() {
    let limits = Limits::new(LimitSettings {
        max_in_flight_per_caller: 2,
        ..LimitSettings::default()
    });
    let one = caller("t", "one", None);
    let held = [
        limits.caller(&one, true).unwrap(),
        limits.caller(&one, true).unwrap(),
    ];
    assert_eq!(
        limits.caller(&one, true).unwrap_err().limit,
        Limit::CallerInFlight
    );
    assert!(limits.caller(&caller("t", "two", None), true).is_ok());
    assert!(limits.caller(&caller("u", "one", None), true).is_ok());
    drop(held);
    assert!(limits.caller(&one, true).is_ok());
    let everybody: Vec<_> = (0..100)
        .map(|_| limits.caller(&one, false).unwrap())
        .collect();
    assert!(everybody.iter().all(Option::is_none));
}

#[tokio::test(start_paused = true)]
async fn callers_without_end_are_bounded() {
    let limits = Limits::new(LimitSettings {
        callers: Rates {
            any: Some(rate(1, 60)),
            ..Rates::default()
        },
        ..LimitSettings::default()
    });
    let mut admitted = 0;
    for n in 0..100_000 {
        let one = caller("t", &format!("caller-{n}"), None);
        admitted += usize::from(limits.caller(&one, true).is_ok());
    }
    let [.., (_, known)] = limits.tracked();
    assert!(known <= MAX_CALLERS);
    assert_eq!(admitted, known + 1, "those beyond share one allowance");
}

#[test]
fn every_limit_and_its_default_is_in_the_docs() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/limits.md");
    let page = std::fs::read_to_string(page).unwrap();
    let keys = GuardConfig::KEYS.iter().chain(LimitsConfig::KEYS);
    for key in keys {
        let default = match key.default {
            "" => key.default_note.to_owned(),
            default => format!("`{default}`"),
        };
        let row = format!("| `{}` | `{}` | {default} |", key.name, key.file);
        assert!(page.contains(&row), "docs/limits.md lacks {row:?}");
    }
    for limit in Limit::ALL {
        let row = format!("| `{}` |", limit.as_str());
        assert!(page.contains(&row), "docs/limits.md lacks {row:?}");
    }
}
