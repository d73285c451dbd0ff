//! What is recorded of operations of sandbox sessions: which session, and what was wanted of it.
//!
//! A session is named by the fingerprint of its handle, never by the handle. Commands are recorded as
//! text, since what was typed is what an investigation asks for first: shortened, and with what looks
//! like a secret replaced. Files are recorded by path, size and SHA-256, code by its SHA-256,
//! variables by name. Contents of files, values of variables and output are never recorded.

use domain::SessionId;
use domain::audit::Action;
use domain::audit::redact::redact_text;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Longest text of one command, in characters, so that twenty of them fit into one record.
const COMMAND_CHARS: usize = 500;
/// Most commands, names of variables and packages of one record; the schema allows no more.
const MOST: usize = 64;
/// Longest path and other text, in characters.
const TEXT_CHARS: usize = 1_024;

/// Whether the action is one of sandbox sessions.
pub(super) fn is_of_sandboxes(action: Action) -> bool {
    action.as_str().starts_with("sandbox.")
}

/// The session that is aimed at, and what is wanted, from arguments that nobody has checked yet.
pub(super) fn asked(action: Action, arguments: &Value) -> (Option<String>, Map<String, Value>) {
    let session = arguments["sessionId"].as_str();
    let session = session
        .and_then(|text| SessionId::parse(text).ok())
        .map(|id| id.fingerprint());
    let mut details = Map::new();
    let mut note = |key: &str, value: Value| {
        if !value.is_null() {
            details.insert(key.to_owned(), value);
        }
    };
    match action {
        Action::SandboxInitialize => {
            note("image", text(&arguments["image"]));
            note("network", text(&arguments["network"]));
            note("runtime", text(&arguments["runtime"]));
            let names = arguments["env"].as_object();
            let names = names.map(|env| env.keys().take(MOST).map(|name| cut(name, 128)));
            note(
                "envNames",
                names.map_or(Value::Null, |names| json!(names.collect::<Vec<_>>())),
            );
            note("dependencies", dependencies(&arguments["dependencies"]));
        }
        Action::SandboxExec => {
            let commands = arguments["commands"].as_array().into_iter().flatten();
            let commands = commands.filter_map(Value::as_str).take(MOST).map(command);
            note("commands", commands.collect());
        }
        Action::SandboxFilesWrite => {
            note("path", text(&arguments["path"]));
            if let Some(content) = arguments["content"].as_str() {
                note("contentBytes", json!(content.len()));
                note("contentSha256", json!(hex::encode(Sha256::digest(content))));
            }
        }
        Action::SandboxFilesRead | Action::SandboxFilesList => {
            note("path", text(&arguments["path"]));
        }
        _ => {}
    }
    (session, details)
}

fn command(command: &str) -> Value {
    let shown = redact_text(command);
    if shown.chars().count() <= COMMAND_CHARS {
        return json!(shown);
    }
    let digest = hex::encode(Sha256::digest(command));
    json!(format!(
        "{}… ({} bytes, sha256 {digest})",
        cut(&shown, COMMAND_CHARS),
        command.len()
    ))
}

fn dependencies(list: &Value) -> Value {
    let Some(list) = list.as_array() else {
        return Value::Null;
    };
    let shown = list.iter().take(MOST).map(|one| {
        let part = |key: &str| {
            one[key]
                .as_str()
                .map_or_else(String::new, |text| cut(text, 128))
        };
        json!(format!("{}@{}", part("name"), part("version")))
    });
    shown.collect()
}

fn text(value: &Value) -> Value {
    value
        .as_str()
        .map_or(Value::Null, |text| json!(cut(text, TEXT_CHARS)))
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}
