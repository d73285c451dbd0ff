//! Nobody is left to end a sandbox: it ends by itself.

use std::time::Duration;

use domain::runner::{Call, RunEvent};
use futures::StreamExt;
use sandbox::docker::{DockerEngine, DockerEngineSettings, DockerSettings};
use testkit::docker::{BARE_IMAGE, PrivateDaemon};
use tokio::time::{Instant, sleep};

use crate::rig::{job, metrics, settings};
use crate::suite::run::brief;

/// How long a sandbox may live on without anybody.
const ALONE: Duration = Duration::from_secs(15);

/// 24, 26: daemon and executor die together, by a kill. Sandboxes that wait end with their stream, those
/// that run too, and no process of them is left on the machine.
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
    let runs =
        "await ctx.log('info', 'runs'); await new Promise((done) => setTimeout(done, 100000))";
    let mut executions = Vec::new();
    for _ in 0..2 {
        let call = Call {
            image: BARE_IMAGE.to_owned(),
            ..brief(runs, 100_000)
        };
        let mut execution = sandbox::Engine::start(&engine, job(call)).await.unwrap();
        let first = execution.next().await;
        assert!(matches!(first, Some(RunEvent::Log { .. })), "{first:?}");
        executions.push(execution);
    }
    let begun = Instant::now();
    while sandbox::Engine::status(&engine).pool_idle < 2 {
        assert!(begun.elapsed() < Duration::from_secs(30));
        sleep(Duration::from_millis(20)).await;
    }
    assert!(daemon.container_processes() >= 4 * 2, "each with its init");
    daemon.kill();
    // As a kill of the executor does: no word to anybody.
    drop((executions, engine));
    let begun = Instant::now();
    while daemon.container_processes() > 0 {
        assert!(
            begun.elapsed() < ALONE,
            "{} processes live on",
            daemon.container_processes()
        );
        sleep(Duration::from_millis(50)).await;
    }
    daemon.resume().await;
    let docker = daemon.docker();
    let running = docker.run(&["ps", "--quiet"]).await;
    assert_eq!(running, "", "they have ended");
    // What is left of them is the next executor's to remove; here, the test's.
    let left = docker.labelled("dynamic-mcp.sandbox=1").await;
    docker.remove(left).await;
    let after = daemon.traces().await;
    assert_eq!(after.listing.since(&before.listing), Vec::<String>::new());
    daemon.stop().await;
}
