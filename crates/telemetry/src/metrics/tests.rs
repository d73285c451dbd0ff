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
