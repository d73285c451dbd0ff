//! Sending the request of a step as it was recorded: the order of the arguments too.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use testkit::http::{Answer, exchange};
use testkit::mcp::Era;

use super::compare::Got;
use crate::table::expand;

/// The text of each step's `params`; `None` where there are none.
pub(crate) fn texts_of_params(file: &str) -> Vec<Option<Box<RawValue>>> {
    fn members(text: &str) -> BTreeMap<String, Box<RawValue>> {
        serde_json::from_str(text).unwrap()
    }
    let steps: Vec<Box<RawValue>> = serde_json::from_str(members(file)["steps"].get()).unwrap();
    let steps = steps.iter().map(|step| members(step.get()));
    steps
        .map(|mut step| members(step.remove("request")?.get()).remove("params"))
        .collect()
}

/// Does one step: a JSON-RPC request with these params, or a plain one.
pub(crate) async fn ask(
    address: String,
    era: Era,
    step: Value,
    params: Option<Box<RawValue>>,
) -> Got {
    if let Some(http) = step.get("http") {
        return plain(&address, http, &step["ours"]).await;
    }
    let method = step["request"]["method"].as_str().unwrap();
    // The short forms are written out; what has none is sent as it was written.
    let params = match params {
        None => "{}".to_owned(),
        Some(params) if !params.get().contains("\"$repeat\"") => params.get().to_owned(),
        Some(_) => expand(&step["request"]["params"]).to_string(),
    };
    let answer = send(&address, era, method, &params).await;
    let mut last = answer.messages().pop().unwrap();
    if let Some(members) = last.as_object_mut() {
        members.retain(|name, _| name == "result" || name == "error");
    }
    Got {
        status: answer.status,
        answer: last,
    }
}

async fn send(address: &str, era: Era, method: &str, params: &str) -> Answer {
    let mut headers = vec![
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    let mut params = params.to_owned();
    let parsed: Value = serde_json::from_str(&params).unwrap();
    if era == Era::Modern {
        let meta = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",
            "io.modelcontextprotocol/clientCapabilities":{}}"#;
        let rest = params.trim_start().strip_prefix('{').unwrap().trim_start();
        let comma = if rest.starts_with('}') { "" } else { "," };
        params = format!("{meta}{comma}{rest}");
        headers.push(("mcp-protocol-version", "2026-07-28"));
        headers.push(("mcp-method", method));
        let name = ["name", "uri"].iter().find_map(|key| parsed[*key].as_str());
        headers.extend(name.map(|name| ("mcp-name", name)));
    } else {
        headers.push(("mcp-protocol-version", "2025-11-25"));
    }
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":{},"params":{params}}}"#,
        json!(method)
    );
    exchange(address, "POST", "/mcp", &headers, body.as_bytes()).await
}

/// A plain request; `ours.body` is sent instead of the recorded one.
async fn plain(address: &str, http: &Value, ours: &Value) -> Got {
    let http = expand(http);
    let text = |key: &str| http[key].as_str().unwrap();
    let given = http["headers"].as_object().cloned().unwrap_or_default();
    let headers: Vec<_> = given
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    let body = ours
        .get("body")
        .map_or_else(|| http["body"].clone(), expand);
    let body = body.as_str().unwrap_or_default().as_bytes();
    let answer = exchange(address, text("method"), text("path"), &headers, body).await;
    Got {
        status: answer.status,
        answer: parts(&answer),
    }
}

fn parts(answer: &Answer) -> Value {
    let headers: Map<String, Value> = answer
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    let kind = answer.headers.get("content-type");
    let body = if kind.is_some_and(|kind| kind.contains("json")) {
        answer.json()
    } else {
        json!(answer.text())
    };
    json!({"status": answer.status, "headers": headers, "body": body})
}
