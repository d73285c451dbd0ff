use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const GRACE: Duration = Duration::from_secs(30);

fn holder(name: &'static str, count: usize) -> Holder {
    Holder { name, count }
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_guards() {
    let tasks = Tasks::new();
    let guard = tasks.gate("tool calls").enter();
    tasks.finish("late work", async move {
        tokio::time::sleep(Duration::from_secs(12)).await;
        drop(guard);
    });
    let began = Instant::now();
    assert_eq!(
        tasks.holders(),
        [holder("late work", 1), holder("tool calls", 1)]
    );
    assert_eq!(tasks.drain(GRACE).await, []);
    assert_eq!(began.elapsed(), Duration::from_secs(12));
}

#[tokio::test(start_paused = true)]
async fn a_drain_names_who_is_left_at_the_deadline() {
    let tasks = Tasks::new();
    let calls = tasks.gate("tool calls");
    let (_one, _two) = (calls.enter(), calls.enter());
    let _stream = tasks.gate("event streams").enter();
    let began = Instant::now();
    assert_eq!(
        tasks.drain(GRACE).await,
        [holder("event streams", 1), holder("tool calls", 2)]
    );
    assert_eq!(began.elapsed(), GRACE);
}

#[tokio::test(start_paused = true)]
async fn a_drain_without_holders_is_over_at_once() {
    let tasks = Tasks::new();
    tasks.spawn(
        "loop",
        OnFailure::Essential,
        std::future::pending::<Result<(), Infallible>>(),
    );
    let began = Instant::now();
    assert_eq!(tasks.drain(GRACE).await, []);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn background_tasks_live_until_the_last_guard_is_gone() {
    let tasks = Tasks::new();
    let ended = Arc::new(AtomicBool::new(false));
    struct OnDrop(Arc<AtomicBool>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let mark = OnDrop(Arc::clone(&ended));
    tasks.spawn("watcher", OnFailure::Essential, async move {
        let _mark = mark;
        std::future::pending::<Result<(), Infallible>>().await
    });
    let guard = tasks.gate("calls").enter();
    let seen = Arc::clone(&ended);
    tasks.finish("observer", async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(
            !seen.load(Ordering::SeqCst),
            "the watcher ended before the call"
        );
        drop(guard);
    });
    assert_eq!(tasks.drain(GRACE).await, []);
    assert!(ended.load(Ordering::SeqCst));
    assert!(
        tasks.inner.reason.lock().is_none(),
        "a dropped task is no failure"
    );
}

#[tokio::test(start_paused = true)]
async fn an_essential_task_takes_the_process_down() {
    for (expected, task) in [
        ("watch: broken", async { Err("broken") }.boxed()),
        ("watch: it ended", async { Ok(()) }.boxed()),
        ("watch: it panicked", async { panic!("on purpose") }.boxed()),
    ] {
        let tasks = Tasks::new();
        tasks.spawn("watch", OnFailure::Essential, task);
        assert_eq!(
            tasks.stop_wanted().await,
            StopReason::Failed(expected.to_owned())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn other_tasks_fail_into_the_log_only() {
    let tasks = Tasks::new();
    tasks.spawn("refresh", OnFailure::Log, async { Err("broken") });
    tasks.spawn("once", OnFailure::Log, async { Ok::<(), Infallible>(()) });
    assert_eq!(tasks.drain(GRACE).await, []);
    assert!(tasks.inner.reason.lock().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_server_stops_accepting_and_then_ends() {
    let tasks = Tasks::new();
    tasks.serve("http server", |stop| async move {
        stop.cancelled().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        Ok::<(), Infallible>(())
    });
    assert_eq!(tasks.holders(), [holder("http server", 1)]);
    let began = Instant::now();
    assert_eq!(tasks.drain(GRACE).await, []);
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    assert!(tasks.inner.reason.lock().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_first_reason_to_stop_is_kept() {
    let tasks = Tasks::new();
    tasks.request_stop(StopReason::Requested("the client has gone".to_owned()));
    tasks.request_stop(StopReason::Failed("later".to_owned()));
    assert_eq!(tasks.stop_wanted().await.to_string(), "the client has gone");
}

#[tokio::test(start_paused = true)]
async fn the_last_tasks_are_waited_for_however_the_drain_went() {
    for cut_off in [false, true] {
        let tasks = Tasks::new();
        let held = cut_off.then(|| tasks.gate("tool calls").enter());
        let flushed = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&flushed);
        tasks.last("log", OnFailure::Essential, |closing| async move {
            closing.cancelled().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            seen.store(true, Ordering::SeqCst);
            Ok::<(), Infallible>(())
        });
        let left = tasks.drain(GRACE).await;
        assert_eq!(left.is_empty(), !cut_off);
        assert!(flushed.load(Ordering::SeqCst), "cut off: {cut_off}");
        drop(held);
    }
}

#[tokio::test(start_paused = true)]
async fn a_last_task_that_ends_early_is_a_failure() {
    let tasks = Tasks::new();
    tasks.last("log", OnFailure::Essential, |_| async {
        Ok::<(), Infallible>(())
    });
    let reason = tasks.stop_wanted().await;
    assert_eq!(reason, StopReason::Failed("log: it ended".to_owned()));
}
