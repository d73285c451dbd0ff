//! `doctor` as a command: who has it, what it prints, how it ends.

use serde_json::Value;

use super::{Ended, run};

const NOWHERE: (&str, &str) = ("DOCKER_HOST", "unix:///nowhere/docker.sock");

/// Its exit code, and what it says on stdout.
#[track_caller]
fn says(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:#?}");
    for text in words {
        assert!(ended.out.contains(text), "no {text:?} in {ended:#?}");
    }
}

#[tokio::test]
async fn it_answers_in_words_and_in_json_with_the_same_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let env = [NOWHERE, ("MCP_EXECUTION_ENGINE", "isolate")];
    let json = run("dynamic-mcp", folder.path(), &["doctor", "--json"], &env).await;
    let report: Value = serde_json::from_str(&json.out).unwrap();
    let code = json.code.unwrap();
    assert_eq!(report["exitCode"], code, "{report}");
    let findings = report["findings"].as_array().unwrap();
    let engine = findings.iter().find(|it| it["check"] == "engine").unwrap();
    assert_eq!(engine["state"], "ok", "{engine}");
    let words = run("dynamic-mcp", folder.path(), &["doctor"], &env).await;
    says(
        &words,
        code,
        &["isolate: configured, and it starts", "checks:"],
    );
    let listed = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(listed, 0, "it makes nothing");
}

#[tokio::test]
async fn an_engine_that_cannot_start_is_2_and_a_configuration_that_cannot_be_read_78() {
    let folder = tempfile::tempdir().unwrap();
    let docker = [NOWHERE, ("MCP_EXECUTION_ENGINE", "docker")];
    let ended = run("dynamic-mcp", folder.path(), &["doctor"], &docker).await;
    says(
        &ended,
        2,
        &["fail", "docker is configured and cannot be used", "fix:"],
    );
    let wrong = [("MCP_SANDBOX_MEMORY_LIMIT", "lots")];
    let ended = run("dynamic-mcp", folder.path(), &["doctor"], &wrong).await;
    ended.assert(78, &["MCP_SANDBOX_MEMORY_LIMIT"]);
}

/// An executor that lacks its keys is looked at all the same.
#[tokio::test]
async fn an_executor_without_keys_is_looked_at_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let env = [NOWHERE, ("MCP_EXECUTION_ENGINE", "isolate")];
    let ended = run("executor", folder.path(), &["doctor"], &env).await;
    ended.assert(2, &["MCP_INTERNAL_VERIFY_KEYS"]);
    says(&ended, 2, &["isolate: configured, and it starts"]);
}

#[tokio::test]
async fn what_runs_no_sandboxes_has_no_doctor() {
    let folder = tempfile::tempdir().unwrap();
    for program in ["gateway", "registry"] {
        let ended = run(program, folder.path(), &["doctor"], &[]).await;
        ended.assert(78, &["runs no sandboxes", "executor doctor"]);
    }
}

/// The whole way: the command attacks processes of its own program.
#[tokio::test]
async fn attacks_are_scored() {
    let folder = tempfile::tempdir().unwrap();
    let env = [NOWHERE, ("MCP_EXECUTION_ENGINE", "isolate")];
    let args = ["doctor", "--attack", "--json"];
    let ended = run("dynamic-mcp", folder.path(), &args, &env).await;
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    let attacks = &report["attacks"][0];
    assert_eq!(attacks["engine"], "isolate");
    assert_eq!(attacks["held"], attacks["of"], "{attacks:#}");
    assert!(attacks["of"].as_u64().unwrap() > 30);
}
