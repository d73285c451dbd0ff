//! Every answer recorded from the Node server 0.4.1, asked of ours: in one process and in three, in
//! both eras of the protocol.

mod ask;
mod compare;
mod protocol;
mod value;
mod wanted;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use testkit::mcp::Era;
use tokio::task::JoinSet;

use crate::deployment::{Deployment, Kind};
use crate::table::{path, read, report, short};
use ask::{ask, texts_of_params};
use compare::{Got, faults};
use protocol::Protocol;

/// The files, by name.
fn groups() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(path("golden"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .collect();
    names.sort();
    names
}

/// The names of the tools that the steps make.
fn created(group: &Value) -> BTreeSet<String> {
    let steps = group["steps"].as_array().unwrap().iter();
    steps
        .map(|step| &step["request"]["params"])
        .filter(|params| params["name"] == "dynamic.tool.create")
        .filter_map(|params| {
            params["arguments"]["tool"]["name"]
                .as_str()
                .map(str::to_owned)
        })
        .collect()
}

/// Runs a group against a server of its own and returns how many cases it has and what failed.
async fn replay(kind: Kind, era: Era, file: &str) -> (usize, Vec<String>) {
    let file_name = format!("golden/{file}");
    let group = read(&file_name);
    let params = texts_of_params(&std::fs::read_to_string(path(&file_name)).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let given = group["env"].as_object().cloned().unwrap_or_default();
    let mut env: Vec<(&str, &str)> = given
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    env.push(("MCP_PROFILE", group["profile"].as_str().unwrap()));
    env.push(("MCP_EXECUTION_ENGINE", "node"));
    if let Some(seed) = group.get("seed") {
        std::fs::write(folder.path().join("tools.json"), seed.to_string()).unwrap();
        env.push(("MCP_DYNAMIC_STORE", "tools.json"));
    }
    let deployment = Deployment::start_in(kind, folder, &env).await;
    let address = deployment.address.clone();
    let protocol = Protocol::of(&deployment.client(era)).await;
    let created = created(&group);
    let steps = group["steps"].as_array().unwrap();
    let mut failures = Vec::new();
    let mut note = |step: &Value, got: &Got| {
        let mut found = Vec::new();
        if !protocol.removed(step) {
            found = faults(step, got, &created);
        }
        protocol.faults(step, got, &mut found);
        if !found.is_empty() {
            failures.push(format!(
                "{file}, {}: {}\n  got {} {}",
                step["case"],
                found.join("\n  "),
                got.status,
                short(&got.answer.to_string())
            ));
        }
    };
    let mut open = JoinSet::new();
    let mut waiting = None;
    // The file has the step with `background` behind the one that runs meanwhile.
    let mut order: Vec<_> = steps.iter().zip(params).collect();
    for at in 1..order.len() {
        if order[at].0["background"].is_u64() {
            order.swap(at - 1, at);
        }
    }
    for (step, params) in order {
        let asked = ask(address.clone(), era, step.clone(), params);
        if let Some(pause) = step["background"].as_u64() {
            open.spawn(asked);
            waiting = Some(step);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            continue;
        }
        note(step, &asked.await);
        if let Some(step) = waiting.take() {
            note(step, &open.join_next().await.unwrap().unwrap());
        }
    }
    deployment.stop().await;
    (steps.len(), failures)
}

async fn all(kind: Kind, era: Era) {
    let (mut count, mut failures) = (0, Vec::new());
    for file in groups() {
        let (cases, failed) = replay(kind, era, &file).await;
        count += cases;
        failures.extend(failed);
    }
    report(&failures, count);
}

#[tokio::test]
async fn golden_direct_legacy() {
    all(Kind::Direct, Era::Legacy).await;
}

#[tokio::test]
async fn golden_direct_modern() {
    all(Kind::Direct, Era::Modern).await;
}

#[tokio::test]
async fn golden_three_processes_legacy() {
    all(Kind::Three, Era::Legacy).await;
}

#[tokio::test]
async fn golden_three_processes_modern() {
    all(Kind::Three, Era::Modern).await;
}
