//! docs/grpc.md is true: its code, taken from the page, against real processes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use testkit::certificates::Authority;
use tokio::process::Command;

use super::rig::Rig;
use crate::deployment::binary;
use crate::table;

const PAGE: &str = "../../../docs/grpc.md";

/// The blocks of the page in this language, one after the other.
fn blocks(language: &str) -> Vec<String> {
    let page = std::fs::read_to_string(table::path(PAGE)).unwrap();
    let opening = format!("```{language}\n");
    let rest = page.split(&opening).skip(1);
    rest.map(|block| block.split("\n```").next().unwrap().to_owned())
        .collect()
}

/// The Python with grpcio that `tests/clients/setup.sh` made, and where its packages are.
fn python() -> (PathBuf, PathBuf) {
    let target = binary("dynamic-mcp")
        .ancestors()
        .nth(2)
        .unwrap()
        .join("clients");
    assert!(
        target.join("grpc.stamp").exists(),
        "grpcio is not installed; run: services/standalone/tests/clients/setup.sh"
    );
    let own = target.join("grpc/bin/python");
    let python = if own.exists() {
        own
    } else {
        PathBuf::from("python3")
    };
    (python, target.join("grpc/site"))
}

async fn ran(folder: &Path, env: &[(&str, &str)], words: &[&str]) -> String {
    let (python, site) = python();
    let running = Command::new(python)
        .args(words)
        .current_dir(folder)
        .env("PYTHONPATH", site)
        .envs(env.iter().copied())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(90), running).await;
    let output = output.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}\n{errors}");
    said
}

#[tokio::test]
async fn an_internal_service_calls_registry_and_executor_as_the_page_shows() {
    let rig = Rig::start(&[]).await;
    let folder = rig.folder.path();
    let code = "return args.lines.reduce((a, b) => a + b, 0)";
    let page = std::fs::read_to_string(table::path(PAGE)).unwrap();
    assert!(page.contains(code), "the page names the tool's code");
    let tool = json!({"name": "invoice.total", "description": "d", "code": code});
    rig.client()
        .ok("dynamic.tool.create", json!({"tool": tool}))
        .await;

    // The command of the page, but for the interpreter's name and the place of the repository.
    let shell = blocks("sh").join("\n");
    let command = shell
        .lines()
        .find(|line| line.contains("grpc_tools.protoc"))
        .unwrap();
    let proto = table::path("../../../proto").display().to_string();
    let files: Vec<String> = std::fs::read_dir(table::path("../../../proto/dynamic_mcp/v1"))
        .unwrap()
        .map(|entry| entry.unwrap().path().display().to_string())
        .collect();
    let words: Vec<String> = command
        .split_whitespace()
        .skip(1)
        .flat_map(|word| match word {
            "--proto_path=proto" => vec![format!("--proto_path={proto}")],
            "proto/dynamic_mcp/v1/*.proto" => files.clone(),
            word => vec![word.to_owned()],
        })
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    ran(folder, &[], &words).await;

    let python = blocks("python");
    assert_eq!(python.len(), 1);
    std::fs::write(folder.join("page.py"), &python[0]).unwrap();
    let certs = rig.file("").display().to_string();
    let env = [
        ("CERTS", certs.as_str()),
        ("REGISTRY", rig.registry_at.as_str()),
        ("EXECUTOR", rig.executor_at.as_str()),
    ];
    assert_eq!(ran(folder, &env, &["page.py"]).await, "total: 42\n");

    let stranger = Authority::new("dynamic-mcp services");
    stranger.service("billing").write(&rig.file(""), "stranger");
    let script = table::path("clients/python/grpc_refused.py");
    std::fs::copy(script, folder.join("refused.py")).unwrap();
    let said = ran(folder, &env, &["refused.py"]).await;
    assert!(said.ends_with("ok 26 checks\n"), "{said}");
    rig.stop().await;
}
