use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use domain::tool::Runtime;
use futures::future::join_all;
use tokio::time::{sleep, timeout};

use super::*;
use crate::Miss;
use crate::docker::ahead::Ahead;
use crate::docker::daemon::ImageFacts;
use crate::docker::profile::{Network, Purpose};

/// Makes numbers, each in a second and of ten bytes.
#[derive(Default)]
struct Numbers {
    made: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    fails: AtomicBool,
    dead: Mutex<HashSet<usize>>,
    old: Mutex<HashSet<usize>>,
    prepares: AtomicBool,
    prepared: Mutex<HashSet<usize>>,
}

impl Source for Arc<Numbers> {
    type Sandbox = usize;
    type Name = usize;

    async fn make(&self, _: &Key) -> Result<usize> {
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        sleep(Duration::from_secs(1)).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            return Err(Error::unavailable("Docker daemon"));
        }
        Ok(self.made.fetch_add(1, Ordering::SeqCst))
    }

    fn is_explained(&self, _: &Key) -> bool {
        false
    }

    fn is_to_prepare(&self, _: &Key) -> bool {
        self.prepares.load(Ordering::SeqCst)
    }

    async fn prepare(&self, _: &Key, sandbox: usize) -> Option<usize> {
        sleep(Duration::from_secs(3)).await;
        self.prepared.lock().insert(sandbox);
        (!self.dead.lock().contains(&sandbox)).then_some(sandbox)
    }

    fn name(&self, sandbox: &usize) -> usize {
        *sandbox
    }

    async fn weigh(&self, _: usize) -> Option<u64> {
        Some(10)
    }

    fn condition(&self, sandbox: &mut usize) -> Condition {
        if self.dead.lock().contains(sandbox) {
            Condition::Died
        } else if self.old.lock().contains(sandbox) {
            Condition::Stale
        } else {
            Condition::Usable
        }
    }
}

type Scripted = Pool<Arc<Numbers>>;

impl Scripted {
    fn idle(&self) -> usize {
        self.status().kinds.iter().map(|kind| kind.idle).sum()
    }

    fn size(&self) -> usize {
        self.status().kinds.iter().map(|kind| kind.size).sum()
    }

    fn keep_of(&self, images: &[&str], count: usize) {
        let kinds: Vec<_> = images.iter().map(|image| (key(image), count)).collect();
        self.keep(&kinds, |_| true);
    }

    /// A number, and whether it waited.
    async fn one(&self, key: &Key) -> Result<(usize, bool)> {
        let taken = self.take(key, &TenantId::default()).await?;
        Ok((taken.sandbox, taken.miss.is_none()))
    }
}

fn key(image: &str) -> Key {
    let facts = ImageFacts {
        id: image.to_owned(),
        ..ImageFacts::default()
    };
    Key {
        image: facts.into(),
        runtime: Runtime::Node,
        purpose: Purpose::Call,
        memory_bytes: 1,
        cpu_millis: 1,
        network: Network::None,
        deps: None,
        ahead: Ahead::default(),
    }
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn pool(size: usize) -> (Scripted, Arc<Numbers>) {
    with(Budget {
        size,
        memory_bytes: 1 << 30,
        making: 2,
    })
}

fn with(budget: Budget) -> (Scripted, Arc<Numbers>) {
    let numbers = Arc::new(Numbers::default());
    (Pool::new(Arc::clone(&numbers), budget), numbers)
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_millis(seconds * 1_000 + 100)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_wanted_waits_and_is_replaced_and_no_two_calls_get_the_same() {
    let (pool, numbers) = pool(3);
    pool.keep_of(&["a"], 3);
    seconds(2).await;
    assert_eq!((pool.idle(), pool.size()), (3, 3));
    let mut seen = HashSet::new();
    for _ in 0..3 {
        let (number, warm) = pool.one(&key("a")).await.unwrap();
        assert!(warm && seen.insert(number));
    }
    assert_eq!(pool.idle(), 0);
    seconds(2).await;
    assert_eq!((pool.idle(), numbers.made.load(Ordering::SeqCst)), (3, 6));
    pool.close().await;
    assert!(pool.one(&key("a")).await.is_err());
}

/// 39: a burst is served in turn, and never by more makers than are allowed.
#[tokio::test(start_paused = true)]
async fn fault_39_a_burst_is_no_stampede() {
    let (pool, numbers) = pool(2);
    pool.keep_of(&["a"], 2);
    seconds(1).await;
    let asked = Instant::now();
    let calls = (0..12).map(|_| async {
        let (number, warm) = pool.one(&key("a")).await.unwrap();
        (number, warm, asked.elapsed().as_secs())
    });
    let taken = join_all(calls).await;
    assert_eq!(taken.iter().filter(|(_, warm, _)| *warm).count(), 2);
    let numbers_in_turn: Vec<_> = taken.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers_in_turn, (0..12).collect::<Vec<_>>());
    assert_eq!(taken.last().unwrap().2, 5, "ten of them, two each second");
    assert_eq!(numbers.most_at_once.load(Ordering::SeqCst), 2);
    seconds(1).await;
    assert_eq!(pool.idle(), 2);
}

/// 38: what died, or is being made still, is never handed out.
#[tokio::test(start_paused = true)]
async fn fault_38_the_dead_are_passed_over_and_replaced() {
    let (pool, numbers) = pool(2);
    pool.keep_of(&["a"], 2);
    seconds(1).await;
    numbers.dead.lock().insert(0);
    assert_eq!(pool.one(&key("a")).await.unwrap(), (1, true));
    numbers.dead.lock().extend([2, 3]);
    seconds(2).await;
    assert!(pool.one(&key("a")).await.unwrap().0 >= 4);
    numbers.dead.lock().extend(0..100);
    pool.keep_of(&["a"], 2);
    assert_eq!(pool.idle(), 0);
}

/// Nobody waits for one to be prepared: it is put on its shelf afterwards, and only if it survived that.
#[tokio::test(start_paused = true)]
async fn what_waits_is_prepared_and_no_call_waits_for_that() {
    let (pool, numbers) = pool(1);
    numbers.prepares.store(true, Ordering::SeqCst);
    pool.keep_of(&["a"], 1);
    seconds(2).await;
    assert_eq!(pool.idle(), 0, "it is being prepared");
    let asked = Instant::now();
    assert_eq!(pool.one(&key("a")).await.unwrap(), (1, false));
    assert_eq!(asked.elapsed().as_secs(), 1, "a new one, as it is");
    seconds(3).await;
    assert_eq!(pool.one(&key("a")).await.unwrap(), (0, true));
    assert_eq!(*numbers.prepared.lock(), HashSet::from([0]));
    // The next one dies of it: another takes its place.
    numbers.dead.lock().insert(2);
    seconds(5).await;
    assert_eq!(pool.idle(), 0);
    seconds(4).await;
    assert_eq!(pool.one(&key("a")).await.unwrap(), (3, true));
    // One that is restless is taken off its shelf, and only there.
    seconds(5).await;
    let waiting = pool.waiting(|_, _| true);
    assert_eq!(waiting, [(key("a"), 4)]);
    assert!(pool.discard(&key("a"), &4) && !pool.discard(&key("a"), &4));
    seconds(5).await;
    assert_eq!(pool.one(&key("a")).await.unwrap(), (5, true));
    pool.close().await;
}

/// What is prepared for long keeps no other kind from being made.
#[tokio::test(start_paused = true)]
async fn many_that_are_prepared_leave_room_for_other_kinds() {
    let (pool, numbers) = pool(4);
    numbers.prepares.store(true, Ordering::SeqCst);
    pool.keep_of(&["a"], 4);
    seconds(2).await;
    let kinds = pool.status().kinds;
    assert_eq!(
        (kinds[0].idle, kinds[0].making),
        (0, 4),
        "no more than are to wait"
    );
    assert!(pool.one(&key("b")).await.is_ok());
    seconds(5).await;
    assert_eq!(pool.status().kinds[0].idle, 4);
    pool.close().await;
}

/// 37, 40: a kind is one's own; one that is not wanted any more is destroyed.
#[tokio::test(start_paused = true)]
async fn fault_37_another_kind_gets_its_own_and_an_old_one_goes() {
    let (pool, _) = pool(2);
    pool.keep_of(&["a"], 2);
    seconds(1).await;
    let (_, warm) = pool.one(&key("b")).await.unwrap();
    assert!(!warm);
    seconds(2).await;
    assert_eq!(pool.idle(), 3, "one of the kind that was asked for");
    pool.keep_of(&["b"], 2);
    assert_eq!(pool.idle(), 1);
    seconds(2).await;
    assert_eq!((pool.idle(), pool.size()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_leaves_its_sandbox_to_the_next() {
    let (pool, numbers) = pool(0);
    let (a, b) = (key("a"), key("a"));
    let gives_up = timeout(Duration::from_millis(500), pool.one(&a));
    let waits = async {
        sleep(Duration::from_millis(600)).await;
        pool.one(&b).await.unwrap()
    };
    let begun = Instant::now();
    let (given_up, taken) = tokio::join!(gives_up, waits);
    assert!(given_up.is_err());
    assert_eq!(taken, (0, false));
    assert_eq!(begun.elapsed().as_secs(), 1, "the one that was begun");
    seconds(3).await;
    assert_eq!(numbers.made.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn failures_are_told_after_the_second_and_tried_again_more_and_more_rarely() {
    let (pool, numbers) = pool(1);
    numbers.fails.store(true, Ordering::SeqCst);
    pool.keep_of(&["a"], 1);
    let begun = Instant::now();
    let error = pool.one(&key("a")).await.unwrap_err();
    assert_eq!(error.code(), domain::error::ErrorCode::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(3));
    seconds(600).await;
    numbers.fails.store(false, Ordering::SeqCst);
    pool.keep_of(&["a"], 1);
    seconds(70).await;
    assert_eq!(pool.idle(), 1);
}

/// 39: fair between tenants, also when both want the same kind: while one offers fifty times what can
/// be made, another with a single call in flight gets every second one, and the order says so.
#[tokio::test(start_paused = true)]
async fn fault_39_tenants_are_served_in_turn_whatever_they_offer() {
    let (pool, _) = pool(0);
    let order = Arc::new(Mutex::new(Vec::new()));
    let call = |name: &'static str, image: &'static str| {
        let (pool, order) = (pool.clone(), Arc::clone(&order));
        async move {
            let taken = pool.take(&key(image), &tenant(name)).await.unwrap();
            order.lock().push(name);
            drop(taken);
        }
    };
    let flood = join_all((0..100).map(|_| call("many", "a")));
    let single = async {
        sleep(Duration::from_millis(10)).await;
        for image in ["a", "a", "b", "b", "a", "b"] {
            let begun = Instant::now();
            call("few", image).await;
            // Two are made each second: one of the next three is its own.
            assert!(begun.elapsed() <= Duration::from_secs(3), "{image}");
        }
        order.lock().len()
    };
    let (_, served) = tokio::join!(flood, single);
    assert!(served <= 6 * 3 * 2, "{served}");
    assert_eq!(order.lock().len(), 106);
}

/// 39: while several tenants are there, the last that waits is for those that hold little, and is
/// filled up again in turn with those that wait.
#[tokio::test(start_paused = true)]
async fn fault_39_one_that_waits_is_kept_for_who_holds_little() {
    let (pool, _) = pool(4);
    pool.keep_of(&["a"], 4);
    seconds(2).await;
    let a = key("a");
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(pool.take(&a, &tenant("many")).await.unwrap());
    }
    assert!(held.iter().all(|it| it.miss.is_none()), "alone it has all");
    held.push(pool.take(&a, &tenant("few")).await.unwrap());
    assert_eq!(held.last().unwrap().miss, Some(Miss::Empty));
    // From now on they are two.
    let flood = join_all((0..60).map(|_| async {
        let taken = pool.take(&a, &tenant("many")).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        drop(taken);
    }));
    let single = async {
        seconds(3).await;
        for _ in 0..8 {
            let begun = Instant::now();
            let taken = pool.take(&a, &tenant("few")).await.unwrap();
            assert_eq!((taken.miss, begun.elapsed()), (None, Duration::ZERO));
            drop(taken);
            seconds(2).await;
        }
    };
    tokio::join!(flood, single);
    drop(held);
}

/// 39, 79: a queue that is full says when to come back, and each tenant has its share of it.
#[tokio::test(start_paused = true)]
async fn fault_39_79_a_full_queue_is_overloaded_and_shared() {
    let (pool, _) = pool(0);
    let a = key("a");
    let load = |name: &'static str| {
        let calls = (0..1_500).map(|_| {
            let (pool, a) = (pool.clone(), a.clone());
            async move { pool.take(&a, &tenant(name)).await.map(drop) }
        });
        join_all(calls)
    };
    let second = async {
        sleep(Duration::from_millis(10)).await;
        load("b").await
    };
    let (first, second) = tokio::join!(load("a"), second);
    let served = |all: &[Result<()>]| all.iter().filter(|it| it.is_ok()).count();
    assert_eq!((served(&first), served(&second)), (512, 512));
    let refused = first.into_iter().chain(second).filter_map(Result::err);
    for error in refused {
        assert_eq!(error.code(), ErrorCode::Overloaded);
        assert!(error.retry_after().is_some());
    }
}

/// What calls ask for waits for the next ones, as many as were asked for of late, and goes when nobody
/// asks any more.
#[tokio::test(start_paused = true)]
async fn a_kind_in_use_waits_without_being_configured() {
    let (pool, numbers) = pool(3);
    let a = key("a");
    let miss = async || pool.take(&a, &tenant("t")).await.unwrap().miss;
    assert_eq!(miss().await, Some(Miss::ColdKey));
    seconds(2).await;
    assert_eq!(pool.idle(), 1);
    for _ in 0..3 {
        assert_eq!(miss().await, None);
        seconds(3).await;
    }
    assert_eq!(pool.idle(), 3, "three of late");
    seconds(20).await;
    pool.keep_of(&[], 0);
    assert_eq!(pool.idle(), 1, "none of late");
    seconds(110).await;
    pool.keep_of(&[], 0);
    assert_eq!((pool.idle(), pool.status().kinds.len()), (0, 0));
    assert!(numbers.made.load(Ordering::SeqCst) < 10);
}

/// What was not asked for for the longest time goes first when memory is short; what nobody asked for
/// does not push out what somebody did.
#[tokio::test(start_paused = true)]
async fn memory_bounds_what_waits_and_the_least_used_goes_first() {
    let (pool, _) = with(Budget {
        size: 2,
        memory_bytes: 45,
        making: 2,
    });
    // Before one is measured it is taken to be larger than that.
    pool.keep_of(&["a", "b"], 2);
    seconds(5).await;
    assert_eq!(pool.idle(), 0);
    let (pool, _) = with(Budget {
        size: 2,
        memory_bytes: 50 << 20,
        making: 2,
    });
    pool.keep_of(&["a", "b"], 2);
    seconds(5).await;
    assert_eq!(
        (pool.idle(), pool.status().memory_bytes),
        (4, 40),
        "measured"
    );

    let (pool, numbers) = with(Budget {
        size: 1,
        memory_bytes: 1 << 30,
        making: 2,
    });
    let images: Vec<String> = (0..70).map(|n| format!("i{n:02}")).collect();
    for image in &images {
        pool.one(&key(image)).await.unwrap();
        seconds(1).await;
    }
    seconds(3).await;
    let there: Vec<String> = pool
        .status()
        .kinds
        .into_iter()
        .filter(|it| it.idle > 0)
        .map(|it| it.name)
        .collect();
    assert_eq!(there.len(), 64, "by number");
    assert!(
        there.iter().all(|name| name.as_str() > "node call i05"),
        "{there:?}"
    );
    let made = numbers.made.load(Ordering::SeqCst);
    seconds(30).await;
    assert_eq!(
        numbers.made.load(Ordering::SeqCst),
        made,
        "and nothing goes round in circles"
    );
}

/// 78: every reason of a miss is told apart.
#[tokio::test(start_paused = true)]
async fn fault_78_a_miss_says_why() {
    let (pool, numbers) = pool(2);
    let miss = async |image: &str| pool.take(&key(image), &tenant("t")).await.unwrap().miss;
    pool.keep_of(&["a"], 2);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(miss("a").await, Some(Miss::Booting));
    seconds(2).await;
    assert_eq!([miss("a").await, miss("a").await], [None, None]);
    assert_eq!(miss("a").await, Some(Miss::Empty));
    seconds(2).await;
    numbers.dead.lock().extend(0..1_000);
    assert_eq!(miss("a").await, Some(Miss::Died));
    numbers.dead.lock().clear();
    seconds(3).await;
    numbers.old.lock().extend(0..1_000);
    assert_eq!(miss("a").await, Some(Miss::Stale));
    numbers.old.lock().clear();
    assert_eq!(miss("c").await, Some(Miss::ColdKey));
    pool.keep_of(&["b"], 2);
    assert_eq!(miss("b").await, Some(Miss::Stale), "37: the image moved");
    let all: HashSet<_> = Miss::ALL.iter().map(|it| it.as_str()).collect();
    assert_eq!(all.len(), 5);
}
