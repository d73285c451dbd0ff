//! What is left after a load of abuse and after many cycles: nothing on the daemon, nothing on the
//! machine, and an executor that is as large as before.

mod abuses;
mod scene;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use testkit::mcp::Client;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use self::abuses::ABUSES;
pub(crate) use self::scene::{POOL, Scene};
use crate::production::soak;

/// Calls under way together.
const AT_ONCE: usize = 8;

/// Runs `count` calls, so many at once, each with its number.
async fn load<F>(count: usize, at_once: usize, call: impl Fn(usize) -> F + Send + Sync + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (next, call) = (Arc::new(AtomicUsize::new(0)), Arc::new(call));
    let mut workers = JoinSet::new();
    for _ in 0..at_once {
        let (next, call) = (Arc::clone(&next), Arc::clone(&call));
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                call(number).await;
            }
        });
    }
    workers.join_all().await;
}

/// Every third call is somebody's who does nothing wrong: it has to be served as if it were alone.
async fn one_of_the_mix(client: Client, number: usize) {
    if number.is_multiple_of(3) {
        let code = format!("return [{number}, require('fs').readdirSync('/tmp').length]");
        let code = json!({"code": code, "timeoutMs": 20_000});
        let answer = client.ok("run_js_ephemeral", code).await;
        assert_eq!(answer["result"], json!([number, 0]), "call {number}");
        return;
    }
    // One that leaves in the middle.
    if number % 17 == 1 {
        let leaving = json!({"name": "run_js_ephemeral", "arguments": {"code": "for (;;) {}", "timeoutMs": 60_000}});
        let left = timeout(Duration::from_secs(1), client.send("tools/call", leaving)).await;
        assert!(left.is_err(), "a busy loop has answered");
        return;
    }
    let abuse = &ABUSES[number * 7 % ABUSES.len()];
    let asked = json!({"code": abuse.code, "timeoutMs": abuse.timeout_ms});
    let begun = Instant::now();
    let result = client.call("run_js_ephemeral", asked).await;
    let code = result["structuredContent"]["code"].as_str();
    let right = code.map_or(abuse.ends.is_empty(), |code| abuse.ends.contains(&code));
    assert!(right, "{}: {result}", abuse.code);
    // Its own time, and the waits of a machine that is full.
    let most = Duration::from_millis(u64::from(abuse.timeout_ms)) + Duration::from_secs(30);
    assert!(
        begun.elapsed() < most,
        "{}: {:?}",
        abuse.code,
        begun.elapsed()
    );
}

/// 36 and all that code can do by itself: calls of every kind, eight at a time; afterwards the daemon,
/// the machine and the executor are what they were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_36_a_load_of_every_abuse_alone_leaves_nothing() {
    let scene = Scene::start().await;
    // What is made once is made: connections, buffers, threads.
    let client = scene.client.clone();
    load(16, AT_ONCE, move |number| {
        one_of_the_mix(client.clone(), number)
    })
    .await;
    let rest = scene.rest().await;
    let (memory, files) = scene.executor();
    let client = scene.client.clone();
    let calls = if soak() { 1_000 } else { 100 };
    load(calls, AT_ONCE, move |number| {
        one_of_the_mix(client.clone(), number)
    })
    .await;
    assert_eq!(
        scene.rest().await,
        rest,
        "containers, processes, cgroups, mounts"
    );
    scene.same_size(memory, files).await;
    scene.stop().await;
}

/// A day in small: containers made, used once and destroyed, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_36_many_cycles_alone_keep_the_executor_as_it_is() {
    let scene = Scene::start().await;
    let one = |client: Client, number: usize| async move {
        let code = json!({"code": format!("return {number}"), "timeoutMs": 30_000});
        let answer = client.ok("run_js_ephemeral", code).await;
        assert_eq!(answer["result"], json!(number));
    };
    let cycles = if soak() { 2_000 } else { 60 };
    let client = scene.client.clone();
    load(cycles / 5, 2, move |number| one(client.clone(), number)).await;
    let rest = scene.rest().await;
    let (memory, files) = scene.executor();
    let client = scene.client.clone();
    load(cycles - cycles / 5, 2, move |number| {
        one(client.clone(), number)
    })
    .await;
    assert_eq!(
        scene.rest().await,
        rest,
        "containers, processes, cgroups, mounts"
    );
    scene.same_size(memory, files).await;
    scene.stop().await;
}
