//! A daemon that hangs, lies or goes away under sessions and installs.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::TenantId;
use domain::error::{ErrorCode, Result};
use domain::runner::{Call, RunEvent};
use domain::session::{CommandResult, Exec, Network};
use futures::StreamExt;
use sandbox::docker::{DockerEngineSettings, InstallSettings};
use sandbox::{OpenSession, Session};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::proxy::{Mode, Proxy};
use crate::rig::{Rig, job};
use crate::suite::run::{IMAGE, brief};

/// How long the engine may take to find a daemon that is well again.
const HEALED: Duration = Duration::from_secs(60);

async fn open(rig: &Rig) -> Result<Box<dyn Session>> {
    let wanted = OpenSession {
        tenant: TenantId::default(),
        image: IMAGE.to_owned(),
        network: Network::None,
        env: BTreeMap::new(),
        lock: None,
        memory_bytes: 64 << 20,
        cpu_millis: 1_000,
        lifetime: Duration::from_secs(600),
        deadline: Instant::now() + Duration::from_secs(10),
        slot: None,
    };
    rig.engine.open_session(wanted).await
}

async fn exec(session: &dyn Session, command: &str, millis: u64) -> Result<Vec<CommandResult>> {
    let exec = Exec {
        commands: vec![command.to_owned()],
        timeout: Duration::from_millis(millis),
    };
    let deadline = Instant::now() + Duration::from_millis(millis) + Duration::from_secs(2);
    session.exec(exec, 200_000, deadline).await
}

async fn opens_again(rig: &Rig) -> Box<dyn Session> {
    let end = Instant::now() + HEALED;
    loop {
        match open(rig).await {
            Ok(session) => return session,
            Err(error) => assert!(Instant::now() < end, "{error} {:?}", error.cause()),
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// 29, 31, 32: in the middle of a command the daemon is cut off, answers nonsense or hangs: the command
/// ends within its time and never as one that exited with 0, a session that was lost stays lost and
/// says so at once, and the next one is as good as ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_29_31_32_sessions_on_a_daemon_that_goes_lies_or_hangs_end_within_bounds() {
    let proxy = Proxy::start();
    let rig = Rig::with(proxy.settings()).await;
    for mode in [Mode::Cut, Mode::Nonsense, Mode::Hangs] {
        let session = opens_again(&rig).await;
        let good = exec(&*session, "echo good > f; cat f", 10_000)
            .await
            .unwrap();
        assert_eq!(good[0].stdout, "good\n");
        let begun = Instant::now();
        let broken = async {
            sleep(Duration::from_millis(300)).await;
            proxy.set(mode);
        };
        let (told, ()) = tokio::join!(exec(&*session, "sleep 1; echo unheard", 3_000), broken);
        // Its time, what the agent may take to end it, and a little for a busy machine.
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(15), "{mode:?}: {took:?}");
        match told {
            Err(error) => {
                let right = [
                    ErrorCode::Unavailable,
                    ErrorCode::ToolFailed,
                    ErrorCode::Timeout,
                ];
                assert!(right.contains(&error.code()), "{mode:?}: {error}");
                assert!(error.may_have_run(), "{mode:?}: {error}");
            }
            Ok(results) => {
                assert_ne!(results[0].exit_code, 0, "{mode:?}: {results:?}");
                assert_eq!(results[0].stdout, "", "{mode:?}: {results:?}");
            }
        }
        let begun = Instant::now();
        let next = exec(&*session, "cat f", 2_000).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(14), "{mode:?}: {took:?}");
        if let Ok(results) = &next {
            assert_eq!(mode, Mode::Hangs, "{results:?}");
        }
        if mode != Mode::Hangs {
            assert!(session.end().is_some(), "{mode:?}: it is lost");
        }
        proxy.set(Mode::Whole);
        session.stop().await;
    }
    let session = opens_again(&rig).await;
    let seen = exec(&*session, "ls -A", 10_000).await.unwrap();
    assert_eq!((seen[0].exit_code, &*seen[0].stdout), (0, ""));
    session.stop().await;
    rig.close().await;
}

/// 29, 68: the daemon goes in the middle of an install: a bounded error, no volume that is half full,
/// and the next call installs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_29_68_an_install_on_a_daemon_that_goes_leaves_nothing_half_done() {
    #[allow(
        clippy::disallowed_methods,
        reason = "what this machine trusts: its registries may be behind an authority of its own"
    )]
    let trusted = std::env::var("SSL_CERT_FILE").ok();
    let proxy = Proxy::start();
    let rig = Rig::with(DockerEngineSettings {
        memory_bytes: 256 << 20,
        install: InstallSettings {
            extra_ca: trusted.map(|file| std::fs::read_to_string(file).unwrap()),
            ..InstallSettings::default()
        },
        ..proxy.settings()
    })
    .await;
    let dependency = json!({"name": "lodash", "version": "4.17.21"});
    let asked = || Call {
        dependencies: vec![serde_json::from_value(dependency.clone()).unwrap()],
        ..brief(
            "return require('lodash').chunk([1, 2, 3], 2).length",
            60_000,
        )
    };
    let one = async || -> std::result::Result<String, ErrorCode> {
        let execution = rig.engine.start(job(asked())).await;
        let events: Vec<_> = execution.map_err(|error| error.code())?.collect().await;
        let Some(RunEvent::Finished(outcome)) = events.last() else {
            panic!("no end")
        };
        let result = outcome.result.as_ref();
        let value = result.map_err(|failure| failure.code)?;
        Ok(value.as_ref().unwrap().get().to_owned())
    };
    for wait in [100, 900] {
        let begun = Instant::now();
        let broken = async {
            sleep(Duration::from_millis(wait)).await;
            proxy.set(Mode::Cut);
        };
        let (told, ()) = tokio::join!(one(), broken);
        let right = [
            Err(ErrorCode::Unavailable),
            Err(ErrorCode::DependencyInstallFailed),
        ];
        assert!(right.contains(&told), "{told:?}");
        assert!(
            begun.elapsed() < Duration::from_secs(40),
            "{:?}",
            begun.elapsed()
        );
        proxy.set(Mode::Whole);
        drop(opens_again(&rig).await);
    }
    let end = Instant::now() + HEALED;
    loop {
        let told = one().await;
        if told.as_deref() == Ok("2") {
            break;
        }
        assert!(Instant::now() < end, "{told:?}");
        sleep(Duration::from_millis(500)).await;
    }
    let docker = testkit::docker::daemon();
    let filter = format!("label=dynamic-mcp.owner={}", rig.owner);
    let volumes = async || {
        let args = ["volume", "ls", "--quiet", "--filter", &filter];
        let listed = docker.run(&args).await;
        listed.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    // What was begun and lost is removed when it is old enough to be nobody's.
    let end = Instant::now() + Duration::from_secs(200);
    while volumes().await.len() > 1 {
        assert!(Instant::now() < end, "{:?}", volumes().await);
        sleep(Duration::from_millis(500)).await;
    }
    rig.close().await;
    for volume in volumes().await {
        docker.run(&["volume", "rm", &volume]).await;
    }
}
