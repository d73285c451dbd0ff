use domain::tool::Runtime;

use super::*;
use crate::docker::ahead::Ahead;
use crate::docker::daemon::ImageFacts;
use crate::docker::images::ImageId;
use crate::docker::profile::{Network, Purpose};

type Numbers = Homes<u32, ()>;

fn home(tool: &str, tenant: &str, revision: u64, code: &str) -> Home {
    let facts = ImageFacts {
        id: "sha256:1".to_owned(),
        ..ImageFacts::default()
    };
    Home {
        tenant: TenantId::parse(tenant).unwrap(),
        tool: tool.to_owned(),
        revision: Revision(revision),
        code: CodeDigest::of(code),
        key: Key {
            image: ImageId::from(facts),
            runtime: Runtime::Node,
            purpose: Purpose::Call,
            memory_bytes: 1,
            cpu_millis: 1,
            network: Network::None,
            deps: None,
            ahead: Ahead::default(),
        },
    }
}

fn idle(home: &Home, sandbox: u32) -> Idle<u32, ()> {
    Idle {
        home: home.clone(),
        sandbox,
        _packages: None,
        served: 1,
        since: Instant::now(),
    }
}

#[tokio::test]
async fn only_the_same_revision_of_the_same_tenant_shares() {
    let mut homes = Numbers::default();
    let mine = home("a", "default", 1, "return 1");
    assert!(homes.put(idle(&mine, 1)).is_none());
    for other in [
        home("b", "default", 1, "return 1"),
        home("a", "other", 1, "return 1"),
        home("a", "default", 2, "return 1"),
        home("a", "default", 1, "return 2"),
    ] {
        assert!(homes.take(&other).is_none(), "{other:?}");
    }
    assert_eq!(homes.take(&mine).map(|idle| idle.sandbox), Some(1));
    assert!(homes.take(&mine).is_none(), "one call at a time");
}

#[tokio::test]
async fn a_tool_has_so_many_at_once_and_no_more() {
    let mut homes = Numbers::default();
    let mine = home("a", "default", 1, "");
    assert!(homes.put(idle(&mine, 0)).is_none());
    for _ in 1..MAX_OF_ONE {
        assert!(homes.begin(&mine, false));
    }
    assert!(!homes.begin(&mine, false), "the waiting one counts");
    assert!(homes.take(&mine).is_some() && homes.begin(&mine, true));
    homes.ending(&mine);
    assert!(homes.is_ending(&mine));
    homes.end(&mine, true);
    assert!(!homes.is_ending(&mine) && homes.begin(&mine, false));
    for _ in 0..MAX_OF_ONE {
        homes.end(&mine, false);
    }
    assert!(
        homes.used.is_empty(),
        "nothing is remembered of what is over"
    );
}

#[tokio::test(start_paused = true)]
async fn the_longest_waiting_go_first_by_number_and_by_age() {
    let mut homes = Numbers::default();
    for number in 0..MAX_WAITING {
        let tool = home(&format!("tool{number}"), "default", 1, "");
        assert!(
            homes
                .put(idle(&tool, u32::try_from(number).unwrap()))
                .is_none()
        );
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let one_more = home("more", "default", 1, "");
    let gone = homes.put(idle(&one_more, 99)).unwrap();
    assert_eq!(gone.sandbox, 0);
    let longest = Duration::from_secs(13);
    let old = homes.expire(Instant::now(), longest);
    let old: Vec<u32> = old.iter().map(|idle| idle.sandbox).collect();
    assert_eq!(old, [1, 2]);
    assert_eq!(homes.close().len(), MAX_WAITING - 2);
    assert!(homes.put(idle(&one_more, 100)).is_some(), "closed");
    assert!(!homes.begin(&one_more, false));
}
