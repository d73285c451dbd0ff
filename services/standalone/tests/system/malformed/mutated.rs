//! 100,000 requests that are wrong somewhere (2,000 without `MCP_TEST_SOAK=1`), against real
//! processes: each is answered with a 4xx, closed, or served where it is still right; never a 5xx,
//! a panic, a hang or a restart, and the memory comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;
use testkit::mcp::Era;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::mutate::{Parts, Spoilt, spoil};
use crate::deployment::{Deployment, Kind};
use crate::production::soak;

/// The seed of the first connection; the next ones follow.
const SEED: u64 = 0x6d61_6c66;
/// Connections at once.
const AT_ONCE: usize = 16;
/// Longest that a server may take for an answer, or for the end of a connection that it cannot use.
const LIMIT: Duration = Duration::from_secs(20);
/// A server with nothing to say by now waits for what does not come.
const QUIET: Duration = Duration::from_millis(120);
/// Growth of memory that is no leak: what the allocator keeps of a burst.
const SPARE_KIB: u64 = 48 << 10;

fn corpus() -> Vec<Parts> {
    let mut corpus = Vec::new();
    for modern in [true, false] {
        let mut post = |method: &str, params| corpus.push(Parts::post(method, params, modern));
        let echo = json!({"name": "dev.echo", "arguments": {"message": "hellö \u{1f600}", "uppercase": true}});
        post("tools/call", echo.clone());
        post("tools/call", echo);
        post(
            "tools/call",
            json!({"name": "time.now", "arguments": {"timeZone": "Europe/Berlin"}}),
        );
        let create = json!({"name": "dynamic.tool.create", "arguments": {"tool": {
            "name": "", "description": "d", "code": "return 1",
            "inputSchema": {"type": "object", "properties": {"a": {"type": "string", "pattern": "^a+$"}}},
            "dependencies": [{"name": "left-pad", "version": "1.3.0"}], "tags": ["x"],
        }}});
        post("tools/call", create);
        post(
            "tools/call",
            json!({"name": "dynamic.tool.list", "arguments": {"limit": 2}}),
        );
        post("tools/list", json!({"cursor": null}));
        post("resources/list", json!({}));
        post("resources/read", json!({"uri": "dynamic://service/meta"}));
        post("prompts/list", json!({}));
        let prompt = json!({"name": "tool-call-checklist", "arguments": {"toolName": "x"}});
        post("prompts/get", prompt);
        let complete = json!({"ref": {"type": "ref/prompt", "name": "tool-call-checklist"},
            "argument": {"name": "toolName", "value": "d"}});
        post("completion/complete", complete);
        post("notifications/cancelled", json!({"requestId": 1}));
    }
    corpus.push(Parts::post("server/discover", json!({}), true));
    let filter = json!({"notifications": {"toolsListChanged": true}});
    corpus.push(Parts::post("subscriptions/listen", filter, true));
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "x", "version": "1"}});
    corpus.push(Parts::post("initialize", hello, false));
    corpus.push(Parts::post("ping", json!({}), false));
    for path in ["/livez", "/readyz", "/health", "/mcp"] {
        corpus.push(Parts::get(path));
    }
    corpus
}

/// What became of a connection.
enum Ending {
    /// Answers with these statuses.
    Answered(Vec<u16>),
    /// No answer.
    Closed,
}

/// How far the last answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    Missing,
    /// An event stream, whose end is not waited for.
    Open,
}

type Answers = (Vec<u16>, End);

/// The statuses of the answers so far. `of_head`: the first request is a HEAD.
fn statuses(mut bytes: &[u8], of_head: bool) -> Result<Answers, String> {
    let mut found = Vec::new();
    loop {
        if bytes.is_empty() {
            return Ok((found, End::Complete));
        }
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok((found, End::Missing));
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let status = head
            .strip_prefix("http/1.")
            .and_then(|head| head.get(2..5)?.parse().ok());
        let status: u16 = status.ok_or_else(|| format!("no answer of HTTP: {head}"))?;
        bytes = &bytes[end + 4..];
        if status == 100 {
            continue;
        }
        found.push(status);
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        // The answer to a HEAD names a length and has none.
        if of_head && found.len() == 1 {
            continue;
        }
        if let Some(length) = header("content-length: ") {
            let length: usize = length.parse().map_err(|_| head.clone())?;
            match bytes.get(length..) {
                Some(rest) => bytes = rest,
                None => return Ok((found, End::Missing)),
            }
        } else if header("transfer-encoding: ").is_some() {
            if header("content-type: ").is_some_and(|kind| kind.starts_with("text/event-stream")) {
                return Ok((found, End::Open));
            }
            match bytes.windows(5).position(|five| five == b"0\r\n\r\n") {
                Some(end) => bytes = &bytes[end + 5..],
                None => return Ok((found, End::Missing)),
            }
        }
    }
}

/// Sends it all and reads until there is an answer to each request, or the server closes.
async fn send(address: &str, spoilt: &Spoilt) -> Result<Ending, String> {
    let mut stream = TcpStream::connect(address)
        .await
        .map_err(|error| error.to_string())?;
    for (at, piece) in spoilt.pieces.iter().enumerate() {
        if at > 0 {
            sleep(Duration::from_millis(3)).await;
        }
        // A server that refuses early may close while we still send.
        if stream.write_all(piece).await.is_err() {
            break;
        }
    }
    let of_head = spoilt.pieces.concat().starts_with(b"HEAD ");
    let (mut bytes, mut told) = (Vec::new(), false);
    loop {
        let read = timeout(QUIET, stream.read_buf(&mut bytes)).await;
        let ended = matches!(read, Ok(Ok(0) | Err(_)));
        let (found, end) = if spoilt.http2 {
            (Vec::new(), End::Missing)
        } else {
            statuses(&bytes, of_head)?
        };
        let all = end == End::Complete && found.len() >= spoilt.requests;
        if ended || all || end == End::Open {
            return Ok(if found.is_empty() {
                Ending::Closed
            } else {
                Ending::Answered(found)
            });
        }
        if read.is_err() && !told {
            // The server waits for more than there is: it is told that nothing comes.
            told = true;
            if stream.shutdown().await.is_err() {
                return Ok(Ending::Closed);
            }
        }
    }
}

async fn all_are_served(address: &str, corpus: &[Parts]) {
    for parts in corpus {
        let whole = Spoilt {
            pieces: vec![parts.clone().whole()],
            requests: 1,
            http2: false,
        };
        let ending = timeout(LIMIT, send(address, &whole))
            .await
            .unwrap()
            .unwrap();
        let Ending::Answered(found) = ending else {
            panic!("no answer to {parts:?}");
        };
        assert!(
            matches!(found[..], [200 | 202 | 405]),
            "{found:?}: {parts:?}"
        );
    }
}

#[derive(Default)]
struct Tally {
    served: AtomicUsize,
    refused: AtomicUsize,
    closed: AtomicUsize,
}

/// One connection: what is wrong about its end, if anything is.
async fn one(address: &str, corpus: &[Parts], seed: u64, tally: &Tally) -> Option<String> {
    let spoilt = spoil(corpus, &mut Rng::with_seed(seed));
    let shown = || {
        String::from_utf8_lossy(&spoilt.pieces.concat())
            .chars()
            .take(2_000)
            .collect::<String>()
    };
    let ending = match timeout(LIMIT, send(address, &spoilt)).await {
        Ok(Ok(ending)) => ending,
        Ok(Err(why)) => return Some(format!("seed {seed:#x}: {why}\n{}", shown())),
        Err(_) => {
            return Some(format!(
                "seed {seed:#x}: no end within {LIMIT:?}\n{}",
                shown()
            ));
        }
    };
    let Ending::Answered(found) = ending else {
        tally.closed.fetch_add(1, Ordering::Relaxed);
        return None;
    };
    let good = found
        .iter()
        .all(|status| matches!(status, 200 | 202 | 400..500));
    // What is left of a body that is longer than it says is taken for a request, and is none.
    let left = found.len() == spoilt.requests + 1 && matches!(found.last(), Some(400..500));
    if !good || (found.len() > spoilt.requests && !left) {
        return Some(format!(
            "seed {seed:#x}: {found:?} to {} requests\n{}",
            spoilt.requests,
            shown()
        ));
    }
    let counter = if found[0] < 300 {
        &tally.served
    } else {
        &tally.refused
    };
    counter.fetch_add(1, Ordering::Relaxed);
    None
}

#[expect(clippy::print_stderr, reason = "the counts of a run are to be seen")]
fn print(text: &str) {
    eprintln!("{text}");
}

/// How many answers there were of each of the 500s.
async fn faults(deployment: &Deployment) -> Vec<String> {
    let (_, metrics) = deployment.get("/metrics").await;
    let count = "mcp_request_duration_seconds_count";
    let of_500s = |line: &&str| line.starts_with(count) && line.contains("status_code=\"5");
    metrics.lines().filter(of_500s).map(str::to_owned).collect()
}

async fn run(kind: Kind, count: u64) {
    let env = [
        ("MCP_PROFILE", "enterprise"),
        ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "1000000"),
        ("MCP_DYNAMIC_MAX_TOOLS", "1"),
        ("MCP_AUDIT_ENABLED", "false"),
    ];
    let deployment = Deployment::start(kind, &env).await;
    let corpus = Arc::new(corpus());
    all_are_served(&deployment.address, &corpus).await;
    let process = deployment.front.id();
    // `/readyz` may have said that it was not ready yet.
    let faults_before = faults(&deployment).await;
    let tally = Arc::new(Tally::default());
    print(&format!("{count} requests from seed {SEED:#x}"));

    let mut failures = Vec::new();
    let mut before = None;
    let mut running = JoinSet::new();
    let mut next = SEED;
    while next < SEED + count || !running.is_empty() {
        while running.len() < AT_ONCE && next < SEED + count {
            let (address, corpus) = (deployment.address.clone(), Arc::clone(&corpus));
            let (tally, seed) = (Arc::clone(&tally), next);
            running.spawn(async move { one(&address, &corpus, seed, &tally).await });
            next += 1;
        }
        failures.extend(running.join_next().await.unwrap().unwrap());
        assert!(failures.len() < 20, "{}", failures.join("\n\n"));
        // What is made once is made by then: threads, buffers, caches.
        if before.is_none() && next - SEED > count / 5 {
            before = Some(deployment.front.resident_kib());
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    let count_of = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let (served, refused, closed) = (
        count_of(&tally.served),
        count_of(&tally.refused),
        count_of(&tally.closed),
    );
    print(&format!(
        "{served} served, {refused} refused, {closed} closed"
    ));
    // Most get as far as a word about what is wrong.
    assert!(
        served > 0 && refused > closed,
        "{served} {refused} {closed}"
    );

    all_are_served(&deployment.address, &corpus).await;
    let echoed = json!({"code": "return args.word", "args": {"word": "still here"}});
    let result = deployment
        .client(Era::Modern)
        .ok("run_js_ephemeral", echoed)
        .await;
    assert_eq!(result["result"], "still here");
    assert_eq!(deployment.front.id(), process);
    assert_eq!(super::metric(&deployment, "mcp_panics_total ").await, 0.0);
    assert_eq!(faults(&deployment).await, faults_before);
    let log = deployment.front.log().join("\n");
    assert!(!log.contains("panicked"), "{log}");
    let before = before.unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let now = deployment.front.resident_kib();
        if now <= before + SPARE_KIB {
            print(&format!("memory: {before} KiB, then {now} KiB"));
            break;
        }
        assert!(Instant::now() < end, "grew from {before} to {now} KiB");
        sleep(Duration::from_millis(500)).await;
    }
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_requests_alone_to_three_processes() {
    run(Kind::Three, if soak() { 60_000 } else { 1_200 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_requests_alone_to_one_process() {
    run(Kind::Direct, if soak() { 40_000 } else { 800 }).await;
}
