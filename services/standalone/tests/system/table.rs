//! What the recorded tables have in common: where they are, and the short forms in them.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// A file or folder beside this binary's sources.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

/// Reads a table.
pub(crate) fn read(name: &str) -> Value {
    let text = std::fs::read_to_string(path(name)).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The text that `{"$repeat": "x", "$times": 3}` stands for.
pub(crate) fn repeated(value: &Value) -> Option<String> {
    let text = value.get("$repeat")?.as_str()?;
    Some(text.repeat(times(value)))
}

fn times(value: &Value) -> usize {
    let times = value["$times"].as_u64().unwrap();
    usize::try_from(times).unwrap()
}

/// The value with `$repeat` and `$list` written out.
pub(crate) fn expand(value: &Value) -> Value {
    if let Some(text) = repeated(value) {
        return Value::String(text);
    }
    match value {
        Value::Object(members) => {
            if let Some(one) = members.get("$list") {
                return Value::Array(vec![expand(one); times(value)]);
            }
            let expanded: Map<String, Value> = members
                .iter()
                .map(|(key, value)| (key.clone(), expand(value)))
                .collect();
            Value::Object(expanded)
        }
        Value::Array(values) => values.iter().map(expand).collect(),
        _ => value.clone(),
    }
}

/// A text, or a list of texts that is joined.
pub(crate) fn joined(value: &Value) -> String {
    match expand(value) {
        Value::Array(parts) => parts.iter().map(|part| part.as_str().unwrap()).collect(),
        Value::String(text) => text,
        other => panic!("not a text: {other}"),
    }
}

/// A value for a message: not longer than a few lines.
pub(crate) fn short(value: &str) -> String {
    const LONGEST: usize = 700;
    match value.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}... ({} bytes)", &value[..end], value.len()),
        None => value.to_owned(),
    }
}

/// Fails with every failure at once.
#[track_caller]
pub(crate) fn report(failures: &[String], of: usize) {
    assert!(of > 0, "the table is empty");
    assert!(
        failures.is_empty(),
        "{} of {of} cases:\n\n{}\n",
        failures.len(),
        failures.join("\n\n")
    );
}
