//! The page `docs/reference/metrics.md`, made from the metrics themselves.

use std::fmt::Write as _;

use crate::metrics::Instruments;

/// What the `prometheus` crate adds for the process on Linux; it offers no list to generate this
/// from, so a test compares these names with a scrape.
const PROCESS: &[(&str, &str, &str)] = &[
    (
        "process_cpu_seconds_total",
        "counter",
        "User and system CPU time spent, in seconds.",
    ),
    (
        "process_max_fds",
        "gauge",
        "Highest number of open file descriptors allowed.",
    ),
    ("process_open_fds", "gauge", "Open file descriptors."),
    (
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory, in bytes.",
    ),
    (
        "process_start_time_seconds",
        "gauge",
        "Start of the process, in seconds since 1970.",
    ),
    ("process_threads", "gauge", "Threads of the process."),
    (
        "process_virtual_memory_bytes",
        "gauge",
        "Virtual memory, in bytes.",
    ),
];

/// The whole page. A test keeps `docs/reference/metrics.md` equal to it; regenerate with
/// `cargo run -p telemetry --example reference > docs/reference/metrics.md`.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Generated from `crates/telemetry`; do not edit. Regenerate with\n\
         `cargo run -p telemetry --example reference > docs/reference/metrics.md`.\n\n\
         Prometheus text on `GET /metrics`: of the gateway and of `dynamic-mcp` on the public port, or on\n\
         `METRICS_PORT` when that is set; of the registry and the executor on `MCP_ADMIN_LISTEN`. Every\n\
         service has every metric; what it does not do stays at zero or has no series. A label never holds\n\
         text that a caller chose, but for `tool`, which is bounded to 1,000 names.\n\n\
         | metric | kind | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    for metric in Instruments::DESCRIPTIONS {
        let labels = if metric.labels.is_empty() {
            String::from("-")
        } else {
            let quoted: Vec<String> = metric
                .labels
                .iter()
                .map(|label| format!("`{label}`"))
                .collect();
            quoted.join(", ")
        };
        row(&mut page, metric.name, metric.kind, &labels, metric.help);
    }
    for (name, kind, help) in PROCESS {
        row(&mut page, name, kind, "-", help);
    }
    page
}

fn row(page: &mut String, name: &str, kind: &str, labels: &str, help: &str) {
    // Writing to a String cannot fail.
    if writeln!(page, "| `{name}` | {kind} | {labels} | {help} |").is_err() {
        tracing::error!(name, "a row of the metrics reference could not be written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BuildInfo, Metrics};

    #[test]
    fn the_page_in_docs_is_the_generated_one() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/reference/metrics.md"
        );
        let written = std::fs::read_to_string(path).unwrap();
        assert!(
            written == reference_markdown(),
            "docs/reference/metrics.md is out of date: \
             cargo run -p telemetry --example reference > docs/reference/metrics.md"
        );
    }

    #[test]
    fn the_process_metrics_are_exactly_those_that_are_scraped() {
        let metrics = Metrics::new(BuildInfo {
            service: "s",
            version: "v",
            commit: "c",
        })
        .unwrap();
        let text = metrics.encode().unwrap();
        let scraped: Vec<(&str, &str)> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE process_"))
            .filter_map(|rest| rest.split_once(' '))
            .collect();
        let listed: Vec<(&str, &str)> = PROCESS
            .iter()
            .map(|(name, kind, _)| (name.trim_start_matches("process_"), *kind))
            .collect();
        assert_eq!(scraped, listed);
    }
}
