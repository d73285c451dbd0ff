//! Whether what a tool returned as MCP content is MCP content.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// Checks every block of a `content` array.
///
/// # Errors
/// A sentence that names the index of the first block that is none, and what is wrong with it.
pub(crate) fn check(blocks: &[Value]) -> Result<(), String> {
    blocks.iter().enumerate().try_for_each(|(at, block)| {
        check_block(block).map_err(|why| format!("content[{at}] {why}"))
    })
}

fn check_block(block: &Value) -> Result<(), String> {
    let Some(block) = block.as_object() else {
        return Err("is not an object".to_owned());
    };
    match block.get("type").and_then(Value::as_str) {
        Some("text") => text(block, "text").map(drop)?,
        Some("image" | "audio") => {
            binary(block, "data")?;
            text(block, "mimeType")?;
        }
        Some("resource") => embedded(block)?,
        Some("resource_link") => {
            text(block, "uri")?;
            text(block, "name")?;
        }
        Some(other) => {
            let shown: String = other.chars().take(40).collect();
            return Err(format!("has the unknown type {shown:?}"));
        }
        None => return Err("has no type".to_owned()),
    }
    for member in ["annotations", "_meta"] {
        if block.get(member).is_some_and(|value| !value.is_object()) {
            return Err(format!("has {member} that is not an object"));
        }
    }
    Ok(())
}

fn embedded(block: &Map<String, Value>) -> Result<(), String> {
    let Some(resource) = block.get("resource").and_then(Value::as_object) else {
        return Err("has no object resource".to_owned());
    };
    text(resource, "uri")?;
    if resource.contains_key("mimeType") {
        text(resource, "mimeType")?;
    }
    match (resource.contains_key("text"), resource.contains_key("blob")) {
        (true, false) => text(resource, "text").map(drop),
        (false, true) => binary(resource, "blob"),
        _ => Err("has a resource without exactly one of text and blob".to_owned()),
    }
}

fn text<'a>(of: &'a Map<String, Value>, member: &str) -> Result<&'a str, String> {
    of.get(member)
        .and_then(Value::as_str)
        .ok_or_else(|| format!("has no string {member}"))
}

fn binary(of: &Map<String, Value>, member: &str) -> Result<(), String> {
    let data = text(of, member)?;
    STANDARD
        .decode(data)
        .map(drop)
        .map_err(|_| format!("has {member} that is not base64"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_kind_of_block_is_known() {
        let good = [
            json!({"type": "text", "text": ""}),
            json!({"type": "text", "text": "x", "annotations": {"priority": 1}, "_meta": {}}),
            json!({"type": "image", "data": "aGk=", "mimeType": "image/png"}),
            json!({"type": "audio", "data": "", "mimeType": "audio/wav"}),
            json!({"type": "resource", "resource": {"uri": "a:b", "text": "x"}}),
            json!({"type": "resource", "resource": {"uri": "a:b", "blob": "aGk=", "mimeType": "x/y"}}),
            json!({"type": "resource_link", "uri": "a:b", "name": "n"}),
        ];
        assert_eq!(check(&good), Ok(()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_index() {
        for (bad, why) in [
            (json!("text"), "is not an object"),
            (json!({"text": "x"}), "has no type"),
            (json!({"type": "video"}), "unknown type \"video\""),
            (json!({"type": "text"}), "no string text"),
            (json!({"type": "text", "text": 1}), "no string text"),
            (json!({"type": "text", "text": "x", "_meta": 1}), "_meta"),
            (
                json!({"type": "image", "data": "aGk="}),
                "no string mimeType",
            ),
            (
                json!({"type": "image", "data": "!", "mimeType": "a/b"}),
                "not base64",
            ),
            (
                json!({"type": "resource", "resource": "x"}),
                "no object resource",
            ),
            (
                json!({"type": "resource", "resource": {"uri": "a:b"}}),
                "exactly one of",
            ),
            (
                json!({"type": "resource_link", "uri": "a:b"}),
                "no string name",
            ),
        ] {
            let told = check(&[json!({"type": "text", "text": "fine"}), bad]).unwrap_err();
            assert!(
                told.starts_with("content[1] ") && told.contains(why),
                "{told}"
            );
        }
    }
}
