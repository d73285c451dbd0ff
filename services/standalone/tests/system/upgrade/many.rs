//! A store of a thousand tools as the Node server writes it: imported, and every one called.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use futures::stream;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::docker::{BARE_IMAGE, IMAGE};
use testkit::mcp::{Client, Era};

use super::write_store;
use crate::deployment::{Deployment, Kind};
use crate::packages;

/// How many.
const TOOLS: u64 = 1_000;
/// Calls at once; the guard lets 8 in by default.
const AT_ONCE: usize = 8;

/// Images that tools of the Node server name.
pub(super) const IMAGES: [&str; 2] = ["node:lts-slim", "node:22-alpine"];

/// Records with fields as varied as the published schema allows; a few name the second image.
pub(super) fn tools(images: [&str; 2]) -> Vec<Value> {
    (0..TOOLS).map(|at| tool(at, images)).collect()
}

fn tool(at: u64, images: [&str; 2]) -> Value {
    let name = match at % 5 {
        0 => format!("text.tool-{at}"),
        1 => format!("a:b_{at}"),
        2 => format!("Upper.{at}"),
        3 => format!("deep.er.than.one.{at}"),
        // The longest name there is.
        _ => format!("{}{at:04}", "n".repeat(60)),
    };
    let mut tool = json!({
        "name": name,
        "description": match at % 4 {
            0 => "d".to_owned(),
            1 => "Größe, 大きさ, \u{1F600}\nand a second line".to_owned(),
            2 => "\"quoted\" \\ and `code`".to_owned(),
            _ => "x".repeat(4_000),
        },
        "image": images[usize::from(at.is_multiple_of(7))],
        "timeoutMs": 20_000 + at * 100,
        "dependencies": if at.is_multiple_of(10) { json!([{"name": "ms", "version": "^2.1.0"}]) } else { json!([]) },
        "code": code(at),
        "enabled": at % 9 != 8,
        "createdAt": format!("2025-{:02}-{:02}T00:00:00.{:03}Z", at % 12 + 1, at % 28 + 1, at % 1000),
        "updatedAt": format!("2026-{:02}-{:02}T23:59:59.{:03}Z", at % 12 + 1, at % 28 + 1, at % 1000),
        "revision": at * at + 1,
    });
    if !at.is_multiple_of(3) {
        tool["title"] = json!(format!("Tool {at}"));
    }
    tool
}

fn code(at: u64) -> String {
    let body = match at % 6 {
        0 => "return {at: AT, twice: args.n * 2};".to_owned(),
        1 => "const { n } = args;\nreturn { at: AT, twice: n + n }; // a comment".to_owned(),
        2 => "// \u{1F600} \u{2028}\nreturn await Promise.resolve({at: AT, twice: args.n * 2})"
            .to_owned(),
        3 => "function double(n) { return n * 2; }\nreturn {at: AT, twice: double(args.n)}"
            .to_owned(),
        4 => "return JSON.parse(`{\"at\": AT, \"twice\": ${args.n * 2}}`)".to_owned(),
        _ => format!(
            "/*{}*/return {{at: AT, twice: args.n * 2}}",
            "p".repeat(20_000)
        ),
    };
    body.replace("AT", &at.to_string())
}

/// Everything that the Node server knows of the tools is what it was; the code of some is read, that
/// of all is called.
async fn assert_are_what_they_were(client: &Client, all: &[Value]) {
    let mut listed = client.ok("dynamic.tool.list", json!({})).await;
    let Value::Array(listed) = listed["tools"].take() else {
        panic!("no list");
    };
    let mut listed: BTreeMap<String, Value> = listed
        .into_iter()
        .map(|tool| (tool["name"].as_str().unwrap().to_owned(), tool))
        .collect();
    assert_eq!(listed.len(), all.len());
    for (at, stored) in all.iter().enumerate() {
        let name = stored["name"].as_str().unwrap();
        let mut found = listed
            .remove(name)
            .unwrap_or_else(|| panic!("{name} is not there"));
        found["code"] = stored["code"].clone();
        if at.is_multiple_of(25) {
            let got = client.ok("dynamic.tool.get", json!({"name": name})).await;
            found["code"] = got["tool"]["code"].clone();
        }
        for (member, value) in stored.as_object().unwrap() {
            assert_eq!(&found[member], value, "{member} of {name}");
        }
        assert_eq!(found.get("title").is_some(), stored.get("title").is_some());
    }
}

/// Calls it as a client of the Node server does.
async fn assert_is_called(client: &Client, on_docker: bool, at: u64, stored: &Value) {
    let name = stored["name"].as_str().unwrap();
    let arguments = json!({"args": {"n": at}});
    if stored["enabled"] == false {
        let params = json!({"name": name, "arguments": arguments});
        let error = client.response("tools/call", params).await["error"].clone();
        assert_eq!(error["code"], -32_602, "{name}: {error}");
    } else if stored["dependencies"] != json!([]) && !on_docker {
        let refused = client.refusal(name, arguments).await;
        assert_eq!(refused, "policy_denied", "{name}");
    } else if stored["dependencies"] != json!([]) && stored["image"] == BARE_IMAGE {
        // It has no package manager.
        let refused = client.refusal(name, arguments).await;
        assert_eq!(refused, "dependency_install_failed", "{name}");
    } else {
        let answer = client.ok(name, arguments).await;
        assert_eq!(
            answer["result"],
            json!({"at": at, "twice": at * 2}),
            "{name}"
        );
    }
}

/// Imports the tools as a JSON file into a deployment of this kind and calls one of `every`.
pub(super) async fn imported_and_called(
    kind: Kind,
    images: [&str; 2],
    every: usize,
    env: &[(&str, &str)],
) {
    let folder = tempfile::tempdir().unwrap();
    let all = tools(images);
    let path = write_store(folder.path(), &all);
    let before = std::fs::read(&path).unwrap();
    let env = [&[("MCP_DYNAMIC_MAX_TOOLS", "1000")], env].concat();
    let folder = called(kind, folder, &all, every, &env).await;
    let after = std::fs::read(folder.path().join(".dynamic-mcp/tools.json")).unwrap();
    assert!(after == before, "the source is as it was");
}

/// Starts a deployment that has the tools from elsewhere, and calls each.
pub(super) async fn served_and_called(kind: Kind, all: &[Value], env: &[(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    drop(called(kind, folder, all, 1, env).await);
}

async fn called(
    kind: Kind,
    folder: TempDir,
    all: &[Value],
    every: usize,
    env: &[(&str, &str)],
) -> TempDir {
    let on_docker = env.contains(&("MCP_EXECUTION_ENGINE", "docker"));
    let env = [&[("MCP_TOOL_MAX_CALLS_PER_WINDOW", "100000")], env].concat();
    let deployment = Deployment::start_in(kind, folder, &env).await;
    let client = deployment.client(Era::Modern);
    let listed = client.names().await;
    for tool in all.iter().filter(|tool| tool["enabled"] == true) {
        let name = tool["name"].as_str().unwrap().to_owned();
        assert!(listed.contains(&name), "{name} is not listed");
    }
    assert_are_what_they_were(&client, all).await;
    let mut asked = stream::iter(all.iter().zip(0..).step_by(every))
        .map(async |(stored, at)| {
            assert_is_called(&client, on_docker, at, stored).await;
        })
        .buffer_unordered(AT_ONCE);
    let mut done = 0;
    while asked.next().await.is_some() {
        done += 1;
    }
    assert_eq!(done, TOOLS.div_ceil(every as u64));
    drop(asked);
    let folder = deployment.stop_keeping().await;
    if on_docker {
        packages::remove(folder.path()).await;
    }
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_tools_in_one_process() {
    let isolate = ("MCP_EXECUTION_ENGINE", "node");
    imported_and_called(Kind::Direct, IMAGES, 1, &[isolate]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_tools_in_three_processes() {
    let isolate = ("MCP_EXECUTION_ENGINE", "node");
    imported_and_called(Kind::Three, IMAGES, 1, &[isolate]).await;
}

/// The same in containers, of images that are on this machine; each of them costs a quarter of a
/// second of a core, so that all thousand are called with `MCP_TEST_SOAK=1` only.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_tools_on_docker() {
    let images = [IMAGE, BARE_IMAGE];
    let allowed = images.join(",");
    let trusted = packages::trusted();
    let mut env = vec![
        ("MCP_EXECUTION_ENGINE", "docker"),
        ("MCP_SANDBOX_ALLOWED_IMAGES", allowed.as_str()),
    ];
    env.extend(trusted.iter().map(|(name, file)| (*name, file.as_str())));
    let every = if crate::production::soak() { 1 } else { 20 };
    imported_and_called(Kind::Direct, images, every, &env).await;
}
