//! What the spans of a call cost where no traces are exported: what only traces need, and the span
//! that gives lines of the log their request. Run with `cargo bench -p telemetry --bench spans`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot go on fails"
)]

use std::hint::black_box;
use std::io::Write as _;

use telemetry::{
    Exports, LogFormat, LogSettings, TraceHeaders, Trail, client_span, grpc_span, http_span,
    mcp_span, span_ended, traces_are_on,
};
use tokio::time::Instant;

const ROUNDS: usize = 9;
const CALLS: u32 = 200_000;
/// Stages of a call in its sandbox.
const STAGES: [&str; 7] = [
    "sandbox.queue",
    "sandbox.take",
    "sandbox.write",
    "sandbox.load",
    "sandbox.run",
    "sandbox.read",
    "sandbox.teardown",
];

/// Nanoseconds of one, the middle of all rounds.
fn measure(what: &str, mut one: impl FnMut()) {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..CALLS {
                one();
            }
            began.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    let line = format!("{what:<58} {:>7.0} ns\n", rounds[ROUNDS / 2]);
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

/// What only traces need, of a call in one process.
fn for_traces() {
    let call = mcp_span("tools/call", None);
    call.in_scope(|| {
        let trail = Trail::here();
        let now = Instant::now();
        for stage in STAGES {
            trail.add(stage, &[("engine", "isolate")], now, now);
        }
    });
    span_ended(&call, "ok");
    black_box(traces_are_on());
}

fn request() -> tracing::Span {
    http_span(&http::Method::POST, "/mcp", "0af76519-16cd-43dd", None)
}

fn main() {
    let logs = LogSettings {
        filter: "info".to_owned(),
        format: LogFormat::Json,
        colours: false,
        file: None,
    };
    let _telemetry = telemetry::init(&logs, Exports::default()).expect("the log starts");
    // The clock is not a span's.
    measure("the time, twice", || {
        black_box((Instant::now(), Instant::now()));
    });
    measure("spans that only traces need, one process", for_traces);
    measure("the same between services: asks and is asked, once", || {
        span_ended(&client_span("dynamic_mcp.v1.Runner", "Run"), "ok");
    });
    measure("the span of a request, for the log", || {
        let span = request();
        span.in_scope(|| black_box(()));
    });
    measure(
        "the span of a request between services, for the log",
        || {
            let span = grpc_span("dynamic_mcp.v1.Runner", "Run", "0af76519-16cd-43dd", &7);
            span.in_scope(|| black_box(()));
        },
    );
    measure("all spans of a call in one process", || {
        request().in_scope(for_traces);
    });
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let incoming = TraceHeaders::new(traceparent, None).expect("a trace");
    measure("the same for a caller with a trace of his own", || {
        let method = http::Method::POST;
        let request = http_span(&method, "/mcp", "0af76519-16cd-43dd", Some(&incoming));
        request.in_scope(|| {
            let call = mcp_span("tools/call", Some(&incoming));
            call.in_scope(|| black_box(Trail::here()));
            span_ended(&call, "ok");
        });
    });
}
