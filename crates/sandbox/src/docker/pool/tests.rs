use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::future::join_all;
use tokio::time::{sleep, timeout};

use super::*;
use crate::docker::daemon::ImageFacts;

/// Makes numbers, each in a second.
#[derive(Default)]
struct Numbers {
    made: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    fails: AtomicBool,
    dead: Mutex<HashSet<usize>>,
}

impl Source for Arc<Numbers> {
    type Sandbox = usize;

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

    fn usable(&self, sandbox: &mut usize) -> bool {
        !self.dead.lock().contains(sandbox)
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
    }
}

fn pool(size: usize) -> (Pool<Arc<Numbers>>, Arc<Numbers>) {
    let numbers = Arc::new(Numbers::default());
    (Pool::new(Arc::clone(&numbers), size, 2), numbers)
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_millis(seconds * 1_000 + 100)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_wanted_waits_and_is_replaced_and_no_two_calls_get_the_same() {
    let (pool, numbers) = pool(3);
    pool.keep(&[key("a")]);
    seconds(2).await;
    assert_eq!((pool.idle(), pool.size()), (3, 3));
    let mut seen = HashSet::new();
    for _ in 0..3 {
        let (number, warm) = pool.take(&key("a")).await.unwrap();
        assert!(warm && seen.insert(number));
    }
    assert_eq!(pool.idle(), 0);
    seconds(2).await;
    assert_eq!((pool.idle(), numbers.made.load(Ordering::SeqCst)), (3, 6));
    pool.close().await;
    assert!(pool.take(&key("a")).await.is_err());
}

/// 39: a burst is served in turn, and never by more makers than are allowed.
#[tokio::test(start_paused = true)]
async fn fault_39_a_burst_is_no_stampede() {
    let (pool, numbers) = pool(2);
    pool.keep(&[key("a")]);
    seconds(1).await;
    let asked = Instant::now();
    let calls = (0..12).map(|_| async {
        let (number, warm) = pool.take(&key("a")).await.unwrap();
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
    pool.keep(&[key("a")]);
    seconds(1).await;
    numbers.dead.lock().insert(0);
    assert_eq!(pool.take(&key("a")).await.unwrap(), (1, true));
    numbers.dead.lock().extend([2, 3]);
    seconds(2).await;
    assert!(pool.take(&key("a")).await.unwrap().0 >= 4);
    numbers.dead.lock().extend(0..100);
    pool.keep(&[key("a")]);
    assert_eq!(pool.idle(), 0);
}

/// 37, 40: a kind is one's own; one that is not wanted any more is destroyed.
#[tokio::test(start_paused = true)]
async fn fault_37_another_kind_gets_its_own_and_an_old_one_goes() {
    let (pool, _) = pool(2);
    pool.keep(&[key("a")]);
    seconds(1).await;
    let (_, warm) = pool.take(&key("b")).await.unwrap();
    assert!(!warm);
    seconds(2).await;
    assert_eq!(pool.idle(), 2, "nobody wants to keep one of that kind");
    pool.keep(&[key("b")]);
    assert_eq!(pool.idle(), 0);
    seconds(2).await;
    assert_eq!((pool.idle(), pool.size()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_leaves_its_sandbox_to_the_next() {
    let (pool, numbers) = pool(0);
    let (a, b) = (key("a"), key("a"));
    let gives_up = timeout(Duration::from_millis(500), pool.take(&a));
    let waits = async {
        sleep(Duration::from_millis(600)).await;
        pool.take(&b).await.unwrap()
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
    pool.keep(&[key("a")]);
    let begun = Instant::now();
    let error = pool.take(&key("a")).await.unwrap_err();
    assert_eq!(error.code(), domain::error::ErrorCode::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(3));
    seconds(600).await;
    numbers.fails.store(false, Ordering::SeqCst);
    pool.keep(&[key("a")]);
    seconds(70).await;
    assert_eq!(pool.idle(), 1);
}
