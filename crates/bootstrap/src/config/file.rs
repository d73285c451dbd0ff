//! A configuration file: TOML, JSON or YAML by its extension, flattened to `section.key`.

use std::path::Path;

use serde_json::Value as Json;

use super::value::Raw;

/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// One value of the file.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// As written: `http.maxRequestBytes`.
    pub(crate) path: String,
    /// `None` for what no key can be: a table inside a list, a null.
    pub(crate) raw: Option<Raw>,
    /// A list of tables, as JSON.
    pub(crate) tables: Option<String>,
}

/// The same key in every spelling: `http.max_request_bytes` is `http.maxRequestBytes`.
pub(crate) fn normalised(path: &str) -> String {
    path.chars()
        .filter(|c| !matches!(c, '_' | '-'))
        .flat_map(char::to_lowercase)
        .collect()
}

/// Reads and flattens a file. The error is a clause for after the file's name.
pub(crate) fn read(path: &Path) -> Result<Vec<Entry>, String> {
    let size = std::fs::metadata(path)
        .map_err(|why| format!("cannot be read: {why}"))?
        .len();
    if size > MAX_BYTES {
        return Err(format!("is larger than {MAX_BYTES} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(|why| format!("cannot be read: {why}"))?;
    let extension = path
        .extension()
        .map(|e| e.to_string_lossy().to_ascii_lowercase());
    let tree = match extension.as_deref() {
        Some("toml") => toml::from_str(&text).map_err(|why| not_toml(&text, &why))?,
        Some("json") => serde_json::from_str(&text).map_err(|why| format!("is not JSON: {why}"))?,
        Some("yaml" | "yml") => {
            serde_yaml_ng::from_str(&text).map_err(|why| format!("is not YAML: {why}"))?
        }
        _ => return Err(String::from("does not end in .toml, .json, .yaml or .yml")),
    };
    let mut entries = Vec::new();
    match tree {
        Json::Object(_) => flatten("", &tree, &mut entries),
        // An empty YAML file.
        Json::Null => {}
        _ => return Err(String::from("does not hold sections of keys")),
    }
    Ok(entries)
}

/// The full text of a TOML error repeats the line, which may hold a secret.
fn not_toml(text: &str, why: &toml::de::Error) -> String {
    let at = why.span().map_or(0, |span| span.start);
    let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
    format!("is not TOML: line {line}: {}", why.message())
}

fn flatten(prefix: &str, value: &Json, entries: &mut Vec<Entry>) {
    let Json::Object(fields) = value else {
        entries.push(Entry {
            path: prefix.to_owned(),
            raw: raw(value),
            tables: tables(value),
        });
        return;
    };
    for (name, value) in fields {
        let path = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        flatten(&path, value, entries);
    }
}

/// A list with tables in it, for the keys that hold such.
fn tables(value: &Json) -> Option<String> {
    let items = value.as_array()?;
    items.iter().any(Json::is_object).then(|| value.to_string())
}

fn raw(value: &Json) -> Option<Raw> {
    match value {
        Json::Array(items) => items
            .iter()
            .map(scalar)
            .collect::<Option<_>>()
            .map(Raw::List),
        other => scalar(other).map(Raw::Text),
    }
}

fn scalar(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Bool(_) | Json::Number(_) => Some(value.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}
