//! The matrix of rights: every tool, method and RPC for every kind of caller in two tenants, as
//! `matrix/table.toml` has it, on two gateways, two registries over Postgres, two executors on Docker
//! and a token issuer.

mod grpc;
mod mcp;
mod world;

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use self::world::World;
use crate::table::{path, report};

/// The roles of `outcomes`, in its order.
const ROLES: [&str; 5] = ["viewer", "operator", "developer", "admin", "stranger"];
/// The two tenants, each with the other.
const TENANTS: [(&str, &str); 2] = [("acme", "globex"), ("globex", "acme")];

/// The table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    tool: Vec<Row>,
    method: Vec<Row>,
    rpc: Vec<Rpc>,
}

/// A tool or a method of MCP.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    #[serde(default)]
    arguments: Value,
    outcomes: [String; 5],
    foreign: Option<String>,
    #[serde(default)]
    era: Option<String>,
}

/// A method of gRPC.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rpc {
    name: String,
    outcomes: [String; 5],
    service: String,
    limited: String,
    foreign: Option<String>,
}

fn table() -> Table {
    let text = std::fs::read_to_string(path("system/matrix/table.toml")).unwrap();
    toml::from_str(&text).unwrap_or_else(|error| panic!("table.toml: {error}"))
}

/// Fails for what has no row, and for rows of what there is not.
fn complete(what: &str, there: BTreeSet<String>, rows: impl Iterator<Item = String>) {
    let rows: BTreeSet<String> = rows.collect();
    let missing: Vec<_> = there.difference(&rows).collect();
    let gone: Vec<_> = rows.difference(&there).collect();
    assert!(
        missing.is_empty(),
        "{what} without a row in matrix/table.toml: {missing:?}"
    );
    assert!(
        gone.is_empty(),
        "rows of matrix/table.toml for no {what}: {gone:?}"
    );
}

/// Every `rpc` of the protocol, as `Service/Method`.
fn protocol() -> BTreeSet<String> {
    let folder = path("../../../proto/dynamic_mcp/v1");
    let mut found = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let mut service = "";
        for line in text.lines().map(str::trim) {
            let word = |start: &str| {
                let rest = line.strip_prefix(start)?;
                rest.split(['(', ' ', '{']).next()
            };
            service = word("service ").unwrap_or(service);
            if let Some(method) = word("rpc ") {
                found.insert(format!("{service}/{method}"));
            }
        }
    }
    found
}

/// Every method of MCP that the gateway knows.
fn methods() -> BTreeSet<String> {
    let source = std::fs::read_to_string(path("../../gateway/src/mcp/request.rs")).unwrap();
    let list = source.split("const METHODS").nth(1).unwrap();
    let list = list.split("];").next().unwrap();
    let names = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix("(\""));
    names
        .map(|line| line.split('"').next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_rpc_and_method_has_a_row() {
    let table = table();
    assert!(protocol().len() > 20 && methods().len() > 10);
    complete(
        "RPC",
        protocol(),
        table.rpc.iter().map(|row| row.name.clone()),
    );
    complete(
        "method",
        methods(),
        table.method.iter().map(|row| row.name.clone()),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_caller_may_do_what_the_table_says_and_nothing_else() {
    let table = table();
    let world = World::start().await;
    let listed = world.listed("acme", "admin").await;
    let built_ins = listed
        .into_iter()
        .filter(|name| !name.starts_with("matrix."));
    let rows = table.tool.iter().filter(|row| !row.name.starts_with('$'));
    complete(
        "tool",
        built_ins.collect(),
        rows.map(|row| row.name.clone()),
    );
    let mut failures = Vec::new();
    let mut cells = 0;
    for (tenant, other) in TENANTS {
        cells += mcp::run(&world, &table, (tenant, other), &mut failures).await;
        cells += grpc::run(&world, &table, (tenant, other), &mut failures).await;
    }
    report(&failures, cells);
    world.stop().await;
}
