//! The ids on JSON lines, a level that changes while the process runs, and a log in a file.

use std::path::Path;

use serde_json::Value;
use telemetry::{
    BuildInfo, Exports, Metrics, TraceHeaders, TraceProtocol, TraceSampler, TraceSettings, mcp_span,
};

use crate::{logs, runtime};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn read(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn speak(evil: &str) {
    let request = tracing::info_span!(target: "gateway::http", "request", request_id = evil);
    request.in_scope(|| {
        tracing::warn!("in the request");
        let incoming = TraceHeaders::new(PARENT, None);
        mcp_span("tools/call", incoming.as_ref()).in_scope(|| {
            tracing::warn!(code = "timeout", "in the call");
            tracing::warn!(request_id = "own", "with an id of its own");
        });
    });
    tracing::warn!("outside");
}

#[test]
fn each_line_has_the_ids_of_its_request_and_trace_at_every_level() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.log");
    let telemetry = telemetry::init(&logs("warn", Some(&path)), Exports::default()).unwrap();
    speak("r-\"}\\1");
    telemetry.flush();
    let lines = read(&path);
    let id = |line: usize, name: &str| lines[line].get(name).and_then(Value::as_str);
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(id(0, "request_id"), Some("r-\"}\\1"));
    assert_eq!(id(0, "trace_id"), None);
    assert_eq!(id(1, "request_id"), Some("r-\"}\\1"), "from further out");
    assert_eq!(id(1, "trace_id"), Some("0af7651916cd43dd8448eb211c80319c"));
    assert_eq!(id(1, "code"), Some("timeout"));
    assert_eq!(id(2, "request_id"), Some("own"));
    assert_eq!((id(3, "request_id"), id(3, "trace_id")), (None, None));
}

#[test]
fn with_traces_a_line_names_its_span() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.log");
    let runtime = runtime();
    let telemetry = {
        let _inside = runtime.enter();
        let traces = TraceSettings {
            // Nobody listens there.
            endpoint: "http://127.0.0.1:9".to_owned(),
            protocol: TraceProtocol::HttpProtobuf,
            headers: None,
            sampler: TraceSampler::AlwaysOn,
            service: "gateway",
            version: "1.2.3",
        };
        let exports = Exports {
            traces: Some(traces),
            reports: None,
        };
        telemetry::init(&logs("info", Some(&path)), exports).unwrap()
    };
    speak("r-1");
    let metrics = Metrics::new(BuildInfo {
        service: "gateway",
        version: "1.2.3",
        commit: "abc",
    });
    let metrics = metrics.unwrap();
    telemetry.count_in(&metrics);
    telemetry.flush();
    let text = metrics.encode().unwrap();
    assert!(text.contains("\nmcp_trace_spans_lost_total 2\n"), "{text}");
    let lines = read(&path);
    let away = lines
        .iter()
        .filter(|line| line.to_string().contains("traces cannot be sent"));
    assert_eq!(away.count(), 1, "once: {lines:?}");
    let call = lines
        .iter()
        .find(|line| line["message"] == "in the call")
        .unwrap();
    assert_eq!(call["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(call["request_id"], "r-1");
    assert_eq!(call["span_id"].as_str().unwrap().len(), 16);
    let outside = lines
        .iter()
        .find(|line| line["message"] == "outside")
        .unwrap();
    assert_eq!(outside.get("trace_id"), None);
}

#[test]
fn the_level_changes_while_the_process_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.log");
    let telemetry = telemetry::init(&logs("error", Some(&path)), Exports::default()).unwrap();
    let control = telemetry.control();
    for level in ["error", "debug", "off", "info,export=trace", "warn"] {
        control.set_filter(level).unwrap();
        tracing::trace!("trace");
        tracing::debug!("debug");
        tracing::warn!("warn");
        tracing::error!("error");
    }
    assert!(control.set_filter("warn,export=loud").is_err());
    tracing::info!(level = "after a bad one", "info");
    telemetry.flush();
    let lines = read(&path);
    let text = std::fs::read_to_string(&path).unwrap();
    let messages: Vec<&str> = lines
        .iter()
        .map(|it| it["message"].as_str().unwrap())
        .collect();
    assert_eq!(
        messages,
        [
            "error", // error
            "debug", "warn", "error", // debug
            "trace", "debug", "warn", "error", // by module
            "warn", "error" // warn
        ],
        "{text}"
    );
}
