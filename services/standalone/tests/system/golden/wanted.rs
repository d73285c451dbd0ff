//! The members of `ours`: what the contract wants where it is not what the Node server did.

use serde_json::{Value, json};

use super::compare::Got;
use super::value::{differences, json_of};
use crate::table::short;

/// Checks each member of `ours`. Without any, the request only has to be served.
pub(crate) fn check(ours: &Value, got: &Got, found: &mut Vec<String>) {
    let answer = &got.answer;
    let result = &answer["result"];
    let wanted: Vec<_> = ours
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !matches!(name.as_str(), "why" | "body"))
        .collect();
    if wanted.is_empty() && (!result.is_object() || result["isError"] == true) {
        found.push("not served".into());
    }
    for (name, wanted) in wanted {
        let holds = match name.as_str() {
            "code" => {
                result["isError"] == true
                    && result["structuredContent"]["ok"] == false
                    && &result["structuredContent"]["code"] == wanted
            }
            "error" | "result" => &result["structuredContent"][name] == wanted,
            "field" => texts(result).contains(wanted.as_str().unwrap()),
            "content" => part(wanted, &result["content"]),
            "logs" => {
                let printed = result["structuredContent"]["logs"].to_string();
                let mut wanted = wanted.as_array().unwrap().iter();
                wanted.all(|line| printed.contains(line.as_str().unwrap()))
            }
            "status" => wanted == &json!(got.status),
            "rpcCode" => {
                let body = if answer["body"].is_object() {
                    &answer["body"]
                } else {
                    answer
                };
                wanted.as_array().unwrap().contains(&body["error"]["code"])
            }
            "sections" => {
                let document = document(result);
                let mut names = wanted.as_array().unwrap().iter();
                names.all(|name| document.get(name.as_str().unwrap()).is_some())
            }
            "scope" => {
                let document = document(result);
                let scopes = document["scopes"].as_array().cloned();
                scopes.iter().flatten().any(|scope| part(wanted, scope))
            }
            "message" => {
                let text = answer["body"].as_str().unwrap_or_default();
                let data = text.lines().find_map(|line| line.strip_prefix("data:"));
                let event = data.and_then(json_of);
                part(wanted, event.as_ref().unwrap_or(&answer["body"]))
            }
            _ => {
                found.push(format!(
                    "the table says {name:?}, which is no member of ours"
                ));
                continue;
            }
        };
        if !holds {
            found.push(format!("ours.{name} wants {}", short(&wanted.to_string())));
        }
    }
}

fn part(wanted: &Value, ours: &Value) -> bool {
    let mut found = Vec::new();
    differences(wanted, ours, "", &mut found);
    found.is_empty()
}

/// The texts of a result that a person reads.
fn texts(result: &Value) -> String {
    let blocks = result["content"].as_array().cloned().unwrap_or_default();
    let texts: Vec<_> = blocks
        .iter()
        .filter_map(|block| block["text"].as_str().map(str::to_owned))
        .collect();
    texts.join("\n")
}

/// The JSON that a tool or a resource answers.
fn document(result: &Value) -> Value {
    if result["structuredContent"].is_object() {
        return result["structuredContent"].clone();
    }
    let text = result["contents"][0]["text"].as_str();
    text.and_then(json_of).unwrap_or_default()
}
