//! The way of one call, measured from outside over loopback, beside its peers in the same run.
//!
//! `cargo build --release --workspace --bins && cargo bench -p standalone --bench call_path`
//! (`-- --quick` for a tenth of the requests; `-- --real` for containers, Postgres and tokens, `-- --sessions` for
//! sandbox sessions and dependencies, `-- --admission` for credentials, limits and audit, `-- --overload` for more
//! than can be done; what `.ci/docker` and `.ci/postgres` set up is needed for the first two). Figures are for reading, never a test: machines are
//! noisy, so compare within one run.
#![allow(missing_docs, reason = "a bench has no public items")]
#![allow(
    clippy::expect_used,
    reason = "a bench that cannot go on says why and stops"
)]

mod admission;
mod load;
mod noop;
mod overload;
mod peers;
mod programs;
mod real;
mod sessions;

use std::time::Duration;

use load::{Figures, post};
use programs::{Peer, Service, Three};
use serde_json::{Value, json};

const ISOLATE: (&str, &str) = ("MCP_EXECUTION_ENGINE", "isolate");
/// The audit log is a cost of its own, which the profile would switch on.
const NO_AUDIT: (&str, &str) = ("MCP_AUDIT_ENABLED", "false");
const MODERN: &str = "2026-07-28";

fn main() {
    let arguments: Vec<String> = arguments();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    if let Some(at) = arguments.iter().position(|argument| argument == "--peer") {
        match &arguments[at + 1..] {
            [noop, variant, pem, prefix, digest] if noop == "noop" => {
                runtime.block_on(Box::pin(noop::serve_variant(
                    variant,
                    [pem, prefix, digest],
                )));
            }
            [peer, ..] => runtime.block_on(peers::serve(peer)),
            [] => {}
        }
        return;
    }
    let scale = if arguments.iter().any(|argument| argument == "--quick") {
        10
    } else {
        1
    };
    let asked = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if asked("--real") {
        runtime.block_on(Box::pin(real::measure(scale)));
    } else if asked("--admission") {
        runtime.block_on(Box::pin(admission::measure(scale)));
    } else if asked("--overload") {
        runtime.block_on(Box::pin(overload::measure(scale)));
    } else if asked("--sessions") {
        runtime.block_on(Box::pin(sessions::measure(scale)));
    } else {
        runtime.block_on(Box::pin(measure(scale)));
    }
}

#[allow(clippy::disallowed_methods, reason = "a bench has no bootstrap")]
fn arguments() -> Vec<String> {
    std::env::args().collect()
}

#[allow(clippy::print_stdout, reason = "the figures are what a bench is for")]
fn say(line: &str) {
    println!("{line}");
}

fn row(what: &str, figures: &Figures) {
    say(&format!(
        "{what:<58} p50 {:>7.3} ms  p99 {:>7.3} ms  {:>8.0}/s",
        figures.quantile(0.5),
        figures.quantile(0.99),
        figures.rate()
    ));
}

fn call(tool: &str, arguments: &Value) -> Vec<u8> {
    request(
        "tools/call",
        Some(tool),
        json!({"name": tool, "arguments": arguments}),
    )
}

fn request(method: &str, name: Option<&str>, mut params: Value) -> Vec<u8> {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let mut headers = vec![("MCP-Protocol-Version", MODERN), ("Mcp-Method", method)];
    headers.extend(name.map(|name| ("Mcp-Name", name)));
    post("/mcp", &headers, &body)
}

fn is_result(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    text.contains("\"result\"") && !text.contains("\"isError\":true")
}

fn anything(body: &[u8]) -> bool {
    !body.is_empty()
}

async fn measure(scale: usize) {
    say("call path over HTTP on loopback; every server is a process of its own");
    built_in(scale).await;
    let standalone = Service::standalone(&[ISOLATE]).await;
    dynamic("standalone", &standalone.address, scale).await;
    lists(&standalone, scale).await;
    drop(standalone);
    let three = Three::start().await;
    dynamic("three services over gRPC", &three.address, scale).await;
    drop(three);
    start_up().await;
    ten_thousand().await;
}

async fn built_in(scale: usize) {
    let clock = call("time.now", &json!({}));
    let echo = Peer::start("echo").await;
    let rmcp = Peer::start("rmcp").await;
    let ours = Service::standalone(&[ISOLATE, ("MCP_PROFILE", "enterprise"), NO_AUDIT]).await;
    say(&format!(
        "idle standalone: {:.1} MiB resident",
        ours.resident_mib()
    ));
    let mut medians = Vec::new();
    // Twice around, so that a slow spell of the machine does not fall on one of them alone.
    for round in 1..=2 {
        for (name, address, check) in [
            (
                "bare axum JSON echo",
                &echo.address,
                anything as fn(&[u8]) -> bool,
            ),
            ("bare rmcp, same handler", &rmcp.address, is_result),
            ("time.now through dynamic-mcp", &ours.address, is_result),
        ] {
            let one = load::run(address, &clock, 1, 10_000 / scale, check).await;
            row(&format!("{name}, 1 connection, round {round}"), &one);
            let many = load::run(address, &clock, 16, 40_000 / scale, check).await;
            row(&format!("{name}, 16 connections, round {round}"), &many);
            medians.push((name, one.quantile(0.5), many.rate()));
        }
    }
    let best = |name: &str| {
        let mine = medians.iter().filter(|(which, ..)| *which == name);
        mine.fold((f64::MAX, 0.0_f64), |(p50, rate), (_, a, b)| {
            (p50.min(*a), rate.max(*b))
        })
    };
    let (echo, rmcp) = (best("bare axum JSON echo"), best("bare rmcp, same handler"));
    let ours = best("time.now through dynamic-mcp");
    say(&format!(
        "built-in: p50 {:+.3} ms against the echo; {:.0} % of bare rmcp's rate, {:.0} % of the echo's",
        ours.0 - echo.0,
        ours.1 / rmcp.1 * 100.0,
        ours.1 / echo.1 * 100.0
    ));
}

/// A stored tool in the isolate engine, and code that is not stored.
async fn dynamic(name: &str, address: &str, scale: usize) {
    let mut connection = load::Connection::open(address).await;
    let tool =
        json!({"name": "bench.add", "description": "adds", "code": "return args.a + args.b"});
    connection
        .exchange(&call("dynamic.tool.create", &json!({"tool": tool})))
        .await;
    let add = call("bench.add", &json!({"args": {"a": 1, "b": 2}}));
    row(
        &format!("{name}: isolate call, 1 connection"),
        &load::run(address, &add, 1, 1_000 / scale, is_result).await,
    );
    row(
        &format!("{name}: isolate call, 4 connections"),
        &load::run(address, &add, 4, 2_000 / scale, is_result).await,
    );
}

/// `tools/list` of 200 stored tools.
async fn lists(service: &Service, scale: usize) {
    service.fill(200).await;
    let list = request("tools/list", None, json!({}));
    row(
        "tools/list of 200 tools, 1 connection",
        &load::run(&service.address, &list, 1, 5_000 / scale, is_result).await,
    );
}

/// From the start of the program to the first answer, with a store that exists already.
async fn start_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut times = Vec::new();
    for _ in 0..6 {
        let begun = tokio::time::Instant::now();
        let service = Service::standalone_in(folder.path(), &[ISOLATE]).await;
        service.wait_ready().await;
        times.push(begun.elapsed());
        drop(service);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // The first run made the store.
    times.remove(0);
    times.sort_unstable();
    say(&format!(
        "ready with an existing store: median {:.0} ms, worst of {} {:.0} ms",
        times[times.len() / 2].as_secs_f64() * 1e3,
        times.len(),
        times[times.len() - 1].as_secs_f64() * 1e3
    ));
}

/// Memory with 10,000 tools of 2 KiB code and 1 KiB schema.
async fn ten_thousand() {
    let service = Service::standalone(&[ISOLATE, ("MCP_DYNAMIC_MAX_TOOLS", "100000")]).await;
    let begun = tokio::time::Instant::now();
    service.fill(10_000).await;
    say(&format!(
        "10,000 tools (2 KiB code, 1 KiB schema): created in {:.1} s, {:.1} MiB resident",
        begun.elapsed().as_secs_f64(),
        service.resident_mib()
    ));
    let list = request("tools/list", None, json!({}));
    row(
        "tools/list, first page (1,000) of 10,000 tools",
        &load::run(&service.address, &list, 1, 200, is_result).await,
    );
}
