//! Traces leave over either protocol with the headers that were asked for, the last of them at the
//! flush; events never do, whatever they hold, and nothing does that is not sampled.

use std::time::Duration;

use telemetry::{
    Exports, TraceHeaders, TraceProtocol, TraceSampler, TraceSettings, Trail, client_span, mcp_span,
};
use testkit::otlp::{self, Span};
use testkit::receiver::{Received, Receiver};
use tokio::time::Instant;

use crate::{logs, runtime};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// Starts traces, makes some and flushes.
fn export(protocol: TraceProtocol, sampler: TraceSampler) -> (Vec<Received>, Vec<Span>) {
    let runtime = runtime();
    let receiver = runtime.block_on(Receiver::start());
    let telemetry = {
        let _inside = runtime.enter();
        let traces = TraceSettings {
            endpoint: receiver.endpoint.clone(),
            protocol,
            headers: Some("authorization=Basic%20eA==,x-team=a".to_owned()),
            sampler,
            service: "gateway",
            version: "1.2.3",
        };
        // The level of lines says nothing about traces.
        let exports = Exports {
            traces: Some(traces),
            reports: None,
        };
        telemetry::init(&logs("error", None), exports).unwrap()
    };
    for parent in [PARENT, UNSAMPLED] {
        let incoming = TraceHeaders::new(parent, None);
        let mcp = mcp_span("tools/call", incoming.as_ref());
        mcp.in_scope(|| {
            tracing::error!(secret = "canary", "an event with the canary");
            let begun = Instant::now();
            std::thread::sleep(Duration::from_millis(5));
            client_span("Executor", "Run").in_scope(|| {
                Trail::here().add(
                    "sandbox.run",
                    &[("engine", "isolate")],
                    begun,
                    Instant::now(),
                );
            });
            // Not ours, as a library's.
            tracing::info_span!(target: "hyper::client", "foreign").in_scope(|| {});
            tracing::debug_span!("detail").in_scope(|| {});
        });
    }
    telemetry.flush();
    let requests = receiver.requests();
    let spans = otlp::spans(&requests);
    (requests, spans)
}

fn check(requests: &[Received], spans: &[Span]) {
    for request in requests {
        assert_eq!(request.headers["authorization"], "Basic eA==");
        assert_eq!(request.headers["x-team"], "a");
        assert!(!String::from_utf8_lossy(&request.body).contains("canary"));
    }
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    let one = |name: &str| {
        let mut found = spans.iter().filter(|span| span.name == name);
        let first = found
            .next()
            .unwrap_or_else(|| panic!("no {name} in {names:?}"));
        assert!(found.next().is_none(), "{names:?}");
        first
    };
    assert_eq!(spans.len(), 3, "{names:?}");
    let (mcp, grpc, run) = (one("tools/call"), one("Executor/Run"), one("sandbox.run"));
    for span in spans {
        assert_eq!(span.trace_id, "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(span.service, "gateway");
        assert!(span.times.0 <= span.times.1 && span.events.is_empty());
    }
    assert_eq!(mcp.parent, "b7ad6b7169203331");
    assert_eq!(grpc.parent, mcp.span_id);
    assert_eq!(run.parent, grpc.span_id);
    assert_eq!(run.attributes["engine"], "isolate");
    assert!(
        run.times.1 - run.times.0 >= 5_000_000,
        "it began before it was known"
    );
    assert!(run.times.0 >= mcp.times.0 - 1_000_000 && run.times.1 <= mcp.times.1 + 1_000_000);
}

#[test]
fn spans_reach_a_receiver_of_grpc() {
    let (requests, spans) = export(TraceProtocol::Grpc, TraceSampler::ParentAlwaysOn);
    assert!(requests.iter().all(|it| it.path == otlp::GRPC_PATH));
    check(&requests, &spans);
}

#[test]
fn spans_reach_a_receiver_of_http() {
    let (requests, spans) = export(TraceProtocol::HttpProtobuf, TraceSampler::ParentAlwaysOn);
    assert!(requests.iter().all(|it| it.path == otlp::HTTP_PATH));
    for request in &requests {
        assert_eq!(request.headers["content-type"], "application/x-protobuf");
    }
    check(&requests, &spans);
}

#[test]
fn what_is_not_sampled_is_not_sent() {
    let (_, spans) = export(TraceProtocol::HttpProtobuf, TraceSampler::AlwaysOff);
    assert!(spans.is_empty(), "{spans:?}");
}
