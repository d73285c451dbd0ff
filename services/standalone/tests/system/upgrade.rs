//! Moving over from the Node server 0.4.1: every line of docs/upgrading.md, asked of the real
//! programs.

mod baselines;
mod calls;
mod code;
mod document;
mod flags;
mod http;
mod limits;
mod many;
mod operation;
mod postgres;
mod sessions;
mod settings;
mod stores;
mod tools;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::start::{Ended, run, serve};

/// Makes each check a test of its own, and says for which lines of the document it stands.
macro_rules! checks {
    ($($($line:literal)+ => $check:ident,)+) => {
        pub(super) const LINES: &[&str] = &[$($($line,)+)+];

        mod tests {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $check() {
                    super::$check().await;
                }
            )+
        }
    };
}
use checks;

/// The lines that each file has checks for.
const CHECKED: &[&[&str]] = &[
    settings::LINES,
    http::LINES,
    limits::LINES,
    sessions::LINES,
    tools::LINES,
    calls::LINES,
    code::LINES,
    stores::LINES,
    postgres::LINES,
    operation::LINES,
];

#[test]
fn every_line_of_the_document_has_a_check_and_every_check_a_line() {
    let written: Vec<String> = document::lines().into_iter().map(|line| line.id).collect();
    let once: BTreeSet<&str> = written.iter().map(String::as_str).collect();
    assert_eq!(once.len(), written.len(), "a number is used twice");
    assert!(written.is_sorted(), "the numbers are not in order");
    let checked: BTreeSet<&str> = CHECKED.iter().copied().flatten().copied().collect();
    let unchecked: Vec<_> = once.difference(&checked).collect();
    assert!(unchecked.is_empty(), "no check for {unchecked:?}");
    let unwritten: Vec<_> = checked.difference(&once).collect();
    assert!(unwritten.is_empty(), "checks of no line: {unwritten:?}");
}

/// Runs `dynamic-mcp` to see what it says of these settings.
async fn checked(arguments: &[&str], env: &[(&str, &str)]) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [arguments, &["--check-config"]].concat();
    run("dynamic-mcp", folder.path(), &arguments, env).await
}

/// Starts `dynamic-mcp` with settings that the line says are refused, and checks that it ends with
/// the line's own words and for nothing else.
async fn refused(line: &str, arguments: &[&str], env: &[(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    let env = [&[("MCP_PORT", "0"), ("MCP_TRANSPORT", "http")], env].concat();
    let ended = run("dynamic-mcp", folder.path(), arguments, &env).await;
    let said = document::line(line).said;
    assert!(!said.is_empty(), "{line} quotes nothing");
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    ended.assert(78, &said);
    let problems = ended.err.matches("\n- ").count();
    assert_eq!(problems, said.len(), "{line}: {}", ended.err);
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "{line}: a refused start leaves nothing behind");
}

/// Checks that these settings are accepted with a warning in the line's own words, `count` times.
async fn warned(line: &str, arguments: &[&str], env: &[(&str, &str)], count: usize) -> Ended {
    let ended = checked(arguments, env).await;
    ended.assert(0, &[]);
    for said in document::line(line).said {
        let found = ended.err.matches(&said).count();
        assert_eq!(found, count, "{line}: {said:?} in {}", ended.err);
    }
    ended
}

/// A value of the effective configuration, as `--print-config` writes it.
fn printed(ended: &Ended, variable: &str) -> String {
    let mark = format!("# {variable}: ");
    let line = ended.out.lines().find(|line| line.contains(&mark));
    let line = line.unwrap_or_else(|| panic!("no {variable} in {}", ended.out));
    let value = line.split("  # ").next().unwrap_or_default();
    let value = value.split_once(" = ").map_or("", |(_, value)| value);
    value.trim_matches('"').to_owned()
}

/// What is in effect with these settings.
async fn effective(folder: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Ended {
    let arguments = [arguments, &["--print-config"]].concat();
    let ended = run("dynamic-mcp", folder, &arguments, env).await;
    ended.assert(0, &[]);
    ended
}

/// A record as the Node server stores it.
fn record(name: &str, code: &str) -> Value {
    json!({
        "name": name, "description": "Made by the Node server.", "image": "node:lts-slim",
        "timeoutMs": 30_000, "dependencies": [], "code": code, "enabled": true, "revision": 1,
        "createdAt": "2025-01-31T12:00:00.000Z", "updatedAt": "2025-02-01T12:00:00.000Z"
    })
}

/// Writes a store of the Node server to where it has it without settings.
fn write_store(folder: &Path, tools: &[Value]) -> std::path::PathBuf {
    let path = folder.join(".dynamic-mcp/tools.json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let store = json!({"version": 1, "tools": tools});
    let text = serde_json::to_string_pretty(&store).unwrap() + "\n";
    std::fs::write(&path, text).unwrap();
    path
}
