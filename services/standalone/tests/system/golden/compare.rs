//! The `compare` kinds of a step, as the README beside the recordings defines them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::value::{differences, json_of};
use super::wanted;
use crate::table::short;

/// What a step got.
pub(crate) struct Got {
    pub(crate) status: u16,
    /// Headers and body of a plain request; `{result}` or `{error}` of the others.
    pub(crate) answer: Value,
}

/// What is wrong with the answer to a step. `created` are the names of the tools that the group
/// makes.
pub(crate) fn faults(step: &Value, got: &Got, created: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let (recorded, answer) = (&step["response"], &got.answer);
    let kind = step["compare"].as_str().unwrap();
    match kind {
        "equal" => differences(recorded, answer, "", &mut found),
        "structured" => structured(recorded, answer, &mut found),
        "refusal" => {
            if answer["result"]["isError"] != true {
                found.push("not refused".into());
            }
            wanted::check(&step["ours"], got, &mut found);
        }
        "unknown-tool" => {
            wanted::check(&json!({"rpcCode": [-32602]}), got, &mut found);
        }
        "rpc-error" | "differs" => wanted::check(&step["ours"], got, &mut found),
        "tools" => tools(recorded, answer, created, &mut found),
        "names" => names(&recorded["result"], &answer["result"], &mut found),
        "resource" => resource(recorded, answer, &mut found),
        "metrics" => metrics(recorded, answer, &mut found),
        other => found.push(format!(
            "the table says compare {other:?}, which is no kind"
        )),
    }
    found
}

/// `isError` and `structuredContent` as recorded; texts only in number.
fn structured(recorded: &Value, answer: &Value, found: &mut Vec<String>) {
    let mut recorded = recorded["result"].clone();
    let texts = recorded["content"].as_array().map_or(0, Vec::len);
    let members = recorded.as_object_mut().unwrap();
    members.remove("content");
    differences(&recorded, &answer["result"], "/result", found);
    let ours = answer["result"]["content"].as_array().map_or(0, Vec::len);
    if ours != texts {
        found.push(format!("{texts} content blocks recorded, got {ours}"));
    }
}

fn tools(recorded: &Value, answer: &Value, created: &BTreeSet<String>, found: &mut Vec<String>) {
    let listed = answer["result"]["tools"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let named = |name: &str| listed.iter().find(|tool| tool["name"] == name);
    let mut recorded_names = BTreeSet::new();
    for tool in recorded["result"]["tools"].as_array().unwrap() {
        let name = tool["name"].as_str().unwrap();
        recorded_names.insert(name);
        let Some(ours) = named(name) else {
            found.push(format!("{name} is not listed"));
            continue;
        };
        differences(
            &tool["title"],
            &ours["title"],
            &format!("{name}/title"),
            found,
        );
        let at = format!("{name}/inputSchema");
        schema(&tool["inputSchema"], &ours["inputSchema"], &at, found);
    }
    for name in created {
        if !recorded_names.contains(name.as_str()) && named(name).is_some() {
            found.push(format!("{name} is listed, recorded without"));
        }
    }
}

/// What the README says is looser: stored tools may be Python, whose packages npm would not name so;
/// a session may be left alone for longer than a call may take.
fn is_looser(rule: &str, at: &str) -> bool {
    let package = at.ends_with("/dependencies/items/name");
    let idle = rule == "maximum" && at == "sandbox.initialize/inputSchema/timeoutMs";
    idle || rule == "pattern" && package && at.starts_with("dynamic.tool.")
}

/// Every recorded property with its type, bounds, pattern and default; the same `required`.
fn schema(recorded: &Value, ours: &Value, at: &str, found: &mut Vec<String>) {
    const RULES: [&str; 13] = [
        "type",
        "enum",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "pattern",
        "default",
        "additionalProperties",
    ];
    for rule in RULES {
        let Some(value) = recorded.get(rule) else {
            continue;
        };
        // A map of anything is said in more than one way.
        if rule == "additionalProperties" && (value == &json!({}) || value == &json!(true)) {
            if ours.get(rule) == Some(&json!(false)) {
                found.push(format!("{at}/{rule}: recorded open, got false"));
            }
        } else if rule != "additionalProperties" && !is_looser(rule, at) {
            let ours = ours.get(rule).unwrap_or(&Value::Null);
            differences(value, ours, &format!("{at}/{rule}"), found);
        }
    }
    let names = |schema: &Value| -> BTreeSet<String> {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        required.iter().map(ToString::to_string).collect()
    };
    if names(recorded) != names(ours) {
        let (one, other) = (names(recorded), names(ours));
        found.push(format!("{at}/required: recorded {one:?}, got {other:?}"));
    }
    if let Some(properties) = recorded["properties"].as_object() {
        for (name, property) in properties {
            let at = format!("{at}/{name}");
            match ours["properties"].get(name) {
                Some(ours) => schema(property, ours, &at, found),
                None => found.push(format!("{at}: missing")),
            }
        }
    }
    if recorded["items"].is_object() {
        schema(
            &recorded["items"],
            &ours["items"],
            &format!("{at}/items"),
            found,
        );
    }
}

/// The entries of a list by what a client picks them by.
fn names(recorded: &Value, answer: &Value, found: &mut Vec<String>) {
    for (list, entries) in recorded.as_object().unwrap() {
        let ours = answer[list].as_array().cloned().unwrap_or_default();
        for entry in entries.as_array().unwrap() {
            let Some(ours) = ours.iter().find(|ours| ours["name"] == entry["name"]) else {
                found.push(format!("{list}: {} is not listed", entry["name"]));
                continue;
            };
            for key in ["uri", "title", "mimeType", "arguments"] {
                if let Some(value) = entry.get(key) {
                    let at = format!("{list}/{}/{key}", entry["name"]);
                    let ours = ours.get(key).unwrap_or(&Value::Null);
                    differences(value, ours, &at, found);
                }
            }
        }
    }
}

fn resource(recorded: &Value, answer: &Value, found: &mut Vec<String>) {
    let (one, other) = (
        &recorded["result"]["contents"][0],
        &answer["result"]["contents"][0],
    );
    for key in ["uri", "mimeType"] {
        differences(&one[key], &other[key], key, found);
    }
    let parsed = |value: &Value| value["text"].as_str().and_then(json_of);
    match (parsed(one), parsed(other)) {
        (Some(mut recorded), Some(ours)) => {
            recorded.as_object_mut().unwrap().remove("version");
            differences(&recorded, &ours, "text", found);
        }
        _ => found.push(format!("no JSON: {}", short(&other.to_string()))),
    }
}

/// Each recorded metric with its type.
fn metrics(recorded: &Value, answer: &Value, found: &mut Vec<String>) {
    let types = |value: &Value| -> BTreeSet<String> {
        let text = value["body"].as_str().unwrap_or_default();
        let lines = text.lines().filter(|line| line.starts_with("# TYPE "));
        lines.map(str::to_owned).collect()
    };
    let (recorded, ours) = (types(recorded), types(answer));
    assert!(!recorded.is_empty());
    found.extend(
        recorded
            .difference(&ours)
            .map(|line| format!("missing: {line}")),
    );
}
