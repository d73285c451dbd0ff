//! `sandbox.files.write`, `.read` and `.list`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::session::FILE_BYTES;
use domain::{Error, Result, SessionId};
use serde::{Deserialize, Serialize};

use super::sandbox::{path_property, session_property};
use super::view::admin_property;
use super::{Answer, Definition, Hints, Invocation, Kind};
use crate::settings::Profile;

pub(super) const WRITE: Definition = Definition {
    kind: Kind::SandboxFilesWrite,
    name: "sandbox.files.write",
    title: "Write File In Session",
    description: "Write a file below /workspace of a sandbox session, with the directories above it",
    input: concat!(
        r#"{"type":"object","properties":{"#,
        session_property!(),
        ",",
        path_property!(r#","minLength":1"#),
        r#","content":{"type":"string","maxLength":11184812},
        "encoding":{"enum":["utf8","base64"],"default":"utf8",
        "description":"How content stands for the file's bytes"},"#,
        admin_property!(),
        r#"},"required":["sessionId","path","content"],"additionalProperties":false}"#
    ),
    output: r#"{"type":"object","properties":{
        "path":{"type":"string"},
        "bytes":{"type":"integer","minimum":0}},
        "required":["path","bytes"],"additionalProperties":false}"#,
    hints: Hints::SETS,
    profile: Profile::Enterprise,
};

pub(super) const READ: Definition = Definition {
    kind: Kind::SandboxFilesRead,
    name: "sandbox.files.read",
    title: "Read File In Session",
    description: "Read a file below /workspace of a sandbox session",
    input: concat!(
        r#"{"type":"object","properties":{"#,
        session_property!(),
        ",",
        path_property!(r#","minLength":1"#),
        r#","encoding":{"enum":["utf8","base64"],
        "description":"Left out: utf8 for what is text, else base64"},"#,
        admin_property!(),
        r#"},"required":["sessionId","path"],"additionalProperties":false}"#
    ),
    output: r#"{"type":"object","properties":{
        "path":{"type":"string"},
        "content":{"type":"string"},
        "encoding":{"enum":["utf8","base64"]},
        "bytes":{"type":"integer","minimum":0}},
        "required":["path","content","encoding","bytes"],"additionalProperties":false}"#,
    hints: Hints::READS,
    profile: Profile::Enterprise,
};

pub(super) const LIST: Definition = Definition {
    kind: Kind::SandboxFilesList,
    name: "sandbox.files.list",
    title: "List Files In Session",
    description: "List a directory below /workspace of a sandbox session; links are not followed",
    input: concat!(
        r#"{"type":"object","properties":{"#,
        session_property!(),
        ",",
        path_property!(r#","default":".""#),
        ",",
        admin_property!(),
        r#"},"required":["sessionId"],"additionalProperties":false}"#
    ),
    output: r#"{"type":"object","properties":{
        "entries":{"type":"array","items":{"type":"object","properties":{
        "path":{"type":"string"},
        "kind":{"enum":["file","directory","link","other"]},
        "bytes":{"type":"integer","minimum":0}},
        "required":["path","kind","bytes"],"additionalProperties":false}},
        "truncated":{"type":"boolean","description":"Whether there are more"}},
        "required":["entries","truncated"],"additionalProperties":false}"#,
    hints: Hints::READS,
    profile: Profile::Enterprise,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Utf8,
    Base64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WriteArguments {
    session_id: String,
    path: String,
    content: String,
    #[serde(default)]
    encoding: Encoding,
}

#[derive(Serialize)]
struct Written<'a> {
    path: &'a str,
    bytes: usize,
}

pub(super) async fn write(invocation: &Invocation<'_>) -> Result<Answer> {
    invocation.need_admin()?;
    let WriteArguments {
        session_id,
        path,
        content,
        encoding,
    } = invocation.parse()?;
    let id = SessionId::parse(&session_id)?;
    let content = match encoding {
        Encoding::Utf8 => content.into_bytes(),
        Encoding::Base64 => STANDARD.decode(content.as_bytes()).map_err(|_| {
            Error::invalid("/content", "is not base64")
                .with_fix("send base64 with padding, or leave encoding out for text")
        })?,
    };
    let bytes = content.len();
    if bytes > FILE_BYTES {
        return Err(Error::invalid("/content", "is too large")
            .with_limit(format!("{FILE_BYTES} bytes"))
            .with_fix("write it in parts and join them with sandbox.exec"));
    }
    let context = invocation.context_now();
    let sessions = invocation.gateway.sessions();
    invocation
        .operated(sessions.write(&context, &id, &path, content))
        .await?;
    let text = format!("Wrote {bytes} bytes to {path}");
    Answer::with_text(text, &Written { path: &path, bytes })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadArguments {
    session_id: String,
    path: String,
    encoding: Option<Encoding>,
}

#[derive(Serialize)]
struct Read<'a> {
    path: &'a str,
    content: &'a str,
    encoding: Encoding,
    bytes: usize,
}

pub(super) async fn read(invocation: &Invocation<'_>) -> Result<Answer> {
    invocation.need_admin()?;
    let ReadArguments {
        session_id,
        path,
        encoding,
    } = invocation.parse()?;
    let id = SessionId::parse(&session_id)?;
    let context = invocation.context_now();
    let sessions = invocation.gateway.sessions();
    let content = invocation
        .operated(sessions.read(&context, &id, &path))
        .await?;
    let bytes = content.len();
    let text = match (encoding, String::from_utf8(content)) {
        (Some(Encoding::Base64), Ok(text)) => Err(text.into_bytes()),
        (_, Ok(text)) => Ok(text),
        (Some(Encoding::Utf8), Err(_)) => {
            return Err(Error::invalid("/encoding", "is utf8, and the file is not")
                .with_fix("ask for base64"));
        }
        (_, Err(binary)) => Err(binary.into_bytes()),
    };
    let read = |content, encoding| Read {
        path: &path,
        content,
        encoding,
        bytes,
    };
    let answer = match text {
        Ok(text) => Answer::with_text(text.clone(), &read(&text, Encoding::Utf8)),
        Err(binary) => {
            let encoded = STANDARD.encode(binary);
            let note = format!("{bytes} bytes, in structuredContent as base64");
            Answer::with_text(note, &read(&encoded, Encoding::Base64))
        }
    };
    Ok(answer?.about("bytes", bytes))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListArguments {
    session_id: String,
    path: Option<String>,
}

#[derive(Serialize)]
struct Listed<'a> {
    entries: Vec<Entry<'a>>,
    truncated: bool,
}

#[derive(Serialize)]
struct Entry<'a> {
    path: &'a str,
    kind: &'static str,
    bytes: u64,
}

pub(super) async fn list(invocation: &Invocation<'_>) -> Result<Answer> {
    invocation.need_admin()?;
    let ListArguments { session_id, path } = invocation.parse()?;
    let id = SessionId::parse(&session_id)?;
    let path = path.unwrap_or_else(|| ".".to_owned());
    let context = invocation.context_now();
    let sessions = invocation.gateway.sessions();
    let listing = invocation
        .operated(sessions.list(&context, &id, &path))
        .await?;
    Answer::of(&Listed {
        entries: listing
            .entries
            .iter()
            .map(|entry| Entry {
                path: &entry.path,
                kind: entry.kind.as_str(),
                bytes: entry.size,
            })
            .collect(),
        truncated: listing.truncated,
    })
}
