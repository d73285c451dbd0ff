//! What must hold for the answer to a case, as the README beside the table defines it.

use serde_json::Value;
use testkit::http::Answer;

/// The answer to a case.
pub(crate) struct Got {
    pub(crate) answer: Answer,
    /// The last JSON-RPC message of the body.
    pub(crate) message: Value,
    /// The `x-request-id` that was sent.
    pub(crate) given: Option<String>,
}

impl Got {
    pub(crate) fn new(answer: Answer, given: Option<String>) -> Self {
        let kind = answer
            .headers
            .get("content-type")
            .map_or("", String::as_str);
        let text = answer.text();
        let event = text.lines().filter_map(|line| line.strip_prefix("data:"));
        let json = if kind.starts_with("text/event-stream") {
            event.map(str::trim).rfind(|data| !data.is_empty())
        } else {
            Some(text.as_str())
        };
        let message = json.and_then(|json| serde_json::from_str(json).ok());
        Self {
            message: message.unwrap_or_default(),
            answer,
            given,
        }
    }
}

/// What of `expect` does not hold. A list: the faults of the entry that holds best, none if one holds.
pub(crate) fn faults(expect: &Value, got: &Got) -> Vec<String> {
    let Some(entries) = expect.as_array() else {
        return one(expect, got);
    };
    let all = entries.iter().map(|entry| one(entry, got));
    all.min_by_key(Vec::len).unwrap()
}

fn one(expect: &Value, got: &Got) -> Vec<String> {
    let mut found = Vec::new();
    let (error, result) = (&got.message["error"], &got.message["result"]);
    for (key, wanted) in expect.as_object().unwrap() {
        let holds = match key.as_str() {
            "status" => among(wanted, &Value::from(got.answer.status)),
            "rpcCode" => among(wanted, &error["code"]),
            "id" => got.message.get("id") == Some(wanted),
            "toolCode" => {
                let content = &result["structuredContent"];
                result["isError"] == true && among(wanted, &content["code"])
            }
            "result" => result.is_object() && result["isError"] != true,
            "contains" => wanted.as_array().unwrap().iter().all(|text| match text {
                Value::Array(any) => any.iter().any(|text| got.contains(text)),
                text => got.contains(text),
            }),
            "data" => wanted
                .as_object()
                .unwrap()
                .iter()
                .all(|(key, value)| error["data"].get(key) == Some(value)),
            "dataHas" => wanted.as_object().unwrap().iter().all(|(key, value)| {
                let list = error["data"][key].as_array();
                list.is_some_and(|list| list.contains(value))
            }),
            "maxBytes" => got.answer.body.len() as u64 <= wanted.as_u64().unwrap(),
            "noHeader" => !got.answer.headers.contains_key(wanted.as_str().unwrap()),
            "requestId" => got.request_id(wanted.as_str().unwrap()),
            // Looked up by the driver.
            "notCreated" => true,
            _ => false,
        };
        if !holds {
            found.push(format!("expected {key} {wanted}"));
        }
    }
    found
}

fn among(wanted: &Value, value: &Value) -> bool {
    match wanted {
        Value::Array(any) => any.contains(value),
        one => one == value,
    }
}

impl Got {
    fn contains(&self, wanted: &Value) -> bool {
        occurs(&self.message, wanted.as_str().unwrap())
    }

    fn request_id(&self, wanted: &str) -> bool {
        let ours = self.answer.headers.get("x-request-id");
        let same = ours == self.given.as_ref();
        ours.is_some_and(|ours| !ours.is_empty())
            && match wanted {
                "given" => same,
                "made" => !same,
                "any" => true,
                _ => false,
            }
    }
}

/// Whether the text occurs in a key or a text of the JSON.
fn occurs(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text.contains(wanted),
        Value::Array(values) => values.iter().any(|value| occurs(value, wanted)),
        Value::Object(members) => members
            .iter()
            .any(|(key, value)| key.contains(wanted) || occurs(value, wanted)),
        other => other.to_string().contains(wanted),
    }
}
