//! `dev.echo`.

use domain::Result;
use serde::Serialize;
use serde_json::Value;

use super::{Answer, Definition, Hints, Invocation, Kind};
use crate::settings::Profile;

pub(super) const DEFINITION: Definition = Definition {
    kind: Kind::Echo,
    name: "dev.echo",
    title: "Developer Echo",
    description: "Echo user input and return deterministic structured output",
    input: r#"{"type":"object","properties":{
        "message":{"type":"string","minLength":1,"description":"Message to echo back"},
        "uppercase":{"type":"boolean","default":false,
        "description":"Convert the message to upper case"}},
        "required":["message"],"additionalProperties":false}"#,
    output: r#"{"type":"object","properties":{
        "message":{"type":"string"},
        "length":{"type":"integer","minimum":0,"description":"In UTF-16 code units"}},
        "required":["message","length"],"additionalProperties":false}"#,
    hints: Hints::READS,
    profile: Profile::Enterprise,
};

#[derive(Serialize)]
struct Echo<'a> {
    message: &'a str,
    length: usize,
}

pub(super) fn run(invocation: &Invocation<'_>) -> Result<Answer> {
    let message = invocation.value["message"].as_str().unwrap_or_default();
    let upper = match invocation.value["uppercase"] {
        Value::Bool(true) => Some(message.to_uppercase()),
        _ => None,
    };
    let message = upper.as_deref().unwrap_or(message);
    // JavaScript counts UTF-16 units, and so did the Node server.
    Answer::with_text(
        message,
        &Echo {
            message,
            length: message.encode_utf16().count(),
        },
    )
}
