//! Against a real daemon.

use std::sync::Arc;

use bollard::models::ContainerCreateBody;
use domain::ErrorCode;
use futures::StreamExt;
use telemetry::{BuildInfo, Metrics};
use testkit::docker::{BARE_IMAGE, PrivateDaemon};
use tokio::io::AsyncWriteExt;

use super::*;
use crate::docker::images::ImageId;
use crate::docker::profile::{Network, Profile, Purpose};
use crate::docker::reaper::{Epoch, Labels, new_name};

/// Longest that anything here may take when the daemon is well.
const SOON: Duration = Duration::from_secs(30);

pub(crate) fn metrics() -> Arc<Metrics> {
    let build = BuildInfo {
        service: "executor",
        version: "0",
        commit: "test",
    };
    Arc::new(Metrics::new(build).unwrap())
}

/// The shared daemon.
pub(crate) async fn shared() -> Daemon {
    testkit::docker::daemon();
    at(None).await
}

pub(crate) async fn at(host: Option<String>) -> Daemon {
    let settings = DockerSettings {
        host,
        ..DockerSettings::default()
    };
    Daemon::connect(&settings, metrics()).await.unwrap()
}

/// The profile with an image of the tests.
pub(crate) async fn profile(daemon: &Daemon, image: &str) -> Profile {
    let facts = daemon.image(image).await.unwrap().expect("the image");
    Profile {
        image: ImageId::from(facts),
        runtime: None,
        memory_bytes: 128 << 20,
        cpu_millis: 1_000,
        purpose: Purpose::Call,
        network: Network::None,
        volume: None,
        cgroup_parent: None,
        data_mounts: Vec::new(),
        labels: Default::default(),
    }
}

pub(crate) fn labels(owner: &str) -> Labels {
    Labels {
        owner: owner.to_owned(),
        epoch: Epoch::new(),
        max_age: Duration::from_secs(300),
    }
}

pub(crate) fn node(script: &str) -> Vec<String> {
    ["node", "-e", script].map(str::to_owned).to_vec()
}

/// What a container did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) end: End,
}

/// Makes a container, runs it to its end and removes it.
pub(crate) async fn run(daemon: &Daemon, profile: &Profile, command: Vec<String>) -> Ran {
    run_body(daemon, &profile.body(command, &labels("tests"))).await
}

pub(crate) async fn run_body(daemon: &Daemon, body: &ContainerCreateBody) -> Ran {
    let id = daemon.create(&new_name(), body).await.unwrap();
    let mut attached = daemon.attach(&id).await.unwrap();
    let started = daemon.start(&id).await;
    let (out, err) = match started {
        Ok(()) => printed(&mut attached.output).await,
        Err(_) => Default::default(),
    };
    let end = daemon.end_of(&id).await.unwrap();
    daemon.kill_and_remove(&id).await.unwrap();
    if let Err(error) = started {
        panic!("{error:?}");
    }
    Ran { out, err, end }
}

async fn body(daemon: &Daemon, script: &str) -> ContainerCreateBody {
    let profile = profile(daemon, BARE_IMAGE).await;
    profile.body(node(script), &labels("tests of the daemon"))
}

/// What a container prints, by stream, until its end.
async fn printed(output: &mut Output) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let all = async {
        while let Some(piece) = output.next().await {
            match piece.unwrap() {
                (Printed::Out, piece) => out.extend(piece),
                (Printed::Err, piece) => err.extend(piece),
            }
        }
    };
    timeout(SOON, all).await.expect("the end of the output");
    (
        String::from_utf8(out).unwrap(),
        String::from_utf8(err).unwrap(),
    )
}

#[tokio::test]
async fn a_container_is_made_spoken_to_and_removed() {
    let daemon = shared().await;
    assert!(daemon.shared.transport.version() >= FLOOR);
    let script = "process.stdin.on('data', d => { console.log('got ' + d); console.error('bad') }) \
                  .on('end', () => process.exit(7))";
    let id = daemon
        .create(&new_name(), &body(&daemon, script).await)
        .await
        .unwrap();
    let mut attached = daemon.attach(&id).await.unwrap();
    daemon.start(&id).await.unwrap();
    let running = daemon.end_of(&id).await.unwrap();
    assert!(running.running && running.exit_code.is_none());
    attached.input.write_all(b"hello").await.unwrap();
    attached.input.shutdown().await.unwrap();
    let (out, err) = printed(&mut attached.output).await;
    assert_eq!((out.trim(), err.trim()), ("got hello", "bad"));
    let end = daemon.end_of(&id).await.unwrap();
    let expected = End {
        running: false,
        exit_code: Some(7),
        oom_killed: false,
        error: None,
    };
    assert_eq!(end, expected);
    daemon.kill_and_remove(&id).await.unwrap();
    daemon.kill_and_remove(&id).await.unwrap();
    let gone = daemon.end_of(&id).await.unwrap();
    assert_eq!((gone.running, gone.exit_code), (false, None));
    let metrics = daemon.shared.metrics.encode().unwrap();
    for operation in ["create", "attach", "start", "inspect", "remove"] {
        let sample = format!(
            "mcp_docker_request_duration_seconds_count{{operation=\"{operation}\",outcome=\"ok\"}}"
        );
        assert!(metrics.contains(&sample), "{operation}");
    }
}

#[tokio::test]
async fn fault_02_want_of_memory_is_told_by_the_daemon() {
    let daemon = shared().await;
    let script = "const all = []; for (;;) all.push(Buffer.alloc(8 << 20, 1))";
    let id = daemon
        .create(&new_name(), &body(&daemon, script).await)
        .await
        .unwrap();
    let mut attached = daemon.attach(&id).await.unwrap();
    daemon.start(&id).await.unwrap();
    printed(&mut attached.output).await;
    let end = daemon.end_of(&id).await.unwrap();
    daemon.kill_and_remove(&id).await.unwrap();
    assert!(end.oom_killed && !end.running, "{end:?}");
}

#[tokio::test]
async fn a_stream_ends_its_container_with_itself() {
    let daemon = shared().await;
    let script = "process.stdin.on('end', () => process.exit(3)).resume()";
    let id = daemon
        .create(&new_name(), &body(&daemon, script).await)
        .await
        .unwrap();
    let attached = daemon.attach(&id).await.unwrap();
    daemon.start(&id).await.unwrap();
    drop(attached);
    let mut end = daemon.end_of(&id).await.unwrap();
    for _ in 0..5 {
        if end.running {
            end = daemon.end_of(&id).await.unwrap();
        }
    }
    daemon.kill_and_remove(&id).await.unwrap();
    assert_eq!(end.exit_code, Some(3));
}

/// What would give the machine away is only asked for where nothing comes of it.
#[tokio::test]
async fn a_daemon_without_a_filter_refuses_nothing_and_makes_nothing() {
    let daemon = shared().await;
    let found = daemon.filtered().await.unwrap();
    assert!(found.sandboxes, "{found:?}");
    assert_eq!(found.refused, Vec::<&str>::new());
    assert_eq!(found.passed.len(), 11, "{found:?}");
    let left = daemon.inventory().await.unwrap().containers;
    assert!(
        left.values()
            .all(|owner| owner.as_deref() != Some("doctor")),
        "{left:?}"
    );
}

#[tokio::test]
async fn what_the_daemon_refuses_is_said_without_its_words() {
    let daemon = shared().await;
    let mut body = body(&daemon, "").await;
    body.image = Some(format!("sha256:{}", "0".repeat(64)));
    let error = daemon.create(&new_name(), &body).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert!(!error.to_string().contains("No such image"), "{error}");
    let cause = error.cause().unwrap().to_string();
    assert!(
        cause.contains("create: ") && cause.contains("404"),
        "{cause}"
    );
    let missing = ContainerId::from("0".repeat(64));
    let error = daemon.attach(&missing).await.unwrap_err();
    assert!(error.cause().unwrap().to_string().contains("404"));
}

#[tokio::test]
async fn no_daemon_is_said_with_its_address_and_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("none.sock");
    let host = format!("unix://{}", socket.display());
    let settings = DockerSettings {
        host: Some(host.clone()),
        ..DockerSettings::default()
    };
    let error = Daemon::connect(&settings, metrics()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    let text = error.to_string();
    assert!(
        text.contains(&host) && text.contains("No such file"),
        "{text}"
    );
}

/// One that answers every request with the same body.
async fn answering(body: String) -> (String, tokio::task::JoinSet<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("tcp://{}", listener.local_addr().unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            let read = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
            if read.is_err() {
                continue;
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            // Whoever has heard enough hangs up.
            let sent = async {
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(body.as_bytes()).await
            };
            drop(sent.await);
        }
    });
    (host, tasks)
}

#[tokio::test]
async fn a_daemon_that_is_too_old_or_too_new_is_refused_with_both_versions() {
    for (oldest, newest) in [("1.12", "1.40"), ("1.60", "1.70")] {
        let body = format!("{{\"ApiVersion\":\"{newest}\",\"MinAPIVersion\":\"{oldest}\"}}");
        let (host, _tasks) = answering(body).await;
        let settings = DockerSettings {
            host: Some(host),
            ..DockerSettings::default()
        };
        let error = Daemon::connect(&settings, metrics()).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&format!("API {oldest} to {newest}, and 1.41 to 1.53")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn fault_32_an_answer_without_end_is_given_up() {
    let body = format!(
        "{{\"ApiVersion\":\"1.41\",\"x\":\"{}\"}}",
        "y".repeat(20 << 20)
    );
    let (host, _tasks) = answering(body).await;
    let settings = DockerSettings {
        host: Some(host),
        ..DockerSettings::default()
    };
    let error = Daemon::connect(&settings, metrics()).await.unwrap_err();
    assert!(
        error.to_string().contains("longer than its bound"),
        "{error}"
    );
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < SOON, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    started.elapsed()
}

/// Fault 36, as far as it is ours: nothing is left of a container, here or there.
#[tokio::test]
async fn fault_36_containers_that_come_and_go_leave_nothing_behind() {
    let daemon = shared().await;
    let body = body(&daemon, "setInterval(() => {}, 1e6)").await;
    let cycle = async || {
        let name = new_name();
        let id = daemon.create(&name, &body).await.unwrap();
        let attached = daemon.attach(&id).await.unwrap();
        daemon.start(&id).await.unwrap();
        drop(attached);
        assert!(daemon.remove(&id).await.unwrap(), "gone when it says so");
        name
    };
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    cycle().await;
    until("connections close", async || open() <= 30).await;
    let before = open();
    let mut names = Vec::new();
    for _ in 0..8 {
        names.push(cycle().await);
    }
    until("connections close", async || open() <= before).await;
    let there = daemon.list().await.unwrap();
    assert!(!there.iter().any(|it| names.contains(&it.name)));
}

/// Fault 29, in one test since a daemon of its own takes seconds to make.
#[tokio::test(flavor = "multi_thread")]
async fn fault_29_a_daemon_that_is_killed_hangs_or_restarts_alone_is_found_again() {
    let mut private = PrivateDaemon::start().await;
    let daemon = at(Some(private.host())).await;
    let up = || daemon.shared.metrics.docker_up.get() == 1;
    let forever = "setInterval(() => console.log('x'), 10)";
    let body = body(&daemon, forever).await;
    let id = daemon.create(&new_name(), &body).await.unwrap();
    let mut attached = daemon.attach(&id).await.unwrap();
    daemon.start(&id).await.unwrap();
    attached.output.next().await.unwrap().unwrap();

    // Killed in the middle of a call: its stream ends, which is not an end of the container.
    private.kill();
    timeout(SOON, async {
        while attached.output.next().await.is_some_and(|it| it.is_ok()) {}
    })
    .await
    .expect("the stream ends with the daemon");
    assert!(daemon.list().await.is_err());
    until("the gauge says so", async || !up()).await;
    let asked = Instant::now();
    assert!(daemon.create(&new_name(), &body).await.is_err());
    assert!(
        asked.elapsed() < Duration::from_millis(100),
        "nobody waits for it"
    );
    private.resume().await;
    let took = until("it is found again", async || up()).await;
    assert!(took < Duration::from_secs(4), "{took:?}");
    daemon.kill_and_remove(&id).await.unwrap();

    // It hangs: a request under way is given up long before its own deadline.
    let paused = private.pause();
    let asked = Instant::now();
    let error = daemon.create(&new_name(), &body).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert!(
        asked.elapsed() < Duration::from_secs(12),
        "{:?}",
        asked.elapsed()
    );
    let asked = Instant::now();
    assert!(daemon.list().await.is_err());
    assert!(asked.elapsed() < Duration::from_millis(100));
    drop(paused);
    until("it goes on", async || daemon.list().await.is_ok()).await;

    // Restarted in good order.
    private.stop().await;
    private.resume().await;
    until("it is back", async || daemon.list().await.is_ok()).await;
    let id = daemon.create(&new_name(), &body).await.unwrap();
    daemon.kill_and_remove(&id).await.unwrap();
}
