//! Error reports: faults and nothing else, without a word of a user, never too many, and never in
//! the way of anything.

use http::StatusCode;
use serde_json::Value;
use telemetry::{BuildInfo, Dsn, Exports, Metrics, ReportSettings};
use testkit::receiver::{Received, Receiver};

use crate::{logs, runtime};

fn settings(endpoint: &str) -> ReportSettings {
    let dsn = endpoint.replace("http://", "http://thekey@") + "/prefix/42";
    ReportSettings {
        dsn: Dsn::parse(&dsn).unwrap(),
        service: "executor",
        version: "1.2.3",
        commit: "abc",
    }
}

fn event(request: &Received) -> Value {
    let text = std::str::from_utf8(&request.body).unwrap();
    serde_json::from_str(text.lines().nth(2).unwrap()).unwrap()
}

fn fault(number: u32) {
    let span = tracing::info_span!(target: "rpc", "grpc", request_id = "canary-id",
        trace_id = "0af7651916cd43dd8448eb211c80319c");
    span.in_scope(|| {
        tracing::error!(
            fault = "internal",
            at = "crates/x.rs:7",
            cause = "canary cause",
            number,
            "internal error"
        );
    });
}

fn metrics() -> Metrics {
    Metrics::new(BuildInfo {
        service: "executor",
        version: "1.2.3",
        commit: "abc",
    })
    .unwrap()
}

#[test]
fn a_fault_is_reported_without_the_words_of_a_user() {
    let runtime = runtime();
    let receiver = runtime.block_on(Receiver::start());
    let exports = Exports {
        traces: None,
        reports: Some(settings(&receiver.endpoint)),
    };
    let telemetry = telemetry::init(&logs("off", None), exports).unwrap();
    fault(1);
    tracing::error!("no fault of ours: canary");
    tracing::warn!(fault = "internal", "no error: canary");
    let metrics = metrics();
    telemetry.count_in(&metrics);
    telemetry.flush();
    let requests = receiver.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].path, "/prefix/api/42/envelope/");
    let auth = requests[0].headers["x-sentry-auth"].to_str().unwrap();
    assert!(
        auth.contains("sentry_version=7") && auth.ends_with("sentry_key=thekey"),
        "{auth}"
    );
    assert!(!String::from_utf8_lossy(&requests[0].body).contains("canary"));
    let event = event(&requests[0]);
    assert_eq!(event["exception"]["values"][0]["type"], "internal");
    assert_eq!(event["exception"]["values"][0]["value"], "internal error");
    assert_eq!(event["tags"]["at"], "crates/x.rs:7");
    assert_eq!(event["release"], "executor@1.2.3+abc");
    assert_eq!(
        event["contexts"]["trace"]["trace_id"],
        "0af7651916cd43dd8448eb211c80319c"
    );
    assert_eq!(event["extra"]["spans"], serde_json::json!(["grpc"]));
    let text = metrics.encode().unwrap();
    assert!(
        text.contains(r#"mcp_error_reports_total{outcome="sent"} 1"#),
        "{text}"
    );
}

#[test]
fn a_flood_is_cut_and_counted() {
    let runtime = runtime();
    let receiver = runtime.block_on(Receiver::start());
    let exports = Exports {
        traces: None,
        reports: Some(settings(&receiver.endpoint)),
    };
    let telemetry = telemetry::init(&logs("off", None), exports).unwrap();
    for number in 0..1_000 {
        fault(number);
    }
    let metrics = metrics();
    telemetry.count_in(&metrics);
    std::thread::sleep(std::time::Duration::from_millis(500));
    telemetry.flush();
    let sent = receiver.requests().len();
    assert!((1..=30).contains(&sent), "{sent}");
    let text = metrics.encode().unwrap();
    let left = format!(
        r#"mcp_error_reports_total{{outcome="dropped"}} {}"#,
        1_000 - sent
    );
    assert!(text.contains(&left), "{left} in {text}");
}

#[test]
fn a_receiver_that_wants_no_more_gets_no_more() {
    let runtime = runtime();
    let receiver = runtime.block_on(Receiver::start());
    receiver.answer_with(StatusCode::TOO_MANY_REQUESTS);
    let exports = Exports {
        traces: None,
        reports: Some(settings(&receiver.endpoint)),
    };
    let telemetry = telemetry::init(&logs("off", None), exports).unwrap();
    for number in 0..5 {
        fault(number);
    }
    let metrics = metrics();
    telemetry.count_in(&metrics);
    telemetry.flush();
    assert_eq!(receiver.requests().len(), 1);
    let text = metrics.encode().unwrap();
    assert!(
        text.contains(r#"mcp_error_reports_total{outcome="failed"} 1"#),
        "{text}"
    );
    assert!(
        text.contains(r#"mcp_error_reports_total{outcome="dropped"} 4"#),
        "{text}"
    );
}
