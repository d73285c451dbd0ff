use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};

use super::*;

fn metrics() -> Metrics {
    Metrics::new(BuildInfo {
        service: "gateway",
        version: "1.2.3",
        commit: "abc",
    })
    .unwrap()
}

#[test]
fn the_names_of_the_node_server_are_kept() {
    let text = metrics().encode().unwrap();
    for name in [
        "dynamic_mcp_process_uptime_seconds",
        "dynamic_mcp_http_sessions_active",
        "dynamic_mcp_http_sessions_created_total",
        "dynamic_mcp_http_sessions_expired_total",
        "dynamic_mcp_http_auth_success_total",
        "dynamic_mcp_http_auth_denied_total",
    ] {
        assert!(
            text.contains(&format!("\n{name} ")),
            "{name} is missing from:\n{text}"
        );
    }
    assert!(
        text.contains(r#"mcp_build_info{commit="abc",service="gateway",version="1.2.3"} 1"#),
        "{text}"
    );
}

#[test]
fn cpu_memory_and_file_descriptors_of_the_process_are_there() {
    let text = metrics().encode().unwrap();
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
    ] {
        assert!(
            text.contains(&format!("\n{name} ")),
            "{name} is missing from:\n{text}"
        );
    }
}

#[test]
fn every_metric_has_a_distinct_name_with_a_unit_and_a_help_text() {
    let mut names = HashSet::new();
    for description in Instruments::DESCRIPTIONS {
        assert!(names.insert(description.name), "{} twice", description.name);
        assert!(description.help.ends_with('.'), "{:?}", description);
        assert!(!description.help.starts_with(' '), "{:?}", description);
        assert_eq!(
            description.kind == "counter",
            description.name.ends_with("_total"),
            "{description:?}"
        );
        if description.kind == "histogram" {
            assert!(description.name.ends_with("_seconds"), "{description:?}");
        }
    }
}

#[test]
fn a_hundred_thousand_tool_names_stay_within_the_cap() {
    let metrics = metrics();
    for number in 0..100_000 {
        let label = metrics.tool_label(&format!("tool.{number}"));
        metrics.record_tool(&label, "ok");
    }
    let text = metrics.encode().unwrap();
    let series = text
        .lines()
        .filter(|line| line.starts_with("mcp_tool_executions_total{"))
        .count();
    assert_eq!(series, MAX_TOOL_LABELS + 1);
    assert!(text.contains(&format!(
        r#"mcp_tool_executions_total{{status="ok",tool="other"}} {}"#,
        100_000 - MAX_TOOL_LABELS
    )));
}

#[test]
fn a_known_tool_keeps_its_label_after_the_cap() {
    let metrics = metrics();
    let first = metrics.tool_label("first");
    for number in 0..2 * MAX_TOOL_LABELS {
        assert!(
            !metrics
                .tool_label(&format!("tool.{number}"))
                .as_str()
                .is_empty()
        );
    }
    assert_eq!(metrics.tool_label("first"), first);
    assert_eq!(first.as_str(), "first");
    assert_eq!(metrics.tool_label("late").as_str(), OTHER_TOOL);
}

#[test]
fn the_cap_holds_when_many_threads_add_names() {
    let metrics = Arc::new(metrics());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let metrics = Arc::clone(&metrics);
            scope.spawn(move || {
                for number in 0..1_000 {
                    let label = metrics.tool_label(&format!("t{thread}.{number}"));
                    metrics.record_tool(&label, "ok");
                }
            });
        }
    });
    let text = metrics.encode().unwrap();
    let series = text
        .lines()
        .filter(|line| line.starts_with("mcp_tool_executions_total{"))
        .count();
    assert_eq!(series, MAX_TOOL_LABELS + 1);
}

#[test]
fn requests_are_labelled_by_method_route_and_status() {
    let metrics = metrics();
    let took = Duration::from_millis(3);
    metrics.record_request(&Method::POST, "/mcp", StatusCode::OK, took);
    let odd = Method::from_bytes(b"BREW").unwrap();
    metrics.record_request(&odd, "/mcp", StatusCode::METHOD_NOT_ALLOWED, took);
    let text = metrics.encode().unwrap();
    assert!(text.contains(
        r#"mcp_request_duration_seconds_count{method="POST",route="/mcp",status_code="200"} 1"#
    ));
    assert!(text.contains(r#"method="OTHER",route="/mcp",status_code="405""#));
    assert!(!text.contains("BREW"));
}

#[test]
fn hooks_run_at_every_scrape() {
    let metrics = metrics();
    metrics.on_scrape(|instruments| instruments.catalogue_age.inc());
    metrics.encode().unwrap();
    assert!(
        metrics
            .encode()
            .unwrap()
            .contains("\nmcp_catalogue_age_seconds 2\n")
    );
}

/// A metric that is kept: its name, its kind and its labels.
type Kept = (&'static str, &'static str, &'static [&'static str]);

/// Section 6 of the contract, phrase by phrase: the metrics that carry it, with kind and labels.
const CONTRACT: &[(&str, &[Kept])] = &[
    (
        "kept",
        &[
            ("dynamic_mcp_process_uptime_seconds", "gauge", &[]),
            ("dynamic_mcp_http_sessions_active", "gauge", &[]),
            ("dynamic_mcp_http_sessions_created_total", "counter", &[]),
            ("dynamic_mcp_http_sessions_expired_total", "counter", &[]),
            ("dynamic_mcp_http_auth_success_total", "counter", &[]),
            ("dynamic_mcp_http_auth_denied_total", "counter", &[]),
        ],
    ),
    (
        "requests",
        &[(
            "mcp_request_duration_seconds",
            "histogram",
            &["method", "route", "status_code"],
        )],
    ),
    (
        "tool executions",
        &[("mcp_tool_executions_total", "counter", &["tool", "status"])],
    ),
    (
        "execution duration",
        &[(
            "mcp_tool_execution_duration_seconds",
            "histogram",
            &["engine", "status"],
        )],
    ),
    (
        "queue wait",
        &[("mcp_tool_queue_wait_seconds", "histogram", &[])],
    ),
    (
        "pool size, hits, misses",
        &[
            ("mcp_sandbox_pool_size", "gauge", &["engine"]),
            ("mcp_sandbox_pool_hits_total", "counter", &["engine"]),
            (
                "mcp_sandbox_pool_misses_total",
                "counter",
                &["engine", "reason"],
            ),
        ],
    ),
    (
        "container create and start time",
        &[(
            "mcp_sandbox_create_duration_seconds",
            "histogram",
            &["engine"],
        )],
    ),
    (
        "executor in-flight",
        &[("mcp_executor_in_flight", "gauge", &[])],
    ),
    (
        "guard rejections by kind",
        &[("mcp_guard_rejections_total", "counter", &["kind"])],
    ),
    (
        "registry query time",
        &[(
            "mcp_registry_query_duration_seconds",
            "histogram",
            &["query"],
        )],
    ),
    (
        "catalogue version and age",
        &[
            ("mcp_catalogue_version", "gauge", &[]),
            ("mcp_catalogue_age_seconds", "gauge", &[]),
        ],
    ),
    (
        "gRPC client and server durations",
        &[
            (
                "mcp_grpc_client_duration_seconds",
                "histogram",
                &["service", "method", "code"],
            ),
            (
                "mcp_grpc_server_duration_seconds",
                "histogram",
                &["service", "method", "code"],
            ),
        ],
    ),
    (
        "audit queue depth and rejections",
        &[
            ("mcp_audit_queue_depth", "gauge", &[]),
            ("mcp_audit_rejections_total", "counter", &["reason"]),
        ],
    ),
    (
        "build info",
        &[("mcp_build_info", "gauge", &["service", "version", "commit"])],
    ),
];

#[test]
fn every_metric_of_the_contract_is_there_with_its_kind_and_labels() {
    for (phrase, wanted) in CONTRACT {
        for (name, kind, labels) in *wanted {
            let found = Instruments::DESCRIPTIONS
                .iter()
                .find(|description| description.name == *name);
            let found = found.unwrap_or_else(|| panic!("{phrase}: no {name}"));
            assert_eq!(
                (found.kind, found.labels),
                (*kind, *labels),
                "{phrase}: {name}"
            );
        }
    }
    // Process CPU, memory and open files: `cpu_memory_and_file_descriptors_of_the_process_are_there`.
}

/// The words that a label may be called. A new one needs a look at who fills it: all of these but
/// `tool`, which is bounded, are filled with words of this program.
const LABELS: &[&str] = &[
    "cache",
    "code",
    "commit",
    "decision",
    "direction",
    "endpoint",
    "engine",
    "found",
    "kind",
    "limit",
    "method",
    "operation",
    "outcome",
    "query",
    "reason",
    "result",
    "route",
    "runtime",
    "service",
    "source",
    "stage",
    "start",
    "state",
    "status",
    "status_code",
    "store",
    "tool",
    "version",
    "what",
];

#[test]
fn labels_are_of_a_closed_list_and_every_number_has_a_unit() {
    for description in Instruments::DESCRIPTIONS {
        for label in description.labels {
            assert!(LABELS.contains(label), "{label} of {}", description.name);
        }
        assert!(description.labels.len() <= 3, "{description:?}");
        if description.name.contains("duration") || description.name.contains("age_") {
            assert!(description.name.ends_with("_seconds"), "{description:?}");
        }
        assert!(
            description.name.starts_with("mcp_") || description.name.starts_with("dynamic_mcp_"),
            "{description:?}"
        );
    }
}
