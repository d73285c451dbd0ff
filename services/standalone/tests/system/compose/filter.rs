//! What the filter of the Docker socket lets through: asked from where an executor is.

use std::process::Command;

use serde_json::Value;
use testkit::docker::IMAGE;

use super::stack::{Stack, docker};

/// Asks everything at the filter and prints the status of each answer.
const ASK: &str = include_str!("filter/ask.js");

pub(super) fn lets_through_sandboxes_and_nothing_else(stack: &Stack) {
    let sandbox = docker(&[
        "ps",
        "--no-trunc",
        "--filter",
        "label=dynamic-mcp.sandbox=1",
        "--format",
        "{{.ID}} {{.Names}}",
    ]);
    let owned = sandbox.lines().next().unwrap();
    let (id, name) = owned.split_once(' ').unwrap();
    let image = docker(&["image", "inspect", "--format", "{{.Id}}", IMAGE]);
    let postgres = docker(&[
        "inspect",
        "--format",
        "{{.Id}}",
        &stack.container("postgres"),
    ]);
    let network = stack.network("docker");
    let said = docker(&[
        "run",
        "--rm",
        "--network",
        &network,
        "--user",
        "65532",
        IMAGE,
        "node",
        "-e",
        ASK,
        id,
        name,
        image.trim(),
        postgres.trim(),
    ]);
    let said: Value = serde_json::from_str(&said).unwrap();
    for (what, status) in said["allowed"].as_object().unwrap() {
        let status = status.as_u64().unwrap();
        assert!((200..300).contains(&status), "{what}: {status}");
    }
    let refused = said["refused"].as_object().unwrap();
    assert!(refused.len() > 60, "{refused:?}");
    for (what, status) in refused {
        assert_eq!(*status, 403, "{what}");
    }
}

/// Whoever asks the doctor is told that the way to the daemon is a filter's, and not root's.
pub(super) fn is_seen_by_the_doctor(stack: &Stack) {
    let executor = stack.container("executor-1");
    let doctor = [
        "exec",
        &executor,
        "/usr/local/bin/executor",
        "doctor",
        "--json",
    ];
    // Its exit code is that of the worst that it finds on this machine.
    let ended = Command::new("docker").args(doctor).output().unwrap();
    let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let access = findings.iter().find(|it| it["check"] == "docker-access");
    let access = access.unwrap_or_else(|| panic!("{report}"));
    assert_eq!(access["state"], "advice", "{access}");
    assert!(
        access["found"].as_str().unwrap().contains("refused all 11"),
        "{access}"
    );
}
