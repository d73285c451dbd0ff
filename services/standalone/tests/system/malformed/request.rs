//! The bytes of a case: what an HTTP client would repair goes out as the table says it.

use base64::Engine as _;
use serde_json::{Map, Value, json};

use crate::table::{expand, joined};

/// The protocol version of the modern era.
const MODERN: &str = "2026-07-28";

/// The bytes of a case's request to the server at this port, and its `x-request-id`.
pub(crate) fn bytes(case: &Value, port: &str) -> (Vec<u8>, Option<String>) {
    let modern = case["era"] == MODERN;
    let message = message(case, modern);
    let body = match &message {
        Some(message) => Some(message.to_string().into_bytes()),
        None => raw_body(case),
    };
    let method = case["method"].as_str().unwrap_or("POST");
    let path = case.get("path").map_or_else(|| "/mcp".to_owned(), joined);

    let mut headers: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: &str| headers.push((name.to_owned(), value.to_owned()));
    add("Host", "127.0.0.1:{port}");
    add("Accept", "application/json, text/event-stream");
    if method == "POST" || body.is_some() {
        add("Content-Type", "application/json");
    }
    add("MCP-Protocol-Version", case["era"].as_str().unwrap());
    if modern && let Some(message) = &message {
        if let Some(method) = message["method"].as_str() {
            add("Mcp-Method", &as_header(method));
        }
        if let Some(name) = named(message) {
            add("Mcp-Name", &as_header(name));
        }
    }
    if let Some(body) = &body {
        add("Content-Length", &body.len().to_string());
    }
    add("Connection", "close");
    let changes = case["headers"].as_object();
    for name in changes.iter().flat_map(|changes| changes.keys()) {
        headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }
    for (name, change) in changes.into_iter().flatten() {
        match expand(change) {
            Value::Null => {}
            Value::Array(values) => {
                let values = values
                    .iter()
                    .map(|value| value.as_str().unwrap().to_owned());
                headers.extend(values.map(|value| (name.clone(), value)));
            }
            value => headers.push((name.clone(), value.as_str().unwrap().to_owned())),
        }
    }
    let given = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("x-request-id"))
        .map(|(_, value)| value.clone());
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {}\r\n", value.replace("{port}", port)));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend(body.unwrap_or_default());
    (bytes, given)
}

/// The message of `rpc` or `json`, with the metadata of the modern era.
fn message(case: &Value, modern: bool) -> Option<Value> {
    let mut message = if let Some(rpc) = case.get("rpc") {
        let mut message = json!({"jsonrpc": "2.0", "id": 1});
        let members = expand(rpc);
        for (key, value) in members.as_object().unwrap() {
            message[key] = value.clone();
        }
        if modern && message.get("params").is_none() {
            message["params"] = json!({});
        }
        message
    } else {
        expand(case.get("json")?)
    };
    if !modern || case.get("meta") == Some(&Value::Null) {
        return Some(message);
    }
    if let Some(params) = message.get_mut("params").and_then(Value::as_object_mut) {
        let mut meta = Map::new();
        let prefix = "io.modelcontextprotocol";
        meta.insert(format!("{prefix}/protocolVersion"), json!(MODERN));
        meta.insert(format!("{prefix}/clientCapabilities"), json!({}));
        let client = json!({"name": "malformed", "version": "1"});
        meta.insert(format!("{prefix}/clientInfo"), client);
        for (key, change) in case["meta"].as_object().into_iter().flatten() {
            match expand(change) {
                Value::Null => {
                    meta.remove(key);
                }
                value => {
                    meta.insert(key.clone(), value);
                }
            }
        }
        params.entry("_meta").or_insert(Value::Object(meta));
    }
    Some(message)
}

fn raw_body(case: &Value) -> Option<Vec<u8>> {
    if let Some(hex) = case["bodyHex"].as_str() {
        let pairs = hex.as_bytes().chunks(2);
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        return Some(pairs.map(byte).collect());
    }
    case.get("body").map(|body| joined(body).into_bytes())
}

/// What the `Mcp-Name` header repeats.
fn named(message: &Value) -> Option<&str> {
    let params = &message["params"];
    match message["method"].as_str()? {
        "tools/call" | "prompts/get" => params["name"].as_str(),
        "resources/read" => params["uri"].as_str(),
        _ => None,
    }
}

/// A value as a header: in the base64 form of the specification where it cannot be one as it is.
fn as_header(value: &str) -> String {
    let plain = value.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        && value.trim() == value
        && !value.starts_with("=?base64?");
    if plain {
        value.to_owned()
    } else {
        let encoded = base64::engine::general_purpose::STANDARD.encode(value);
        format!("=?base64?{encoded}?=")
    }
}
