//! Table 2.3, rows 37 and 38: floods of HTTP/2 frames and of connections, against real processes.
//! Memory stays within bounds, the process is the same afterwards, and others are served meanwhile.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use testkit::frames::{END_HEADERS, END_STREAM, Taken, flood, frame, head, hello, indexed, kind};
use testkit::http::exchange;
use testkit::mcp::{Client, Era};
use testkit::process::Program;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};

use crate::deployment::{Deployment, Kind};
use crate::production::soak;

/// Growth of a process that a flood may cause while it lasts.
const MOST_KIB: u64 = 64 << 10;
/// Longest that a flood may go on.
const LIMIT: Duration = Duration::from_secs(40);

/// What is sent, piece by piece.
struct Flood {
    name: &'static str,
    pieces: Box<dyn Iterator<Item = Vec<u8>>>,
    reads: bool,
    /// Whether our own port has to close the connection. gRPC ports, which only our own services
    /// reach, may answer for as long as it lasts.
    closes: bool,
    grpc_closes: bool,
}

/// A stream of its own for every request.
fn streams() -> impl Iterator<Item = u32> {
    (0_u32..).map(|number| number * 2 + 1)
}

fn request() -> Vec<u8> {
    head(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/mcp"),
        (":authority", "localhost"),
        ("content-type", "application/json"),
    ])
}

/// The preface, then pieces of about 64 KiB.
fn gathered(frames: impl Iterator<Item = Vec<u8>> + 'static) -> Box<dyn Iterator<Item = Vec<u8>>> {
    let mut frames = frames.peekable();
    let rest = std::iter::from_fn(move || {
        frames.peek()?;
        let mut piece = Vec::new();
        while piece.len() < 65_536
            && let Some(frame) = frames.next()
        {
            piece.extend(frame);
        }
        Some(piece)
    });
    Box::new(std::iter::once(hello()).chain(rest))
}

fn floods() -> Vec<Flood> {
    let most = if soak() { 1_000_000 } else { 100_000 };
    let whole = END_HEADERS | END_STREAM;
    let rapid_reset = streams().take(most).map(move |stream| {
        let mut pair = frame(kind::HEADERS, whole, stream, &request());
        pair.extend(frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        pair
    });
    let long = head(&[("x-long", &"v".repeat(16_000))]);
    let start = frame(kind::HEADERS, END_STREAM, 1, &request());
    let more = frame(kind::CONTINUATION, 0, 1, &long);
    let continuation = std::iter::once(start).chain(std::iter::repeat_n(more, most / 10));
    // 4 KiB in the table, named 16,000 times: 64 MiB in 16 KiB.
    let mut bomb = request();
    bomb.extend(indexed("x-bomb", &"b".repeat(4_000)));
    bomb.extend(std::iter::repeat_n(0xbe_u8, 11_000));
    let bombs = streams()
        .take(most / 100)
        .map(move |stream| frame(kind::HEADERS, whole, stream, &bomb));
    let open = streams()
        .take(10_000)
        .map(|stream| frame(kind::HEADERS, END_HEADERS, stream, &request()));
    let settings = frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]);
    let ping = frame(kind::PING, 0, 0, &[7; 8]);
    let empty = frame(kind::DATA, 0, 1, &[]);
    let begun = frame(kind::HEADERS, END_HEADERS, 1, &request());
    let empties = std::iter::once(begun).chain(std::iter::repeat_n(empty, most));
    let flood = |name, pieces, grpc_closes| Flood {
        name,
        pieces,
        reads: true,
        closes: true,
        grpc_closes,
    };
    vec![
        flood("rapid reset", gathered(rapid_reset), false),
        flood("CONTINUATION", gathered(continuation), true),
        flood("HPACK bomb", gathered(bombs), false),
        flood("10,000 streams", gathered(open), false),
        flood(
            "SETTINGS",
            gathered(std::iter::repeat_n(settings, most)),
            false,
        ),
        flood(
            "PING",
            gathered(std::iter::repeat_n(ping.clone(), most)),
            false,
        ),
        flood("empty DATA", gathered(empties), false),
        Flood {
            reads: false,
            ..flood(
                "PING, unread",
                gathered(std::iter::repeat_n(ping, most)),
                false,
            )
        },
    ]
}

/// The most memory that a process ever had, in KiB.
fn peak_kib(process: &Program) -> u64 {
    let path = format!("/proc/{}/status", process.id());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse().unwrap()
}

/// Forgets the peak so far.
fn forget_peak(process: &Program) {
    std::fs::write(format!("/proc/{}/clear_refs", process.id()), "5").unwrap();
}

async fn works(client: &Client) {
    let code = json!({"code": "return args.word", "args": {"word": "still here"}});
    let began = Instant::now();
    let result = client.ok("run_js_ephemeral", code).await;
    assert_eq!(result["result"], "still here");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_38_floods_of_frames_alone_end_and_leave_every_port_as_it_was() {
    let deployment = Deployment::start(Kind::Three, &[]).await;
    let client = deployment.client(Era::Modern);
    works(&client).await;
    let inner = deployment.inner.as_ref().unwrap();
    let ports: [(&str, &Program, Option<PathBuf>); 3] = [
        ("gateway", &deployment.front, None),
        (
            "registry",
            &inner.registry,
            Some(deployment.folder().join("registry.sock")),
        ),
        (
            "executor",
            &inner.executor,
            Some(deployment.folder().join("executor.sock")),
        ),
    ];
    for (name, process, socket) in &ports {
        let id = process.id();
        for attack in floods() {
            let what = format!("{} at {name}", attack.name);
            forget_peak(process);
            let before = process.resident_kib();
            let taken = match socket {
                None => {
                    let stream = TcpStream::connect(&deployment.address).await.unwrap();
                    Box::pin(flood(stream, attack.pieces, attack.reads, LIMIT)).await
                }
                Some(socket) => {
                    let stream = UnixStream::connect(socket).await.unwrap();
                    Box::pin(flood(stream, attack.pieces, attack.reads, LIMIT)).await
                }
            };
            let closes = if socket.is_none() {
                attack.closes
            } else {
                attack.grpc_closes
            };
            // A caller of a gRPC port that reads nothing waits for itself.
            let may_wait = socket.is_some() && !attack.reads;
            assert!(may_wait || taken != Taken::Stuck, "{what}");
            assert!(!closes || taken == Taken::Closed, "{what}: {taken:?}");
            let grown = peak_kib(process).saturating_sub(before);
            assert!(grown < MOST_KIB, "{what}: {grown} KiB more");
            assert_eq!(process.id(), id, "{what}");
            works(&client).await;
        }
    }
    for (_, process, _) in &ports {
        assert!(!process.log().join("\n").contains("panicked"));
    }
    assert_eq!(super::metric(&deployment, "mcp_panics_total ").await, 0.0);
    deployment.stop().await;
}

/// Reads until the end, for a while.
async fn closed(stream: &mut TcpStream, within: Duration) -> bool {
    let mut rest = Vec::new();
    matches!(timeout(within, stream.read_to_end(&mut rest)).await, Ok(ended) if ended.is_err() || rest.is_empty())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_37_idle_connections_alone_leave_room_for_others_and_the_cap_refuses() {
    let (total, each) = (600, 500);
    let (total_text, each_text) = (total.to_string(), each.to_string());
    let env = [
        ("MCP_HTTP_MAX_CONNECTIONS", total_text.as_str()),
        ("MCP_HTTP_MAX_CONNECTIONS_PER_ADDRESS", each_text.as_str()),
    ];
    let deployment = Deployment::start(Kind::Direct, &env).await;
    let port: u16 = deployment
        .address
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let mut held = Vec::new();
    for _ in 0..each {
        held.push(TcpStream::connect(&deployment.address).await.unwrap());
    }
    let mut over = TcpStream::connect(&deployment.address).await.unwrap();
    assert!(
        closed(&mut over, Duration::from_secs(1)).await,
        "one too many"
    );
    // Somebody at another address of the loopback network.
    let other = || async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        socket.connect(([127, 0, 0, 1], port).into()).await.unwrap()
    };
    let began = Instant::now();
    let mut stranger = other().await;
    let asked = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stranger, asked)
        .await
        .unwrap();
    let mut answer = String::new();
    stranger.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(1));
    // All of them together.
    let mut others = Vec::new();
    for _ in 0..(total - each) {
        others.push(other().await);
    }
    let mut over = other().await;
    assert!(
        closed(&mut over, Duration::from_secs(1)).await,
        "the whole is full"
    );
    // Whoever says nothing has to go within ten seconds and gives the place back.
    let gone = held.first_mut().unwrap();
    assert!(closed(gone, Duration::from_secs(12)).await);
    drop((held, others));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let end = Instant::now() + Duration::from_secs(12);
    let refused = loop {
        let answer = exchange(&deployment.address, "GET", "/metrics", &[], b"")
            .await
            .text();
        let value = |name: &str| -> f64 {
            let line = answer.lines().find_map(|line| line.strip_prefix(name));
            line.map_or(0.0, |value| value.trim().parse().unwrap())
        };
        if value("mcp_http_connections ") <= 1.0 {
            let refused = |limit| {
                value(&format!(
                    "mcp_http_connections_refused_total{{limit=\"{limit}\"}}"
                ))
            };
            break (refused("address"), refused("total"));
        }
        assert!(Instant::now() < end, "{answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(refused, (1.0, 1.0));
    deployment.stop().await;
}
