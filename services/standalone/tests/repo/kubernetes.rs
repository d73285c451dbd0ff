//! The manifests of `deploy/k8s`, read as data: rows 105 to 107 of the threats, the settings in them, and
//! the figures that operators were promised. Schemas and the chart are checked by `deploy/k8s/check`.

#[path = "kubernetes/edges.rs"]
mod edges;
#[path = "kubernetes/figures.rs"]
mod figures;
#[path = "kubernetes/policies.rs"]
mod policies;
#[path = "kubernetes/restricted.rs"]
mod restricted;
#[path = "kubernetes/settings.rs"]
mod settings;

use std::path::PathBuf;

use serde::Deserialize as _;
use serde_json::Value;

use super::root;

/// The namespace of gateway and registry.
const OWN: &str = "dynamic-mcp";

/// The namespace of executors that have the Docker socket of their node.
const EXECUTORS: &str = "dynamic-mcp-executors";

fn folder() -> PathBuf {
    root().join("deploy/k8s")
}

/// The documents of one file.
fn documents(text: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|document| !document.is_null())
        .collect()
}

/// The documents of one file of the folder.
fn file(name: &str) -> Vec<Value> {
    let found = documents(&std::fs::read_to_string(folder().join(name)).unwrap());
    assert!(!found.is_empty(), "{name} is empty");
    found
}

/// The documents of every manifest.
fn all() -> Vec<Value> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("dynamic-mcp-") && name.ends_with(".yaml") {
            found.extend(file(&name));
        }
    }
    found
}

/// Text at a JSON pointer; empty when there is none.
fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn kind(document: &Value) -> &str {
    text(document, "/kind")
}

fn name(document: &Value) -> &str {
    text(document, "/metadata/name")
}

fn namespace(document: &Value) -> &str {
    text(document, "/metadata/namespace")
}

fn list<'a>(document: &'a Value, pointer: &str) -> &'a [Value] {
    document
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The Deployments: one for each program, and one for each pool of executors.
fn deployments() -> Vec<Value> {
    let found: Vec<Value> = all()
        .into_iter()
        .filter(|document| kind(document) == "Deployment")
        .collect();
    assert_eq!(found.len(), 5, "gateway, registry and three pools");
    found
}

/// The object of this kind, namespace and name.
fn object(documents: &[Value], wanted: &str, place: &str, called: &str) -> Value {
    let found: Vec<&Value> = documents
        .iter()
        .filter(|document| {
            kind(document) == wanted && namespace(document) == place && name(document) == called
        })
        .collect();
    assert_eq!(found.len(), 1, "{wanted} {place}/{called}");
    found[0].clone()
}
