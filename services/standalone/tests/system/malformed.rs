//! Every malformed and hostile request of the table: each gets its named error, and the server is
//! the same afterwards.

mod cost;
mod expect;
mod floods;
mod https;
mod mutate;
mod mutated;
mod request;
mod tools;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::mcp::{Client, Era};
use tokio::task::JoinSet;

use crate::deployment::{Deployment, Kind};
use crate::table::{read, report, short};
use expect::Got;

/// Longest that any case may take.
const LIMIT: Duration = Duration::from_secs(5);

async fn send(address: String, case: Value) -> Got {
    let port = address.rsplit(':').next().unwrap();
    let (bytes, given) = request::bytes(&case, port);
    Got::new(testkit::http::raw(&address, &bytes).await, given)
}

/// Sends a case; a hang and a connection without an answer are failures as others are.
async fn attempt(address: &str, case: &Value) -> Result<Got, String> {
    let mut task = JoinSet::new();
    task.spawn(send(address.to_owned(), case.clone()));
    match tokio::time::timeout(LIMIT, task.join_next()).await {
        Ok(Some(Ok(got))) => Ok(got),
        Ok(Some(Err(error))) => Err(format!("no answer: {error}")),
        Ok(None) | Err(_) => Err(format!("no answer within {LIMIT:?}")),
    }
}

/// Why a tool that must not have been made is there, if it is.
async fn was_created(client: &Client, name: &str) -> Option<String> {
    let params = json!({"name": "dynamic.tool.get", "arguments": {"name": name}});
    let answer = client.response("tools/call", params).await;
    let result = &answer["result"];
    let code = result["structuredContent"]["code"].as_str();
    let right = matches!(
        code,
        Some("not_found" | "invalid_argument" | "policy_denied")
    );
    (!right).then(|| format!("{name} was created: {}", short(&answer.to_string())))
}

/// The tables' name of one case, for messages.
fn label(case: &Value) -> String {
    format!("{} {} ({})", case["era"], case["case"], case["profile"])
}

/// The value of a metric without labels.
async fn metric(deployment: &Deployment, name: &str) -> f64 {
    let (status, text) = deployment.get("/metrics").await;
    assert_eq!(status, 200);
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.unwrap_or_else(|| panic!("no {name} in:\n{text}"));
    value.trim().parse().unwrap()
}

/// Sends the cases of a profile to a server of their own and returns what failed.
async fn run(kind: Kind, table: &Value, profile: &str, cases: &[&Value]) -> Vec<String> {
    let given = table["env"].as_object().unwrap().iter();
    let mut env: Vec<(&str, &str)> = given
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    env.push(("MCP_PROFILE", profile));
    let deployment = Deployment::start(kind, &env).await;
    let client = deployment.client(Era::Legacy);
    for tool in table["tools"].as_array().unwrap() {
        client
            .ok("dynamic.tool.create", json!({"tool": tool}))
            .await;
    }
    let listed = client.names().await;
    let process = deployment.front.id();

    let mut failures = Vec::new();
    for case in cases {
        let got = match attempt(&deployment.address, case).await {
            Ok(got) => got,
            Err(why) => {
                failures.push(format!("{}: {why}", label(case)));
                continue;
            }
        };
        let mut found = expect::faults(&case["expect"], &got);
        if got.answer.status >= 500 {
            found.push("an answer of the 500s".into());
        }
        let any = [&case["expect"], &case["expect"][0]];
        if let Some(name) = any.iter().find_map(|expect| expect["notCreated"].as_str()) {
            found.extend(was_created(&client, name).await);
        }
        if !found.is_empty() {
            failures.push(format!(
                "{}: {}\n  got {} {}",
                label(case),
                found.join("; "),
                got.answer.status,
                short(&got.answer.text())
            ));
        }
    }

    // Nothing has been left behind.
    assert_eq!(client.names().await, listed, "what is listed has changed");
    let echoed = json!({"code": "return args.word", "args": {"word": "still here"}});
    let result = client.ok("run_js_ephemeral", echoed).await;
    assert_eq!(result["result"], "still here");
    assert_eq!(deployment.front.id(), process);
    assert_eq!(metric(&deployment, "mcp_panics_total ").await, 0.0);
    let log = deployment.front.log().join("\n");
    assert!(!log.contains("panicked"), "{log}");
    deployment.stop().await;
    failures
}

/// All cases of which `wanted` says so, on one way of running the product.
async fn all(kind: Kind, wanted: impl Fn(usize) -> bool) {
    let table = read("malformed/cases.json");
    let cases = table["cases"].as_array().unwrap();
    let profiles: BTreeSet<&str> = cases
        .iter()
        .map(|case| case["profile"].as_str().unwrap())
        .collect();
    let (mut count, mut failures) = (0, Vec::new());
    for profile in profiles {
        let of_profile: Vec<&Value> = cases
            .iter()
            .enumerate()
            .filter(|(at, case)| case["profile"] == profile && wanted(*at))
            .map(|(_, case)| case)
            .collect();
        count += of_profile.len();
        failures.extend(run(kind, &table, profile, &of_profile).await);
    }
    report(&failures, count);
}

#[tokio::test]
async fn malformed_direct() {
    all(Kind::Direct, |_| true).await;
}

#[tokio::test]
async fn malformed_over_pipes() {
    all(Kind::Pipes, |_| true).await;
}

#[tokio::test]
async fn malformed_three_processes() {
    all(Kind::Three, |_| true).await;
}
