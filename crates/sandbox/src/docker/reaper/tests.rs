//! Against the shared daemon, on which others have containers too: that they stay is part of it.

use std::collections::BTreeSet;
use std::process::Command;

use testkit::docker::{BARE_IMAGE, Docker, PrivateDaemon};

use super::*;
use crate::docker::daemon::tests::{at, metrics, node, profile, shared};
use crate::docker::images::{Images, Timing};

const SOON: Duration = Duration::from_secs(30);

struct Rig {
    daemon: Daemon,
    docker: Docker,
    owner: String,
}

impl Rig {
    async fn new() -> Self {
        let daemon = shared().await;
        Self {
            daemon,
            docker: testkit::docker::daemon(),
            owner: format!("test-{}", uuid::Uuid::new_v4()),
        }
    }

    fn launch(&self) -> Reaper {
        Reaper::launch(self.daemon.clone(), self.owner.clone(), metrics())
    }

    /// A running container with these labels.
    async fn container(&self, labels: &Labels) -> (String, ContainerId) {
        let forever = node("setInterval(() => {}, 1e6)");
        let body = profile(&self.daemon, BARE_IMAGE)
            .await
            .body(forever, labels);
        let name = new_name();
        let id = self.daemon.create(&name, &body).await.unwrap();
        let attached = self.daemon.attach(&id).await.unwrap();
        self.daemon.start(&id).await.unwrap();
        drop(attached);
        (name, id)
    }

    fn foreign(&self, owner: &str, epoch: Epoch, max_age: u64) -> Labels {
        Labels {
            owner: format!("{owner}{}", self.owner),
            epoch,
            max_age: Duration::from_secs(max_age),
        }
    }

    async fn there(&self) -> BTreeSet<String> {
        self.docker.labelled("dynamic-mcp.sandbox=1").await
    }

    async fn gone(&self, name: &str) {
        let deadline = Instant::now() + SOON;
        while self.there().await.contains(name) {
            assert!(Instant::now() < deadline, "{name} stays");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn swept(reaper: &Reaper, reason: &str) -> u64 {
    let counter = &reaper.0.metrics.sandbox_swept;
    counter.with_label_values(&[reason]).get()
}

#[tokio::test]
async fn a_dropped_guard_is_the_end_of_its_container() {
    let rig = Rig::new().await;
    let reaper = rig.launch();
    let (kept, kept_id) = rig.container(&reaper.labels(SOON)).await;
    let (name, id) = rig.container(&reaper.labels(SOON)).await;
    let guard = reaper.adopt(id);
    let keeper = reaper.adopt(kept_id.clone());
    assert_eq!(keeper.id(), &kept_id);
    let dropped = Instant::now();
    drop(guard);
    assert!(dropped.elapsed() < Duration::from_millis(5), "off the path");
    rig.gone(&name).await;
    assert!(rig.there().await.contains(&kept));
    reaper.shutdown(Instant::now() + SOON).await;
    assert!(!rig.there().await.contains(&kept), "in use or not");
    drop(keeper);
}

/// Faults 24, 25 and 26: a process that made containers is killed; the next one removes them, and
/// nobody else's.
#[tokio::test]
async fn fault_24_25_26_what_a_killed_process_left_is_removed_and_nothing_else() {
    let rig = Rig::new().await;
    // Stands for an executor: an epoch is of a process, whatever it does.
    let mut executor = Command::new("sleep").arg("600").spawn().unwrap();
    let life = Epoch::of(executor.id());
    let left = rig.foreign("", life.clone(), 600);
    let (first, _) = rig.container(&left).await;
    let (second, _) = rig.container(&left).await;
    let neighbour = rig.foreign("neighbour-", life, 600);
    let (theirs, _) = rig.container(&neighbour).await;
    // Somebody's own, whatever it is called and labelled: not wholly ours is not ours.
    let label = format!("dynamic-mcp.owner={}", rig.owner);
    let lookalike = new_name();
    let args = [
        "create", "--name", &lookalike, "--label", &label, BARE_IMAGE, "node",
    ];
    rig.docker.run(&args).await;
    let named = format!("mine-{}", &rig.owner[..13]);
    let mut args = vec!["create".to_owned(), "--name".to_owned(), named.clone()];
    for (key, value) in left.map() {
        args.extend(["--label".to_owned(), format!("{key}={value}")]);
    }
    args.extend([BARE_IMAGE.to_owned(), "node".to_owned()]);
    rig.docker
        .run(&args.iter().map(String::as_str).collect::<Vec<_>>())
        .await;

    // While that process lives, another one with the same owner leaves its containers alone.
    let other = rig.launch();
    other.0.sweep().await.unwrap();
    let there = rig
        .docker
        .run(&["ps", "-a", "--format", "{{.Names}}"])
        .await;
    let there: BTreeSet<&str> = there.lines().collect();
    for name in [&first, &second, &theirs, &lookalike, &named] {
        assert!(there.contains(name.as_str()), "{name}");
    }
    executor.kill().unwrap();
    executor.wait().unwrap();
    assert_eq!(other.0.sweep().await.unwrap(), 2);
    assert_eq!(swept(&other, "start"), 2);
    let there = rig
        .docker
        .run(&["ps", "-a", "--format", "{{.Names}}"])
        .await;
    let there: BTreeSet<&str> = there.lines().collect();
    assert!(!there.contains(first.as_str()) && !there.contains(second.as_str()));
    for name in [&theirs, &lookalike, &named] {
        assert!(there.contains(name.as_str()), "{name}");
    }
    other.shutdown(Instant::now() + SOON).await;
    rig.docker.remove([theirs, lookalike, named]).await;
}

#[tokio::test]
async fn the_first_sweep_needs_nobody_to_ask_for_it() {
    let rig = Rig::new().await;
    let mut executor = Command::new("sleep").arg("600").spawn().unwrap();
    let left = rig.foreign("", Epoch::of(executor.id()), 600);
    executor.kill().unwrap();
    executor.wait().unwrap();
    let (name, _) = rig.container(&left).await;
    let reaper = rig.launch();
    rig.gone(&name).await;
    reaper.shutdown(Instant::now() + SOON).await;
}

/// Whoever made it: after its time nobody needs it. The clock is the daemon's.
#[test]
fn fault_26_42_who_has_to_go_and_why() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let rig = Rig::new().await;
        let reaper = rig.launch();
        let of = |labels: Labels| super::super::daemon::Ours {
            id: ContainerId::from("x".to_owned()),
            name: new_name(),
            labels,
            created: 1_000,
        };
        let reason = |labels: Labels, now| reaper.0.reason(&of(labels), Some(now));
        let other = || rig.foreign("other-", Epoch::new(), 100);
        assert_eq!(reason(other(), 1_100), None);
        assert_eq!(reason(other(), 1_125), None, "a little mercy");
        assert_eq!(reason(other(), 1_131), Some("expired"));
        assert_eq!(reason(other(), 0), None, "a clock that went back");
        let endless = rig.foreign("other-", Epoch::new(), u64::MAX);
        assert_eq!(reason(endless, i64::MAX), None);
        // Of this owner and of another life that goes on: like anybody's.
        let sibling = rig.foreign("", Epoch::new(), 100);
        assert_eq!(reason(sibling, 1_010), None);
        // Of this life: the engine's, for as long as somebody holds it.
        let mine = || reaper.labels(Duration::from_secs(1));
        assert_eq!(reason(mine(), 1_059), None, "it is being made, perhaps");
        assert_eq!(reason(mine(), 1_061), Some("orphan"));
        let guard = reaper.adopt(ContainerId::from("x".to_owned()));
        assert_eq!(reason(mine(), 999_999), None);
        // When the daemon does not tell its time, nothing is taken for old.
        assert_eq!(reaper.0.reason(&of(other()), None), None);
        drop(guard);
        reaper.shutdown(Instant::now() + SOON).await;
    });
}

#[tokio::test]
async fn more_than_the_queue_holds_is_left_to_the_sweep() {
    let rig = Rig::new().await;
    // Nothing takes from this queue, as when the daemon takes minutes for each.
    let (queue, mut doomed) = mpsc::channel(2);
    let reaper = Reaper(Arc::new(Shared {
        daemon: rig.daemon.clone(),
        owner: rig.owner.clone(),
        epoch: Epoch::new(),
        held: Mutex::default(),
        queue,
        metrics: metrics(),
        closed: CancellationToken::new(),
        tasks: TaskTracker::new(),
    }));
    let id = |number: usize| ContainerId::from(format!("{number:064}"));
    let guards: Vec<Guard> = (0..5).map(|number| reaper.adopt(id(number))).collect();
    assert_eq!(reaper.0.held.lock().len(), 5);
    drop(guards);
    let held = reaper.0.held.lock().clone();
    let queued = HashSet::from([doomed.try_recv().unwrap(), doomed.try_recv().unwrap()]);
    assert_eq!(
        held, queued,
        "what is not queued is an orphan, which the sweep removes"
    );
}

/// Fault 29: what was to be removed while the daemon was away is removed when it is back, images stay
/// known, a shutdown does not wait for a daemon that is dead, and nothing is left on it.
#[tokio::test(flavor = "multi_thread")]
async fn fault_29_while_the_daemon_is_away_alone_nothing_is_lost_and_nobody_waits() {
    let mut private = PrivateDaemon::start().await;
    let daemon = at(Some(private.host())).await;
    let rig = Rig {
        docker: private.docker(),
        owner: "private".to_owned(),
        daemon: daemon.clone(),
    };
    let before = rig.docker.listing().await;
    let allowed = [BARE_IMAGE.to_owned()];
    let images = Images::launch(daemon, &allowed, Timing::default(), metrics()).unwrap();
    let image = images.look_up(BARE_IMAGE).await.unwrap();
    let reaper = rig.launch();
    let (first, id) = rig.container(&reaper.labels(SOON)).await;
    let guard = reaper.adopt(id);
    let (second, id) = rig.container(&reaper.labels(SOON)).await;
    let in_use = reaper.adopt(id);

    private.kill();
    drop(guard);
    sleep(Duration::from_millis(500)).await;
    images.look_again();
    assert_eq!(
        images.resolve(BARE_IMAGE).unwrap(),
        image,
        "it comes back with its images"
    );
    private.resume().await;
    rig.gone(&first).await;
    assert!(rig.there().await.contains(&second));

    private.kill();
    let asked = Instant::now();
    reaper
        .shutdown(Instant::now() + Duration::from_millis(500))
        .await;
    assert!(
        asked.elapsed() < Duration::from_secs(1),
        "{:?}",
        asked.elapsed()
    );
    drop(in_use);
    images.shutdown().await;
    private.resume().await;
    // Stands for a later shutdown of the same life, with a daemon that answers.
    let next = Reaper(Arc::new(Shared {
        daemon: rig.daemon.clone(),
        owner: rig.owner.clone(),
        epoch: reaper.0.epoch.clone(),
        held: Mutex::default(),
        queue: mpsc::channel(1).0,
        metrics: metrics(),
        closed: CancellationToken::new(),
        tasks: TaskTracker::new(),
    }));
    next.shutdown(Instant::now() + SOON).await;
    assert_eq!(
        rig.docker.listing().await.since(&before),
        Vec::<String>::new()
    );
}
