//! The pages for operators: each block of commands is one that is run or says that it is not, and
//! each metric, setting, file and name on them exists. What runs the commands is
//! `deploy/run-page.py`; it is asked here for what it finds on a page.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde::Deserialize as _;
use serde_json::Value;

use super::root;

/// Pages whose every command is run against the stack.
const RUN: &[&str] = &["docs/production-runbook.md", "docs/deployment.md"];
/// Pages whose metrics and settings exist.
const NAMING: &[&str] = &[
    "docs/production-runbook.md",
    "docs/deployment.md",
    "docs/architecture.md",
    "docs/upgrading.md",
];

fn read(path: &str) -> String {
    let whole = root().join(path);
    std::fs::read_to_string(&whole).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What the runner finds on a page.
fn blocks(page: &str) -> Vec<Value> {
    let listed = Command::new("python3")
        .args(["deploy/run-page.py", "--list", page])
        .current_dir(root())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&listed.stderr);
    assert!(listed.status.success(), "{page}: {said}");
    serde_json::from_slice(&listed.stdout).unwrap()
}

fn text<'a>(block: &'a Value, member: &str) -> &'a str {
    block[member].as_str().unwrap_or_default()
}

/// What stands between backticks outside of code blocks.
fn code_spans(page: &str) -> Vec<String> {
    let mut outside = true;
    let mut spans = Vec::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            outside = !outside;
        } else if outside {
            spans.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    spans
}

/// Whole words of a text that begin with one of these and go on in capitals or small letters.
fn words<'a>(text: &'a str, starts: &[&str]) -> Vec<&'a str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
        .filter(|word| starts.iter().any(|start| word.starts_with(start)))
        .collect()
}

#[test]
fn the_runner_itself() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.md");
    let run = |text: &str| {
        std::fs::write(&page, text).unwrap();
        let done = Command::new("python3")
            .arg(root().join("deploy/run-page.py"))
            .args(["--timeout", "20"])
            .arg(&page)
            .output()
            .unwrap();
        let both = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8(both).unwrap())
    };
    let good = "# A\n```sh\nx=4; printf 'a%sc' 2\n```\n```text\na…c\n```\n\n> Not run here: no\n> cluster.\n\n\
                ```sh not-run\nfalse\n```\n\n```sh\ntest $x = 4\n```\n";
    let (code, said) = run(good);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("2 blocks run, 1 not run, as the page says"),
        "{said}"
    );
    for (wrong, why) in [
        ("```sh\nfalse\necho on\n```\n", ":1: exit code 1"),
        (
            "```sh\ntrue\n```\n\n```sh\nexit 0\n```\n\n```sh\ntrue\n```\n",
            ":5: exit code 0",
        ),
        (
            "```sh\necho one\n```\n```text\ntwo\n```\n",
            "this was not printed: two",
        ),
        (
            "```sh\necho b; echo a\n```\n```text\na\nb\n```\n",
            "this was not printed: b",
        ),
        ("```sh not-run\ntrue\n```\n", "says why"),
        ("```bash\ntrue\n```\n", "a block of 'bash'"),
        ("```\ntrue\n```\n", "a block of ''"),
        ("text\n\n    true\n", "an indented block"),
        ("```text\nx\n```\n", "right behind the block"),
        ("```sh\ntrue\n", "has no end"),
    ] {
        let (code, said) = run(wrong);
        assert_ne!(code, Some(0), "{wrong}: {said}");
        assert!(said.contains(why), "{wrong}: {said}");
        assert!(!said.contains("\non\n"), "{wrong}: went on: {said}");
    }
}

#[test]
fn what_is_not_run_is_counted_and_says_why() {
    for page in RUN {
        let blocks = blocks(page);
        let of = |kind: &str| blocks.iter().filter(|block| block["kind"] == kind).count();
        let (run, not_run) = (of("sh"), of("sh not-run"));
        assert!(run > 2 * not_run, "{page}: {run} run, {not_run} not");
        let said = format!("There are {not_run} of them.");
        let whole = read(page).replace("\n> ", " ");
        assert_eq!(
            whole.contains(&said),
            not_run > 0,
            "{page} has to say, where there are any: {said}"
        );
    }
}

#[test]
fn metrics_and_settings_on_the_pages_exist() {
    let metrics = read("docs/reference/metrics.md");
    let settings = read("docs/configuration.md");
    for page in NAMING {
        let text = read(page);
        for span in code_spans(&text) {
            for metric in words(&span, &["mcp_", "dynamic_mcp_", "process_"]) {
                let row = format!("| `{metric}` |");
                let kept = metric.starts_with("dynamic_mcp_");
                let of_histogram = ["_count", "_sum", "_bucket"]
                    .iter()
                    .filter_map(|end| metric.strip_suffix(end))
                    .any(|base| metrics.contains(&format!("| `{base}` | histogram |")));
                // A pattern or the name of a schema is none.
                if metric.ends_with('_') || (kept && !metric.contains("_http_")) {
                    continue;
                }
                assert!(
                    metrics.contains(&row) || of_histogram,
                    "{page}: there is no metric {metric}"
                );
            }
            for setting in words(&span, &["MCP_", "METRICS_", "LOG_", "DOCKER_", "HEALTH_"]) {
                // `MCP_AUTH_*` stands for several.
                let known = if setting.ends_with('_') {
                    settings.contains(&format!("`{setting}"))
                } else {
                    settings.contains(&format!("`{setting}`"))
                };
                assert!(known, "{page}: there is no setting {setting}");
            }
        }
    }
}

#[test]
fn every_symptom_has_a_metric_that_exists_a_cause_and_a_fix() {
    let page = read("docs/production-runbook.md");
    let metrics = read("docs/reference/metrics.md");
    let table = page.split("| symptom |").nth(1).expect("the triage table");
    let rows: Vec<&str> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert!(rows.len() >= 15, "only {} symptoms", rows.len());
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 4, "symptom, metric, cause, fix: {row}");
        assert!(
            cells.iter().all(|cell| !cell.is_empty()),
            "an empty cell: {row}"
        );
        let named = words(cells[1], &["mcp_", "dynamic_mcp_", "process_"]);
        assert!(!named.is_empty(), "no metric: {row}");
        for metric in named {
            assert!(
                metrics.contains(&format!("| `{metric}` |")),
                "there is no metric {metric}"
            );
        }
    }
}

/// Names by kind and namespace of everything in the manifests.
fn manifests() -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut found: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    let mut files = Vec::new();
    super::files_below(&root().join("deploy/k8s"), ".yaml", &mut files);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let object =
                Value::deserialize(document).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            let (kind, data) = (text_of(&object["kind"]), &object["metadata"]);
            let key = (kind.to_lowercase(), text_of(&data["namespace"]));
            found.entry(key).or_default().insert(text_of(&data["name"]));
        }
    }
    found
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn commands_for_a_cluster_name_what_the_manifests_have() {
    let manifests = manifests();
    let all = |kind: &str| -> BTreeSet<&String> {
        let of_kind = manifests.iter().filter(|((known, _), _)| known == kind);
        of_kind.flat_map(|(_, names)| names).collect()
    };
    let mut commands = 0;
    for page in RUN {
        for block in blocks(page) {
            if block["kind"] != "sh not-run" {
                continue;
            }
            let joined = text(&block, "text").replace("\\\n", " ");
            for line in joined.lines().filter(|line| line.starts_with("kubectl ")) {
                commands += 1;
                let words: Vec<&str> = line.split_whitespace().collect();
                let mut namespace = "";
                for pair in words.windows(2) {
                    match pair[0] {
                        "-f" => assert!(root().join(pair[1]).exists(), "{page}: {line}"),
                        "-n" => {
                            namespace = pair[1];
                            assert!(
                                all("namespace").contains(&namespace.to_owned()),
                                "{page}: {line}"
                            );
                        }
                        _ => {}
                    }
                }
                for word in &words {
                    let Some((kind, name)) = word.split_once('/') else {
                        continue;
                    };
                    let kind = match kind {
                        "deployment" => "deployment",
                        "hpa" => "horizontalpodautoscaler",
                        "service" => "service",
                        _ => continue,
                    };
                    let key = (kind.to_owned(), namespace.to_owned());
                    let known = manifests
                        .get(&key)
                        .is_some_and(|names| names.contains(name));
                    assert!(known, "{page}: no {kind} {name} in '{namespace}': {line}");
                }
            }
        }
    }
    assert!(commands > 5, "only {commands} commands for a cluster");
}
