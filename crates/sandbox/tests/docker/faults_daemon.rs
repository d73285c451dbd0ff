//! A daemon that hangs, lies or goes away in the middle of something: every wait has an end, no end is
//! taken for a success, and the engine finds back by itself.

use std::time::Duration;

use domain::error::ErrorCode;
use domain::runner::RunEvent;
use futures::StreamExt;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::proxy::{Mode, Proxy};
use crate::rig::{Rig, job};
use crate::suite::run::{brief, run, run_call, start};

/// How long a request to a daemon that does not answer may take until it is given up.
const BOUNDED: Duration = Duration::from_secs(20);
/// How long the engine may take to find a daemon that is well again.
const HEALED: Duration = Duration::from_secs(60);

/// Says that it runs, and goes on for long.
const LONG: &str =
    "await ctx.log('info', 'runs'); await new Promise((done) => setTimeout(done, 20000)); return 1";

async fn works_again(rig: &Rig) {
    let end = Instant::now() + HEALED;
    loop {
        // The first ones may still be told of what was cut.
        if rig.engine.status().pool_idle > 0
            && let Ok(execution) = rig.engine.start(job(brief("return 'again'", 20_000))).await
            && let Some(RunEvent::Finished(outcome)) = execution.collect::<Vec<_>>().await.pop()
            && let Ok(value) = outcome.result
        {
            assert_eq!(
                value.map(|value| value.get().to_owned()),
                Some(json!("again").to_string())
            );
            return;
        }
        assert!(Instant::now() < end, "{:?}", rig.engine.status());
        sleep(Duration::from_millis(100)).await;
    }
}

/// 29: in the middle of a call the daemon answers nonsense, then hangs, then is cut off: the call ends
/// as unavailable and says that it may have run; whoever comes then is told within bounds; afterwards
/// all is as before, in the same process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_29_a_daemon_that_lies_or_hangs_or_goes_is_an_error_and_then_over() {
    let proxy = Proxy::start();
    let rig = Rig::with(proxy.settings()).await;
    for mode in [Mode::Nonsense, Mode::Cut, Mode::Hangs] {
        works_again(&rig).await;
        let mut execution = start(&rig.engine, brief(LONG, 3_000)).await;
        let first = execution.next().await;
        assert!(matches!(first, Some(RunEvent::Log { .. })), "{first:?}");
        let begun = Instant::now();
        proxy.set(mode);
        let Some(RunEvent::Finished(outcome)) = execution.next().await else {
            panic!("{mode:?}: no end")
        };
        let failure = outcome.result.unwrap_err();
        // Who hangs is not told from who is quiet before the call's own time is up. Nonsense on the
        // stream of the call is what a broken sandbox says.
        let right = match mode {
            Mode::Hangs => &[ErrorCode::Timeout][..],
            Mode::Nonsense => &[
                ErrorCode::Timeout,
                ErrorCode::Unavailable,
                ErrorCode::ToolFailed,
            ],
            _ => &[ErrorCode::Unavailable],
        };
        assert!(right.contains(&failure.code), "{mode:?}: {failure:?}");
        assert_eq!(
            failure.may_have_run,
            failure.code == ErrorCode::Unavailable,
            "{mode:?}: {failure:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(8), "{mode:?}");
        // New ones: served from what waits already, or told.
        for _ in 0..3 {
            let begun = Instant::now();
            let call = brief("return 1", 5_000);
            let job = job(call);
            let code = match rig.engine.start(job).await {
                Err(error) => Some(error.code()),
                Ok(mut execution) => loop {
                    match execution.next().await {
                        Some(RunEvent::Finished(outcome)) => {
                            break outcome.result.err().map(|failure| failure.code);
                        }
                        Some(_) => {}
                        None => panic!("{mode:?}: an end without an outcome"),
                    }
                },
            };
            let told = [
                ErrorCode::Unavailable,
                ErrorCode::Timeout,
                ErrorCode::ToolFailed,
            ];
            assert!(
                code.is_none_or(|code| told.contains(&code)),
                "{mode:?}: {code:?}"
            );
            assert!(begun.elapsed() < BOUNDED, "{mode:?}: {:?}", begun.elapsed());
        }
        proxy.set(Mode::Whole);
    }
    works_again(&rig).await;
    // Containers whose making was never told of are the sweep's after a minute, or of the end.
    rig.close().await;
}

/// 30: the stream of a container that has ended stays open: whoever returned has an answer at once, and
/// whoever did not is not waited for longer than its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_30_a_stream_that_stays_open_after_the_end_is_not_waited_for() {
    let proxy = Proxy::start();
    let rig = Rig::with(proxy.settings()).await;
    proxy.set(Mode::NeverEnds);
    let ended = run_call(&rig.engine, brief("return 1", 10_000)).await;
    assert_eq!(ended.value(), Some(json!(1)));
    assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
    for code in [
        "process.exit(0)",
        "process.kill(process.pid, 'SIGKILL'); for (;;);",
    ] {
        let ended = run_call(&rig.engine, brief(code, 2_000)).await;
        let failure = ended.outcome.result.as_ref().unwrap_err();
        let told = [ErrorCode::ToolFailed, ErrorCode::Timeout];
        assert!(told.contains(&failure.code), "{code}: {failure:?}");
        assert!(
            ended.took < Duration::from_secs(6),
            "{code}: {:?}",
            ended.took
        );
    }
    proxy.set(Mode::Cut);
    proxy.set(Mode::Whole);
    works_again(&rig).await;
    rig.only_the_pool().await;
    rig.close().await;
}

/// 31: the stream ends and the process goes on: that is no exit, least of all one with 0.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_31_a_stream_that_ends_before_the_process_is_no_success() {
    let proxy = Proxy::start();
    let rig = Rig::with(proxy.settings()).await;
    // One that would have succeeded had it been heard.
    let code = "await ctx.log('info', 'runs'); await new Promise((done) => setTimeout(done, 1000)); return 'unheard'";
    let mut execution = start(&rig.engine, brief(code, 10_000)).await;
    assert!(matches!(execution.next().await, Some(RunEvent::Log { .. })));
    proxy.set(Mode::Cut);
    sleep(Duration::from_millis(50)).await;
    proxy.set(Mode::Whole);
    let Some(RunEvent::Finished(outcome)) = execution.next().await else {
        panic!("no end")
    };
    let failure = outcome.result.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Unavailable, "{failure:?}");
    assert!(failure.may_have_run && failure.message.contains("may have run"));
    works_again(&rig).await;
    rig.only_the_pool().await;
    rig.close().await;
}

/// 32: the daemon accepts everything and answers nothing, also to what is trivial: each caller hears of
/// it within its own time, and the engine's end does not wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_32_a_daemon_that_never_answers_holds_nobody() {
    let proxy = Proxy::start();
    let rig = Rig::with(proxy.settings()).await;
    assert_eq!(run(&rig.engine, "return 1").await.value(), Some(json!(1)));
    rig.only_the_pool().await;
    proxy.set(Mode::Hangs);
    let calls = (0..4).map(|_| async {
        let begun = Instant::now();
        let call = brief("return 1", 2_000);
        let job = job(call);
        let outcome = match rig.engine.start(job).await {
            Err(error) => error.code(),
            Ok(execution) => match execution.collect::<Vec<_>>().await.pop() {
                Some(RunEvent::Finished(outcome)) => outcome.result.unwrap_err().code,
                other => panic!("{other:?}"),
            },
        };
        (outcome, begun.elapsed())
    });
    for (code, took) in futures::future::join_all(calls).await {
        let told = [ErrorCode::Timeout, ErrorCode::Unavailable];
        assert!(told.contains(&code), "{code:?}");
        assert!(took < Duration::from_secs(8), "{took:?}");
    }
    let begun = Instant::now();
    rig.engine.shutdown().await;
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "{:?}",
        begun.elapsed()
    );
    // What it could not remove is the next life's; here, the test's.
    proxy.set(Mode::Whole);
    let left = rig.containers().await;
    testkit::docker::daemon().remove(left).await;
}
