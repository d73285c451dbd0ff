//! `--admission`: what it costs to know who calls, to keep to the limits and to record it; and what
//! becomes of the rest when there is twice too much (`--overload`).
//!
//! Every server is this program again, one thread and a runner that does nothing, so that what is
//! left is the gateway itself. They differ in one thing at a time and take turns.

use serde_json::json;
use tokio::time::Instant;

use crate::load::{Connection, Figures, run};
use crate::noop::{Noop, TOOL};
use crate::{call, is_result, row, say};

/// Best medians, in milliseconds, and rate, of several rounds.
#[derive(Clone, Copy)]
struct Best {
    median: f64,
    rate: f64,
}

impl Best {
    const NONE: Self = Self {
        median: f64::MAX,
        rate: 0.0,
    };

    fn of(self, one: &Figures, many: Option<&Figures>) -> Self {
        Self {
            median: self.median.min(one.quantile(0.5)),
            rate: self.rate.max(many.map_or(0.0, Figures::rate)),
        }
    }
}

/// The request with a header more.
pub(crate) fn with_header(request: &[u8], header: &str) -> Vec<u8> {
    let end = request.windows(2).position(|two| two == b"\r\n");
    let (line, rest) = request.split_at(end.expect("a request line") + 2);
    [line, header.as_bytes(), b"\r\n", rest].concat()
}

pub(crate) async fn measure(scale: usize) {
    say("who calls, limits and audit, over HTTP on loopback; the runner does nothing");
    let noop = call(TOOL, &json!({"args": {}}));
    let open = Noop::start("open").await;
    let limits = Noop::start("limits").await;
    let tokens = Noop::start("tokens").await;
    let keys = Noop::start("keys").await;
    let full = Noop::start("full").await;
    let seen = |of: &Noop| with_header(&noop, &of.header);
    let mut best = [Best::NONE; 6];
    for round in 1..=3 {
        let plain = [
            (
                "neither credential nor limits nor audit",
                &open,
                noop.clone(),
            ),
            ("limits and audit", &limits, noop.clone()),
            ("a token seen before", &tokens, seen(&tokens)),
            ("an API key", &keys, seen(&keys)),
            ("token, limits and audit", &full, seen(&full)),
        ];
        for (at, (name, server, request)) in plain.into_iter().enumerate() {
            let one = run(&server.address, &request, 1, 10_000 / scale, is_result).await;
            row(&format!("{name}, 1 connection, round {round}"), &one);
            let many = run(&server.address, &request, 16, 40_000 / scale, is_result).await;
            row(&format!("{name}, 16 connections, round {round}"), &many);
            best[at] = best[at].of(&one, Some(&many));
        }
        let new = every_token_new(&tokens, &noop, 2_000 / scale, round).await;
        row(
            &format!("a new ES256 token each, 1 connection, round {round}"),
            &new,
        );
        best[5] = best[5].of(&new, None);
    }
    let [open, limits, tokens, keys, full, new] = best;
    for (what, of, goal) in [
        ("a token seen before", tokens, Some(50.0)),
        ("a new ES256 token", new, Some(300.0)),
        ("an API key", keys, None),
        ("limits and audit", limits, Some(50.0)),
    ] {
        let adds = (of.median - open.median) * 1e3;
        let goal = goal.map_or_else(String::new, |goal| format!(" (goal: at most {goal:.0})"));
        say(&format!("{what} adds {adds:+.1} us to p50{goal}"));
    }
    say(&format!(
        "calls/s with token, limits and audit: {:.0} % of those without (goal: at least 60)",
        full.rate / open.rate * 100.0
    ));
}

/// One request after the other, no two with the same token.
async fn every_token_new(server: &Noop, request: &[u8], count: usize, round: usize) -> Figures {
    let requests: Vec<Vec<u8>> = (0..count)
        .map(|n| {
            let id = format!("{round}-{n}");
            let token = server.issuer.token("bench", "mcp:invoke", &id);
            with_header(request, &format!("authorization: Bearer {token}"))
        })
        .collect();
    let mut connection = Connection::open(&server.address).await;
    let mut latencies = Vec::with_capacity(count);
    let begun = Instant::now();
    for request in &requests {
        let sent = Instant::now();
        let body = connection.exchange(request).await;
        assert!(is_result(body), "{}", String::from_utf8_lossy(body));
        latencies.push(sent.elapsed());
    }
    let took = begun.elapsed();
    latencies.sort_unstable();
    Figures::new(latencies, took)
}
