//! Against a daemon that is none, for what no real one does, and against the real one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use testkit::docker::BARE_IMAGE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::docker::daemon::tests::{at, labels, node, profile, shared};
use crate::docker::daemon::{Daemon, End};
use crate::docker::reaper::new_name;

fn oom(number: u8) -> String {
    let id = format!("{number:064x}");
    format!(
        "{{\"status\":\"oom\",\"Action\":\"oom\",\"Actor\":{{\"ID\":\"{id}\",\"Attributes\":{{}}}}}}\n"
    )
}

fn id(number: u8) -> ContainerId {
    ContainerId::from(format!("{number:064x}"))
}

#[test]
fn what_is_asked_for_is_what_the_filter_of_the_stack_lets_through() {
    let path = path("an \"owner\" & more");
    let (before, query) = path.split_once('?').unwrap();
    assert_eq!(before, "/events");
    let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
    assert_eq!((pairs.len(), pairs[0].0.as_ref()), (1, "filters"));
    let filters: serde_json::Value = serde_json::from_str(&pairs[0].1).unwrap();
    let wanted = serde_json::json!({
        "type": ["container"],
        "event": ["oom"],
        "label": ["dynamic-mcp.sandbox=1", "dynamic-mcp.owner=an \"owner\" & more"],
    });
    assert_eq!(filters, wanted);
}

#[test]
fn events_are_taken_as_they_come_in_whatever_pieces() {
    let mut buffer = BytesMut::new();
    let all = format!("{}\r\n\n{}", oom(1), oom(2));
    let mut found = Vec::new();
    for byte in all.bytes() {
        buffer.extend_from_slice(&[byte]);
        found.extend(cut_off(&mut buffer).unwrap());
    }
    assert_eq!(found, [id(1), id(2)]);
    assert!(buffer.is_empty());
    buffer.extend_from_slice(all.as_bytes());
    assert_eq!(cut_off(&mut buffer).unwrap(), Some(id(1)));
    assert_eq!(cut_off(&mut buffer).unwrap(), Some(id(2)));
}

#[test]
fn fault_32_what_is_no_event_is_an_error_and_an_endless_one_too() {
    let long = "a".repeat(65);
    for line in [
        "<html>",
        "{}",
        "[]",
        "\u{0}",
        r#"{"Action":"die","Actor":{"ID":"aa"}}"#,
        r#"{"Action":"oom","Actor":{"ID":""}}"#,
        r#"{"Action":"oom","Actor":{"ID":"../x"}}"#,
        &format!(r#"{{"Action":"oom","Actor":{{"ID":"{long}"}}}}"#),
    ] {
        let mut buffer = BytesMut::from(format!("{line}\n").as_str());
        let fault = cut_off(&mut buffer).unwrap_err();
        assert!(matches!(fault, Fault::Answer(_)), "{line}: {fault}");
    }
    let mut buffer = BytesMut::zeroed(EVENT);
    assert!(cut_off(&mut buffer).unwrap().is_none());
    buffer.extend_from_slice(b"x");
    assert!(matches!(cut_off(&mut buffer), Err(Fault::Answer(_))));
}

/// What a daemon that is none does when its events are asked for, one after the other, the last again and
/// again.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Refuses.
    Refuse,
    /// Sends this, and no more.
    Send(&'static str),
    /// Tells of the container with this number, and stays silent.
    Tell(u8),
}

struct Fake {
    asked: Arc<AtomicUsize>,
    /// Streams of events that nobody has closed.
    open: Arc<AtomicUsize>,
    host: String,
    _tasks: JoinSet<()>,
}

async fn fake(steps: &'static [Step]) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("tcp://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let open = Arc::new(AtomicUsize::new(0));
    let counts = (Arc::clone(&asked), Arc::clone(&open));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut streams = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            streams.spawn(answer(stream, steps, counts.clone()));
        }
    });
    Fake {
        asked,
        open,
        host,
        _tasks: tasks,
    }
}

type Counts = (Arc<AtomicUsize>, Arc<AtomicUsize>);

async fn answer(mut stream: TcpStream, steps: &[Step], (asked, open): Counts) {
    let mut request = [0; 4_096];
    let Ok(read) = stream.read(&mut request).await else {
        return;
    };
    let request = String::from_utf8_lossy(&request[..read]).into_owned();
    let whole = |status: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let (text, stays) = if request.contains("/events?") {
        let at = asked.fetch_add(1, Ordering::SeqCst);
        match steps[at.min(steps.len() - 1)] {
            Step::Refuse => (whole("403 Forbidden", "{\"message\":\"no\"}"), false),
            Step::Send(body) => (whole("200 OK", body), false),
            Step::Tell(number) => {
                let event = oom(number);
                let length = event.len();
                let chunk = format!("{length:x}\r\n{event}\r\n");
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                (format!("{head}{chunk}"), true)
            }
        }
    } else {
        (whole("200 OK", "{\"ApiVersion\":\"1.41\"}"), false)
    };
    // Whoever has heard enough hangs up.
    drop(stream.write_all(text.as_bytes()).await);
    if stays {
        open.fetch_add(1, Ordering::SeqCst);
        drop(stream.read(&mut [0]).await);
        open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn fault_02_32_a_daemon_that_denies_or_garbles_its_events_is_asked_again_with_pauses() {
    const STEPS: &[Step] = &[
        Step::Refuse,
        Step::Send("<html>no</html>\n"),
        Step::Send(""),
        Step::Tell(7),
    ];
    let fake = fake(STEPS).await;
    let daemon = at(Some(fake.host.clone())).await;
    let (begun, kills) = (Instant::now(), &daemon.shared.kills);
    daemon.listen("tests".to_owned());
    until("it is asked", || fake.asked.load(Ordering::SeqCst) > 0).await;
    let asked = Instant::now();
    let told = kills.told_of(&id(8)).await;
    assert!(!told && asked.elapsed() < Duration::from_millis(900));
    let up = || daemon.shared.metrics.docker_events_up.get() == 1;
    until("the fourth is heard", || {
        fake.asked.load(Ordering::SeqCst) == STEPS.len() && up()
    })
    .await;
    // 100, 200 and 400 ms.
    assert!(begun.elapsed() >= Duration::from_millis(700));
    assert!(kills.told_of(&id(7)).await);
    let asked = Instant::now();
    assert!(!kills.told_of(&id(8)).await);
    assert!(
        asked.elapsed() >= Duration::from_millis(900),
        "it may be late"
    );
    assert_eq!(fake.asked.load(Ordering::SeqCst), STEPS.len());
}

#[tokio::test]
async fn a_stream_is_renewed_without_a_gap_and_the_old_one_is_closed() {
    let fake = fake(&[Step::Tell(1), Step::Tell(2), Step::Tell(3)]).await;
    let daemon = at(Some(fake.host.clone())).await;
    let shared = &daemon.shared;
    let path = path("tests");
    let mut stream = shared.open_events(&path, OPEN).await.unwrap();
    let renew = Duration::from_millis(50);
    tokio::select! {
        fault = shared.follow(&path, &mut stream, renew) => panic!("{fault}"),
        () = until("three told", || shared.kills.count() == 3) => {}
    }
    assert!(fake.asked.load(Ordering::SeqCst) >= 3);
    until("one is open", || fake.open.load(Ordering::SeqCst) == 1).await;
    drop(stream);
    until("none is open", || fake.open.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_daemon_that_nobody_uses_any_more_is_not_listened_to() {
    let fake = fake(&[Step::Refuse]).await;
    let daemon = at(Some(fake.host.clone())).await;
    daemon.listen("tests".to_owned());
    until("it is asked", || fake.asked.load(Ordering::SeqCst) > 0).await;
    let shared = Arc::downgrade(&daemon.shared);
    drop(daemon);
    until("its tasks have ended", || shared.strong_count() == 0).await;
}

/// Ends a container of node in a way of its own and says what the daemon tells of its end.
async fn ended(daemon: &Daemon, script: &str, owner: &str) -> (End, Duration) {
    let profile = profile(daemon, BARE_IMAGE).await;
    let body = profile.body(node(script), &labels(owner));
    let id = daemon.create(&new_name(), &body).await.unwrap();
    let mut attached = daemon.attach(&id).await.unwrap();
    daemon.start(&id).await.unwrap();
    while let Some(Ok(_)) = futures::StreamExt::next(&mut attached.output).await {}
    let asked = Instant::now();
    let end = daemon.end_of(&id).await.unwrap();
    let took = asked.elapsed();
    daemon.kill_and_remove(&id).await.unwrap();
    (end, took)
}

const HOG: &str = "const all = []; for (;;) all.push(Buffer.alloc(8 << 20, 1))";

#[tokio::test(flavor = "multi_thread")]
async fn fault_02_the_daemon_tells_of_kills_in_containers_of_this_owner_and_of_no_other_ends() {
    let daemon = shared().await;
    let owner = "tests of events";
    let heard = || daemon.shared.kills.count();
    daemon.listen(owner.to_owned());
    let up = || daemon.shared.metrics.docker_events_up.get() == 1;
    until("it listens", up).await;
    let (other, _) = ended(&daemon, HOG, "another owner").await;
    assert!(!other.running && heard() == 0, "{other:?}");
    let (mine, _) = ended(&daemon, HOG, owner).await;
    assert!(mine.oom_killed, "{mine:?}");
    until("the event comes", || heard() == 1).await;
    // Not for memory: there is a moment of waiting for news, and none come.
    let (killed, took) = ended(&daemon, "process.kill(process.pid, 9)", owner).await;
    assert_eq!((killed.exit_code, killed.oom_killed), (Some(137), false));
    assert!(took >= Duration::from_millis(900), "{took:?}");
    let (left, _) = ended(&daemon, "process.exit(3)", owner).await;
    assert_eq!((left.exit_code, left.oom_killed), (Some(3), false));
    assert_eq!(heard(), 1);
}
