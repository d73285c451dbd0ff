use tokio::task::JoinSet;
use tokio::time::sleep;

use super::*;

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

const LONG: Duration = Duration::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn a_full_queue_and_a_long_wait_are_overloaded_with_a_time_to_come_back() {
    let (a, slots) = (tenant("a"), Arc::new(Slots::new(1, 1)));
    let first = slots.take(&a, Duration::from_secs(1)).await.unwrap();
    let mut tasks = JoinSet::new();
    let (waiting, same) = (Arc::clone(&slots), a.clone());
    tasks.spawn(async move { waiting.take(&same, Duration::from_secs(5)).await.map(drop) });
    tokio::task::yield_now().await;
    assert_eq!((slots.taken(), slots.waiting()), (1, 1));

    let refused = slots.take(&a, Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Overloaded);
    assert!(refused.retry_after().is_some());

    drop(first);
    tasks.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!((slots.taken(), slots.waiting()), (0, 0));

    let _held = slots.take(&a, Duration::ZERO).await.unwrap();
    let late = slots.take(&a, Duration::from_secs(2)).await.unwrap_err();
    assert_eq!(late.code(), ErrorCode::Overloaded);
    assert_eq!(slots.waiting(), 0);
}

/// Calls of a second each, so many of a tenant at the same time; what each waited, in order of service.
async fn load(slots: &Arc<Slots>, tenant: TenantId, calls: usize) -> Vec<Duration> {
    let mut tasks = JoinSet::new();
    for _ in 0..calls {
        let (slots, tenant) = (Arc::clone(slots), tenant.clone());
        tasks.spawn(async move {
            let begun = Instant::now();
            let slot = slots.take(&tenant, LONG).await;
            let waited = begun.elapsed();
            if slot.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
            (slot.is_ok(), waited)
        });
    }
    let mut waited = Vec::new();
    while let Some(done) = tasks.join_next().await {
        if let (true, time) = done.unwrap() {
            waited.push(time);
        }
    }
    waited
}

/// 39: with fifty times the capacity of another tenant before it, a tenant with a single call in flight
/// waits for no more than one of them; after the first one it waits for none.
#[tokio::test(start_paused = true)]
async fn fault_39_a_tenant_with_one_call_does_not_wait_for_the_many_of_another() {
    let slots = Arc::new(Slots::new(4, 400));
    let (many, few) = (tenant("many"), tenant("few"));
    let flood = load(&slots, many, 200);
    let single = async {
        sleep(Duration::from_millis(100)).await;
        let mut waited = Vec::new();
        for _ in 0..10 {
            waited.extend(load(&slots, few.clone(), 1).await);
        }
        waited
    };
    let (flood, single) = tokio::join!(flood, single);
    assert_eq!(
        single[0],
        Duration::from_millis(900),
        "the first that became free"
    );
    assert_eq!(single[1..], [Duration::ZERO; 9], "one is kept for it");
    assert_eq!(flood.len(), 200, "and nobody was refused");
    assert_eq!((slots.taken(), slots.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_tenant_alone_has_every_slot_and_every_place() {
    let slots = Arc::new(Slots::new(4, 4));
    let begun = Instant::now();
    let served = load(&slots, tenant("a"), 12).await;
    assert_eq!(
        served.len(),
        8,
        "four at once, four that waited, four refused"
    );
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
}

/// 79: a queue that is full of one tenant makes room for another, whose own are as many at most.
#[tokio::test(start_paused = true)]
async fn fault_79_a_second_tenant_gets_its_share_of_a_full_queue() {
    let slots = Arc::new(Slots::new(2, 10));
    let flood = load(&slots, tenant("a"), 30);
    let second = async {
        sleep(Duration::from_millis(100)).await;
        load(&slots, tenant("b"), 30).await
    };
    let (a, b) = tokio::join!(flood, second);
    assert_eq!((a.len(), b.len()), (2 + 5, 5));
    slots.all_free().await;
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_leaves_nothing_behind_also_when_it_was_just_served() {
    let (a, slots) = (tenant("a"), Arc::new(Slots::new(1, 4)));
    let held = slots.take(&a, LONG).await.unwrap();
    {
        let mut gone = Box::pin(slots.take(&a, LONG));
        assert!(futures::poll!(&mut gone).is_pending());
        drop(held);
        assert_eq!(slots.taken(), 1, "served, and not yet told");
    }
    assert_eq!((slots.taken(), slots.waiting()), (0, 0));
    drop(slots.take(&a, Duration::ZERO).await.unwrap());
}
