//! Nobody is left to end a sandbox: it ends by itself.

use std::time::Duration;

use domain::runner::{Call, RunEvent};
use futures::StreamExt;
use sandbox::docker::{DockerEngine, DockerEngineSettings, DockerSettings};
use testkit::docker::{BARE_IMAGE, PrivateDaemon};
use tokio::time::{Instant, sleep};

use crate::lifecycle::soak;
use crate::rig::{job, metrics, settings};
use crate::suite::run::brief;

/// The time of the calls that run when everybody goes, in milliseconds.
const TIME: u64 = 20_000;
/// How long after that their sandboxes may live on: the agent's margin, and a busy machine's.
const ALONE: Duration = Duration::from_secs(15);
/// How long one that waits may: what its label says, without the time of a call.
const WAITS: Duration = Duration::from_secs(680);

/// 24, 26: daemon and executor die together, by a kill. Nobody is left who could end a sandbox; those of
/// calls end themselves when their time is over, those that wait when they are too old for a call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_24_26_with_daemon_and_executor_gone_alone_sandboxes_end_by_themselves() {
    let mut daemon = PrivateDaemon::start().await;
    let before = daemon.traces().await;
    let behind = DockerEngineSettings {
        docker: DockerSettings {
            host: Some(daemon.host()),
            ..DockerSettings::default()
        },
        allowed_images: vec![BARE_IMAGE.to_owned()],
        ..settings()
    };
    let engine = DockerEngine::launch(behind, metrics()).await.unwrap();
    let call = |code: &str| Call {
        image: BARE_IMAGE.to_owned(),
        ..brief(code, TIME)
    };
    let runs = [
        "await ctx.log('info', 'runs'); await new Promise((done) => setTimeout(done, 100000))",
        "await ctx.log('info', 'runs'); for (;;) await new Promise((done) => setImmediate(done))",
    ];
    let mut executions = Vec::new();
    for code in runs {
        let mut execution = sandbox::Engine::start(&engine, job(call(code)))
            .await
            .unwrap();
        let first = execution.next().await;
        assert!(matches!(first, Some(RunEvent::Log { .. })), "{first:?}");
        executions.push(execution);
    }
    // One that the daemon is making when it is killed is lost to it, and its own to lose.
    let begun = Instant::now();
    loop {
        let status = sandbox::Engine::status(&engine);
        let there = daemon.docker().labelled("dynamic-mcp.sandbox=1").await;
        let waits = status.pool_idle == status.pool_size && status.pool_idle > 0;
        if waits && there.len() == status.pool_idle + runs.len() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{status:?}");
        sleep(Duration::from_millis(50)).await;
    }
    daemon.kill();
    // As a kill of the executor does: no word to anybody.
    drop((executions, engine));
    let there = daemon.container_processes();
    // Each with its init.
    assert!(there >= 2 * runs.len(), "{there} processes");
    let (most, limit) = match soak() {
        true => (0, WAITS),
        false => (there - 2 * runs.len(), Duration::from_millis(TIME) + ALONE),
    };
    let begun = Instant::now();
    while daemon.container_processes() > most {
        let now = daemon.container_processes();
        assert!(
            begun.elapsed() < limit,
            "{now} of {there} processes live on"
        );
        sleep(Duration::from_millis(50)).await;
    }
    daemon.resume().await;
    let docker = daemon.docker();
    // What is left of them is the next executor's to remove; here, the test's.
    let left = docker.labelled("dynamic-mcp.sandbox=1").await;
    docker.remove(left).await;
    let after = daemon.traces().await;
    assert_eq!(after.listing.since(&before.listing), Vec::<String>::new());
    daemon.stop().await;
}
