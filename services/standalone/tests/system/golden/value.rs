//! Comparing a recorded value with ours: ours may have more members, never other values.

use serde_json::Value;

use crate::table::{repeated, short};

/// What is different, one line a place.
pub(crate) fn differences(recorded: &Value, ours: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(text) = repeated(recorded) {
        if ours.as_str() != Some(text.as_str()) {
            found.push(differs(at, recorded, ours));
        }
        return;
    }
    match (recorded, ours) {
        (Value::Object(recorded), Value::Object(_)) => {
            let block = recorded.get("type").is_some_and(|kind| kind == "text");
            for (key, value) in recorded {
                let at = format!("{at}/{key}");
                match ours.get(key) {
                    None => found.push(format!("{at}: missing, recorded {}", text_of(value))),
                    Some(ours) if block && key == "text" => texts(value, ours, &at, found),
                    Some(ours) => differences(value, ours, &at, found),
                }
            }
        }
        (Value::Array(all), Value::Array(others)) => {
            if all.len() == others.len() {
                for (index, (one, other)) in all.iter().zip(others).enumerate() {
                    differences(one, other, &format!("{at}/{index}"), found);
                }
            } else {
                found.push(differs(at, recorded, ours));
            }
        }
        (Value::String(pattern), _) if is_number(pattern) => {
            if ours.as_u64().is_none() {
                found.push(differs(at, recorded, ours));
            }
        }
        (Value::String(pattern), Value::String(text)) => {
            if !matches(pattern, text) {
                found.push(differs(at, recorded, ours));
            }
        }
        (Value::Number(one), Value::Number(other)) => {
            if one != other && one.as_f64() != other.as_f64() {
                found.push(differs(at, recorded, ours));
            }
        }
        _ => {
            if recorded != ours {
                found.push(differs(at, recorded, ours));
            }
        }
    }
}

/// The text of a block: as JSON when it is JSON.
fn texts(recorded: &Value, ours: &Value, at: &str, found: &mut Vec<String>) {
    let parsed = recorded.as_str().and_then(json_of);
    match (parsed, ours.as_str().and_then(json_of)) {
        (Some(recorded), Some(ours)) => differences(&recorded, &ours, at, found),
        (Some(_), None) => found.push(differs(at, recorded, ours)),
        (None, _) => differences(recorded, ours, at, found),
    }
}

/// The object or array that a text is.
pub(crate) fn json_of(text: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(text).ok()?;
    (value.is_object() || value.is_array()).then_some(value)
}

fn differs(at: &str, recorded: &Value, ours: &Value) -> String {
    format!(
        "{at}: recorded {}, got {}",
        text_of(recorded),
        text_of(ours)
    )
}

fn text_of(value: &Value) -> String {
    short(&value.to_string())
}

fn is_number(pattern: &str) -> bool {
    matches!(
        pattern,
        "<duration-ms>" | "<unix-seconds>" | "<uptime-seconds>"
    )
}

/// Whether a text is what a recorded one with placeholders stands for.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((literal, name, rest)) = placeholder(pattern) else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(literal) else {
        return false;
    };
    taken(name, text).is_some_and(|length| matches(rest, &text[length..]))
}

/// The first placeholder: what stands before it, its name, what follows.
fn placeholder(pattern: &str) -> Option<(&str, &str, &str)> {
    const NAMES: [&str; 6] = [
        "timestamp",
        "duration-ms",
        "unix-seconds",
        "uptime-seconds",
        "version",
        "request-id",
    ];
    pattern.match_indices('<').find_map(|(start, _)| {
        let (name, rest) = pattern[start + 1..].split_once('>')?;
        let known = NAMES.contains(&name) || name.starts_with("repeat ");
        known.then_some((&pattern[..start], name, rest))
    })
}

/// How many bytes of the text the placeholder stands for.
fn taken(name: &str, text: &str) -> Option<usize> {
    let run = |wanted: fn(char) -> bool| {
        let length = text.find(|c| !wanted(c)).unwrap_or(text.len());
        (length > 0).then_some(length)
    };
    match name {
        // 2026-11-21T00:00:00.000Z
        "timestamp" => {
            let time = text.get(..24)?;
            let milliseconds = time.as_bytes()[19] == b'.' && time.ends_with('Z');
            (milliseconds && time.parse::<jiff::Timestamp>().is_ok()).then_some(24)
        }
        "version" | "request-id" => run(|c| c.is_ascii_alphanumeric() || "._+-".contains(c)),
        _ => match name.strip_prefix("repeat ") {
            Some(what) => {
                let (one, times) = what.rsplit_once(' ')?;
                let whole = one.repeat(times.parse().ok()?);
                text.starts_with(&whole).then_some(whole.len())
            }
            None => run(|c| c.is_ascii_digit()),
        },
    }
}

#[test]
fn a_recorded_value_holds_only_for_what_it_stands_for() {
    let different = |recorded: Value, ours: Value| {
        let mut found = Vec::new();
        differences(&recorded, &ours, "", &mut found);
        !found.is_empty()
    };
    use serde_json::json;
    let block = |text: &str| json!({"type": "text", "text": text});
    assert!(!different(json!({"a": 1}), json!({"a": 1.0, "b": 2})));
    assert!(!different(
        json!("<timestamp>"),
        json!("2026-11-21T00:00:00.123Z")
    ));
    assert!(!different(json!("<duration-ms>"), json!(12)));
    assert!(!different(json!("a <repeat x 3> b"), json!("a xxx b")));
    assert!(!different(
        json!({"$repeat": "x", "$times": 3}),
        json!("xxx")
    ));
    assert!(!different(
        block("{\"d\":\"<duration-ms>\"}"),
        block("{\n \"d\": 3, \"e\": 0}")
    ));
    assert!(!different(
        block("took <duration-ms>ms\n1"),
        block("took 17ms\n1")
    ));
    assert!(different(json!({"a": 1}), json!({"b": 1})));
    assert!(different(json!([1]), json!([1, 2])));
    assert!(different(
        json!("<timestamp>"),
        json!("2026-11-21T00:00:00Z")
    ));
    assert!(different(json!("<timestamp>"), json!("<timestamp>")));
    assert!(different(json!("<duration-ms>"), json!(-1)));
    assert!(different(json!("<duration-ms>"), json!("<duration-ms>")));
    assert!(different(json!("a <repeat x 3> b"), json!("a xxxx b")));
    assert!(different(json!({"$repeat": "x", "$times": 3}), json!("xx")));
    assert!(different(block("{\"d\":1}"), block("{\"d\":2}")));
    assert!(different(block("{\"d\":1}"), block("no JSON")));
    assert!(different(block("took <duration-ms>ms"), block("took -1ms")));
    assert!(different(json!(null), json!(false)));
}
