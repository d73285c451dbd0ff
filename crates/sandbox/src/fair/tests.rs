use super::*;
use domain::id::TenantId;

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn joined(turns: &mut Turns<u32>, name: &str, items: std::ops::Range<u32>) {
    for item in items {
        turns.join(&tenant(name), item).unwrap();
    }
}

fn served(turns: &mut Turns<u32>) -> Vec<u32> {
    std::iter::from_fn(|| turns.next(|_, _| true).map(|(_, item)| item)).collect()
}

/// 39: whoever brings fifty waits for fifty, whoever brings one waits for one.
#[test]
fn fault_39_tenants_are_served_in_turn_and_their_own_in_order() {
    let mut turns = Turns::new(100);
    joined(&mut turns, "a", 0..50);
    joined(&mut turns, "b", 50..51);
    joined(&mut turns, "c", 60..63);
    let order = served(&mut turns);
    assert_eq!(order[..7], [0, 50, 60, 1, 61, 2, 62]);
    assert_eq!(order[7..], (3..50).collect::<Vec<_>>()[..]);
    assert!(turns.is_empty());
    // One that comes back again and again gets every second turn, not every one.
    joined(&mut turns, "a", 0..4);
    joined(&mut turns, "b", 10..11);
    let mut order = Vec::new();
    for n in 11..14 {
        for _ in 0..2 {
            order.push(turns.next(|_, _| true).unwrap().1);
        }
        joined(&mut turns, "b", n..n + 1);
    }
    assert_eq!(order, [0, 10, 1, 11, 2, 12]);
}

#[test]
fn fault_79_a_full_queue_is_shared_and_never_longer_than_it_may_be() {
    let mut turns = Turns::new(4);
    joined(&mut turns, "a", 0..4);
    assert_eq!(
        turns.join(&tenant("a"), 9).unwrap_err(),
        9,
        "all of it is its own"
    );
    let second = turns.join(&tenant("b"), 10).unwrap();
    assert_eq!(second.pushed_out, Some(3), "the last of the longest line");
    assert_eq!(turns.join(&tenant("b"), 11).unwrap().pushed_out, Some(2));
    assert_eq!(
        turns.join(&tenant("b"), 12).unwrap_err(),
        12,
        "both have half"
    );
    let third = turns.join(&tenant("c"), 20).unwrap();
    assert_eq!(third.pushed_out, Some(11), "of two as long, the later");
    for name in ["a", "b", "c"] {
        assert_eq!(turns.join(&tenant(name), 30).unwrap_err(), 30, "{name}");
    }
    assert_eq!(turns.len(), 4);
    assert_eq!(turns.leave(&tenant("b"), second.ticket), Some(10));
    assert_eq!(turns.leave(&tenant("b"), second.ticket), None);
    assert_eq!(served(&mut turns), [0, 20, 1]);
}

#[test]
fn who_may_not_is_passed_over_and_keeps_its_turn() {
    let mut turns = Turns::new(9);
    joined(&mut turns, "a", 0..3);
    joined(&mut turns, "b", 10..12);
    let odd = |_: &TenantId, item: &u32| item % 2 == 1;
    assert_eq!(turns.next(odd).unwrap().1, 1);
    assert_eq!(turns.next(odd).unwrap().1, 11);
    assert!(turns.next(odd).is_none());
    assert_eq!(served(&mut turns), [0, 10, 2]);
    assert!(!turns.has(&tenant("a")) && turns.of(&tenant("b")).next().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_tenant_alone_may_have_everything_and_then_no_more_than_the_others() {
    let (a, b, mut shares) = (tenant("a"), tenant("b"), Shares::default());
    let now = Instant::now;
    shares.arrived(&a, now());
    for _ in 0..5 {
        assert!(shares.is_light(&a, now()) && !shares.are_several(now()));
        shares.took(&a, now());
    }
    shares.arrived(&b, now());
    assert!(shares.are_several(now()));
    assert!(!shares.is_light(&a, now()) && shares.is_light(&b, now()));
    for _ in 0..5 {
        shares.took(&b, now());
    }
    assert!(
        shares.is_light(&a, now()) && shares.is_light(&b, now()),
        "the same"
    );
    shares.took(&b, now());
    assert!(shares.is_light(&a, now()) && !shares.is_light(&b, now()));
    for _ in 0..9 {
        shares.gave_back(&b);
    }
    assert_eq!(shares.held(), 5, "never less than nothing");
    assert!(!shares.is_light(&a, now()), "b is there still");
    tokio::time::advance(Duration::from_secs(31)).await;
    assert!(shares.is_light(&a, now()) && !shares.are_several(now()));
    assert_eq!([0, 1, 2, 8, 16].map(Shares::reserve), [0, 0, 1, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn when_to_come_back_follows_from_how_fast_it_goes() {
    let mut pace = Pace::default();
    assert_eq!(pace.retry_after(0), Duration::from_millis(100));
    for _ in 0..3 {
        pace.served(Instant::now());
        tokio::time::advance(Duration::from_millis(50)).await;
    }
    assert_eq!(pace.retry_after(10), Duration::from_millis(500));
    pace.idle();
    tokio::time::advance(Duration::from_secs(3_600)).await;
    pace.served(Instant::now());
    assert_eq!(pace.retry_after(10), Duration::from_millis(500));
    assert_eq!(pace.retry_after(usize::MAX), Duration::from_secs(30));
}
