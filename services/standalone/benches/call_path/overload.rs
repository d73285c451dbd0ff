//! `--overload`: twice and ten times as much as can be done. What is let in has to take no more than
//! twice as long as without load, what is not has to be told so within 50 ms, and `/livez` has to
//! answer within 100 ms throughout.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, interval, sleep_until, timeout};

use crate::load::{Connection, Figures};
use crate::noop::{BUSY, Noop, TOOL};
use crate::{call, is_result, row, say};

/// Connections of a crowd.
const CROWD: usize = 200;
/// How long each stretch of load lasts.
const STRETCH: Duration = Duration::from_secs(20);
/// How soon it has to be as before.
const NORMAL_WITHIN: Duration = Duration::from_secs(5);

/// What became of the requests of a stretch.
#[derive(Default)]
struct Seen {
    admitted: RefCell<Vec<Duration>>,
    refused: RefCell<Vec<Duration>>,
    probes: RefCell<Vec<Duration>>,
}

pub(crate) async fn measure(scale: usize) {
    let stretch = STRETCH / u32::try_from(scale).unwrap_or(1);
    say("overload, over HTTP on loopback; one thread serves, another asks");
    let noop = call(TOOL, &json!({"args": {}}));
    for (variant, what) in [
        (
            "busy",
            "calls of 5 ms, 8 at once (the guard refuses the rest)",
        ),
        ("shed", "calls that do nothing (the process itself is busy)"),
    ] {
        say(what);
        let server = Noop::start(variant).await;
        let capacity = match variant {
            "busy" => f64::from(BUSY.1) / BUSY.0.as_secs_f64(),
            _ => crate::load::run(&server.address, &noop, 16, 20_000 / scale, is_result)
                .await
                .rate(),
        };
        let unloaded = offer(&server, &noop, capacity / 10.0, stretch).await;
        let unloaded = show("unloaded: a tenth of capacity", unloaded);
        for times in [2.0, 10.0] {
            let seen = offer(&server, &noop, capacity * times, stretch).await;
            let p99 = show(&format!("{times} times capacity"), seen);
            say(&format!(
                "admitted p99 is {:.2} times the unloaded one (goal: at most 2)",
                p99 / unloaded
            ));
            let normal = until_normal(&server, &noop).await;
            say(&format!(
                "all are let in again after {:.1} s (goal: at most 5)",
                normal.as_secs_f64()
            ));
        }
    }
}

/// Offers so many requests a second, whether they are answered or not.
async fn offer(server: &Noop, request: &[u8], rate: f64, stretch: Duration) -> Seen {
    let seen = Seen::default();
    let begun = Instant::now();
    let sent = Cell::new(0_u32);
    let clients = (0..CROWD).map(|_| async {
        let mut connection = Connection::open(&server.address).await;
        loop {
            let turn = sent.replace(sent.get() + 1);
            let due = Duration::from_secs_f64(f64::from(turn) / rate);
            if due >= stretch || begun.elapsed() >= stretch {
                return;
            }
            sleep_until(begun + due).await;
            let at = Instant::now();
            let (status, body) = connection.attempt(request).await;
            let took = at.elapsed();
            let into = match (status, is_result(body)) {
                (200, true) => &seen.admitted,
                (200 | 429 | 503, false) if is_refusal(body) => &seen.refused,
                _ => panic!("{status}: {}", String::from_utf8_lossy(body)),
            };
            into.borrow_mut().push(took);
        }
    });
    let probes = async {
        let mut connection = Connection::open(&server.address).await;
        let livez = b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
        let mut every = interval(Duration::from_millis(50));
        while begun.elapsed() < stretch {
            every.tick().await;
            let at = Instant::now();
            connection.exchange(livez).await;
            seen.probes.borrow_mut().push(at.elapsed());
        }
    };
    tokio::join!(futures::future::join_all(clients), probes);
    seen
}

fn is_refusal(body: &[u8]) -> bool {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let code = answer
        .pointer("/error/data/code")
        .or_else(|| answer.pointer("/result/structuredContent/code"));
    code.is_some_and(|code| code == "overloaded" || code == "rate_limited")
}

/// Says what a stretch showed; the p99 of what was let in.
fn show(what: &str, seen: Seen) -> f64 {
    let figures = |latencies: RefCell<Vec<Duration>>| {
        let mut latencies = latencies.into_inner();
        latencies.sort_unstable();
        (!latencies.is_empty()).then(|| Figures::new(latencies, STRETCH))
    };
    let admitted = figures(seen.admitted).expect("some are let in");
    row(&format!("{what}: admitted"), &admitted);
    if let Some(refused) = figures(seen.refused) {
        row(
            &format!("{what}: refused (goal: p99 at most 50 ms)"),
            &refused,
        );
    }
    if let Some(probes) = figures(seen.probes) {
        row(
            &format!("{what}: /livez (goal: p99 at most 100 ms)"),
            &probes,
        );
    }
    admitted.quantile(0.99)
}

/// How long it takes until twenty requests in a row are let in.
async fn until_normal(server: &Noop, request: &[u8]) -> Duration {
    let begun = Instant::now();
    let mut connection = Connection::open(&server.address).await;
    let twenty = async {
        let mut in_a_row = 0;
        while in_a_row < 20 {
            let (_, body) = connection.attempt(request).await;
            in_a_row = if is_result(body) { in_a_row + 1 } else { 0 };
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = timeout(NORMAL_WITHIN * 4, twenty).await;
    assert!(in_time.is_ok(), "never normal again");
    begun.elapsed()
}
