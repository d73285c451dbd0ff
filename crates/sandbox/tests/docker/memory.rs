//! The kernel ends the agent itself for want of memory: told as that each time, also where the daemon forgets
//! it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use domain::error::ErrorCode;
use domain::runner::RunEvent;
use futures::StreamExt;
use futures::future::join_all;
use sandbox::docker::DockerEngineSettings;
use tokio::time::{Instant, sleep};

use crate::lifecycle::soak;
use crate::proxy::{Mode, Proxy};
use crate::rig::{Rig, job, settings};
use crate::suite::run::{brief, run_call};

/// The kernel ends the whole process, since the memory is not JavaScript's heap.
const HOG: &str = "const all = []; for (;;) all.push(Buffer.alloc(4 << 20, 1))";
const KILLED: &str = "process.kill(process.pid, 'SIGKILL'); for (;;);";

/// How many containers are killed at the same time.
const AT_ONCE: usize = 4;

async fn hears(rig: &Rig) {
    let begun = Instant::now();
    while rig.metrics.docker_events_up.get() != 1 {
        assert!(begun.elapsed() < Duration::from_secs(20), "no events");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Keeps all cores busy for as long as it is there.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn start(threads: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        for _ in 0..threads {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(over)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// 2: on a busy machine, where Docker 20.10 loses one in two hundred of the states.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_02_every_kill_for_memory_is_told() {
    let (count, threads) = if soak() { (600, 4) } else { (12, 2) };
    let rig = Rig::with(DockerEngineSettings {
        pool_size: AT_ONCE,
        ..settings()
    })
    .await;
    hears(&rig).await;
    let busy = Busy::start(threads);
    let next = AtomicUsize::new(0);
    let kill = async || {
        while next.fetch_add(1, Ordering::Relaxed) < count {
            // Not one after the other as elsewhere: nobody waits for one that waits.
            let execution = rig.engine.start(job(brief(HOG, 60_000))).await;
            let events: Vec<RunEvent> = execution.unwrap().collect().await;
            let Some(RunEvent::Finished(outcome)) = events.last() else {
                panic!("{events:?}")
            };
            let failure = outcome.result.as_ref().unwrap_err();
            assert_eq!(failure.code, ErrorCode::OutOfMemory, "{failure:?}");
            assert!(failure.message.contains("67108864"), "{failure:?}");
        }
    };
    join_all((0..AT_ONCE).map(|_| kill())).await;
    drop(busy);
    rig.close().await;
}

/// 2: the state of a container never says it; the event does, and says it of nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_02_what_the_daemon_forgets_of_memory_it_has_told_before() {
    let proxy = Proxy::start();
    proxy.set(Mode::Forgets);
    let rig = Rig::with(proxy.settings()).await;
    hears(&rig).await;
    for _ in 0..2 {
        let ended = run_call(&rig.engine, brief(HOG, 60_000)).await;
        ended.failure(ErrorCode::OutOfMemory);
        let ended = run_call(&rig.engine, brief(KILLED, 60_000)).await;
        let failure = ended.failure(ErrorCode::ToolFailed);
        assert!(failure.message.contains("SIGKILL"), "{failure:?}");
    }
    rig.close().await;
}

/// 2: nothing is made up where neither says it, and nobody waits for what cannot come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_02_where_events_are_denied_memory_is_told_by_the_state_alone() {
    let proxy = Proxy::start();
    proxy.set(Mode::ForgetsAndDenies);
    let rig = Rig::with(proxy.settings()).await;
    for code in [HOG, KILLED] {
        let ended = run_call(&rig.engine, brief(code, 60_000)).await;
        let failure = ended.failure(ErrorCode::ToolFailed);
        assert!(failure.message.contains("SIGKILL"), "{failure:?}");
    }
    assert_eq!(rig.metrics.docker_events_up.get(), 0);
    let asked = rig.metrics.encode().unwrap();
    let denied =
        "mcp_docker_request_duration_seconds_count{operation=\"events\",outcome=\"not_found\"}";
    assert!(asked.contains(denied), "{asked}");
    rig.close().await;
}
