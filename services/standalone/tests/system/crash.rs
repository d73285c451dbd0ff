//! The executor is killed at every moment of a sandbox's life, under load: after its restart nothing of
//! the dead one is left, callers were told the truth, and nothing ran twice.

mod bystander;
mod calls;
mod sessions;

use std::collections::BTreeSet;
use std::time::Duration;

use fastrand::Rng;
use testkit::docker::{Docker, PrivateDaemon};
use tokio::time::{Instant, sleep};

use self::bystander::Bystander;
use self::calls::{Load, Told};
use crate::deployment::binary;
use crate::leaks::{POOL, Scene};
use crate::production::soak;

/// The named fail points of the sandbox.
const POINTS: [&str; 5] = ["create", "start", "run", "result", "remove"];
/// How long an executor may take to come to the moment at which it dies.
const REACHED: Duration = Duration::from_secs(60);
/// How long the restarted one may take until it serves, and the dead one's containers are gone.
const SWEPT: Duration = Duration::from_secs(30);
/// A container that the daemon was still making when its executor died is found by the next sweep.
const LATE: Duration = Duration::from_secs(150);

/// When the executor is killed.
#[derive(Debug)]
enum Moment {
    /// At the nth passing of a fail point.
    At(&'static str, usize),
    /// From outside, so long after the load has begun.
    After(Duration),
}

fn moments(rng: &mut Rng) -> Vec<Moment> {
    let (each, others) = if soak() { (10, 50) } else { (2, 2) };
    let mut all = Vec::new();
    for point in POINTS {
        for _ in 0..each {
            // What fills the pool at the start is not under load yet.
            let first = if matches!(point, "create" | "start") {
                POOL + 1
            } else {
                0
            };
            all.push(Moment::At(point, first + rng.usize(..8)));
        }
    }
    for _ in 0..others {
        all.push(Moment::After(Duration::from_millis(rng.u64(..1_500))));
    }
    rng.shuffle(&mut all);
    all
}

/// The lives of executors that have containers on the daemon, but for the bystander's.
async fn lives(docker: &Docker, but: &Bystander) -> BTreeSet<String> {
    let format = "{{.Label \"dynamic-mcp.owner\"}} {{.Label \"dynamic-mcp.epoch\"}}";
    let listed = docker.run(&["ps", "--all", "--format", format]).await;
    let lines = listed.lines().filter_map(|line| line.rsplit_once(' '));
    let others = lines.filter(|(owner, _)| !but.is_owner(owner));
    others.map(|(_, epoch)| epoch.to_owned()).collect()
}

/// A build without fail points would wait for its death for ever.
fn assert_fail_points() {
    let program = std::fs::read(binary("executor")).unwrap();
    let marker = b"a fail point was reached";
    let has = program.windows(marker.len()).any(|window| window == marker);
    assert!(
        has,
        "the executor is built without fail points: cargo build --workspace --all-targets"
    );
}

#[expect(clippy::print_stderr, reason = "the moments of a run are to be seen")]
fn print(text: &str) {
    eprintln!("{text}");
}

/// 24, 25, 26.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_24_25_26_kills_at_every_moment_alone_leave_nothing() {
    assert_fail_points();
    let seed = 0x5eed_2026;
    let mut rng = Rng::with_seed(seed);
    let moments = moments(&mut rng);
    print(&format!("seed {seed:#x}: {moments:?}"));
    let daemon = PrivateDaemon::start().await;
    let before = daemon.traces().await;
    let mut bystander = Bystander::start(&daemon).await;
    let beside = daemon.traces().await;
    let mut scene = Scene::on(daemon, beside).await;
    let docker = scene.daemon.docker();
    // This first life is the first that dies; it had no moment of its own.
    scene.deployment.kill_executor().await;
    let mut dead = lives(&docker, &bystander).await;
    for (number, moment) in moments.iter().enumerate() {
        print(&format!("kill {number}: {moment:?}"));
        let point = match moment {
            Moment::At(point, passed) => format!("{point}={passed}*off->return"),
            Moment::After(_) => String::new(),
        };
        let armed = [("FAILPOINTS", point.as_str())];
        scene.deployment.restart_executor_with(&armed);
        let load = Load::start(&scene.client, number, rng.u64(..));
        if let Moment::After(delay) = moment {
            sleep(*delay).await;
            scene.deployment.kill_executor().await;
        } else {
            let executor = &mut scene.deployment.inner.as_mut().unwrap().executor;
            let code = executor.ended(REACHED).await;
            assert_eq!(code, None, "{moment:?}: it was killed, and did not exit");
        }
        let told = load.stop().await;
        check(&told, moment);
        bystander.assert_untouched(&docker).await;
        // What the life before left is gone by the sweep of this one, or the next.
        let now = lives(&docker, &bystander).await;
        assert!(
            now.len() <= 3,
            "{moment:?}: of {} lives: {now:?}",
            now.len()
        );
        dead.extend(now);
    }
    scene.deployment.restart_executor();
    let answer = calls::served(&scene.client, SWEPT).await;
    assert_eq!(answer, "served");
    let end = Instant::now() + LATE;
    loop {
        let now = lives(&docker, &bystander).await;
        if now.is_disjoint(&dead) && now.len() == 1 {
            break;
        }
        assert!(Instant::now() < end, "left of dead ones: {now:?}");
        sleep(Duration::from_millis(500)).await;
    }
    bystander.assert_untouched(&docker).await;
    let daemon = scene.stop_keeping().await;
    bystander.stop().await;
    daemon.assert_as_before(&before, LATE).await;
}

/// What callers were told is true: what was seen to run is not said to have not run, and the other way
/// round; and nothing was seen to begin twice.
fn check(told: &[Told], moment: &Moment) {
    assert!(!told.is_empty(), "{moment:?}: nobody called");
    for one in told {
        assert!(one.begun <= 1, "{moment:?}: it ran twice: {one:?}");
        match &one.failure {
            None => assert_eq!((one.begun, one.right), (1, true), "{moment:?}: {one:?}"),
            Some((code, may_have_run)) => {
                let known = ["unavailable", "overloaded"].contains(&code.as_str());
                assert!(known, "{moment:?}: {one:?}");
                assert!(*may_have_run || one.begun == 0, "{moment:?}: {one:?}");
            }
        }
    }
    if let Moment::At("run" | "result", _) = moment {
        let unsure = told
            .iter()
            .any(|one| matches!(&one.failure, Some((_, true))));
        assert!(unsure, "{moment:?}: one ran and was lost: {told:#?}");
    }
}
