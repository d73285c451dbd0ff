//! What every answer has to keep, whatever was recorded: the rules of its era, and the
//! `outputSchema` that the server lists.

use std::collections::BTreeMap;

use domain::RawValue;
use domain::schema::{Role, Schema};
use serde_json::Value;
use testkit::mcp::{Client, Era};

use super::compare::Got;

/// The rules for the answers of one server.
pub(crate) struct Protocol {
    era: Era,
    /// By tool.
    outputs: BTreeMap<String, Schema>,
}

impl Protocol {
    /// With the schemas that the server lists now.
    pub(crate) async fn of(client: &Client) -> Self {
        let list = client.result("tools/list", serde_json::json!({})).await;
        let schema = |tool: &Value| {
            let name = tool["name"].as_str().unwrap().to_owned();
            let text = RawValue::from_string(tool.get("outputSchema")?.to_string()).unwrap();
            Some((name, Schema::compile(Role::Output, &text).unwrap()))
        };
        let outputs: BTreeMap<String, Schema> = list["tools"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(schema)
            .collect();
        assert!(outputs.contains_key("dynamic.tool.create"));
        Self {
            era: client.era,
            outputs,
        }
    }

    /// Whether the method was taken out of the era, so that nothing recorded can hold.
    pub(crate) fn removed(&self, step: &Value) -> bool {
        let method = step["request"]["method"].as_str();
        self.era == Era::Modern && matches!(method, Some("ping" | "logging/setLevel"))
    }

    /// What is wrong with an answer.
    pub(crate) fn faults(&self, step: &Value, got: &Got, found: &mut Vec<String>) {
        let Some(method) = step["request"]["method"].as_str() else {
            return;
        };
        let (code, result) = (&got.answer["error"]["code"], &got.answer["result"]);
        if self.removed(step) && code != -32601 {
            found.push("the era has no such method".into());
        }
        // The modern era has a status of its own for a method that is none.
        let modern = self.era == Era::Modern;
        let status = if modern && code == -32601 { 404 } else { 200 };
        if got.status != status {
            found.push(format!("status {}, expected {status}", got.status));
        }
        if modern && result.is_object() {
            if result["resultType"] != "complete" {
                found.push("resultType is not complete".into());
            }
            // A list is only good until the next change, and it depends on the caller.
            let cached = method.ends_with("/list") || method == "resources/read";
            if cached && (result["ttlMs"] != 0 || result["cacheScope"] != "private") {
                found.push("expected ttlMs 0 and cacheScope private".into());
            }
        }
        self.output(step, result, found);
    }

    /// Clients check `structuredContent` also when `isError` is set.
    fn output(&self, step: &Value, result: &Value, found: &mut Vec<String>) {
        let name = step["request"]["params"]["name"].as_str();
        let schema = name.and_then(|name| self.outputs.get(name));
        let (Some(schema), true) = (schema, result.is_object()) else {
            return;
        };
        match result.get("structuredContent") {
            Some(content) => {
                if let Err(violation) = schema.check(content) {
                    found.push(format!("outputSchema: {violation:?}"));
                }
            }
            None if result["isError"] == true => {}
            None => found.push("outputSchema, but no structuredContent".into()),
        }
    }
}
