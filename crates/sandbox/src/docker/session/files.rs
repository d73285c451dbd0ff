//! Files of a session, by name below its workspace.

use std::io;

use bytes::Bytes;
use domain::error::{Error, ErrorCode, Result};
use domain::session::{EntryKind, FILE_BYTES, FileEntry, LISTING, Listing, PATH_BYTES};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::actor::{Actor, Body, Done, Ending, Reply, answer, unanswered};
use super::end::Cause;
use super::line::{Message, Said, Tell};
use crate::docker::profile::WORKSPACE;
use crate::output::{broken, parsed};

/// Directories of a path.
const MAX_DEPTH: usize = 64;
/// Longest name, as file systems have it, in bytes.
const NAME_BYTES: usize = 255;
/// Largest listing, in bytes of JSON: each name, with every byte escaped.
const LISTING_BYTES: usize = LISTING * (NAME_BYTES * 6 + 64);

#[derive(Serialize)]
struct Head<'a> {
    parts: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    most: Option<usize>,
}

/// The names that a path consists of. A relative path begins in the workspace, an absolute one has to
/// lie below it; the agent follows no link that leads out.
///
/// # Errors
/// `invalid_argument` with what is wrong.
pub(super) fn parts(path: &str) -> Result<Vec<String>> {
    let wrong = |what: &str| Error::invalid("path", what.to_owned());
    if path.is_empty() {
        return Err(wrong("is empty").with_fix("`.` is the workspace itself"));
    }
    if path.len() > PATH_BYTES {
        return Err(wrong("is too long").with_limit(format!("{PATH_BYTES} bytes")));
    }
    if path.contains('\0') {
        return Err(wrong("holds a NUL byte"));
    }
    let below = match path.strip_prefix('/') {
        None => path,
        Some(_) => match path.strip_prefix(WORKSPACE) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
            _ => {
                return Err(wrong("leads out of the workspace")
                    .with_limit(format!("paths below {WORKSPACE}, or relative ones")));
            }
        },
    };
    let names = below.split('/').filter(|name| !matches!(*name, "" | "."));
    let names: Vec<String> = names.map(ToOwned::to_owned).collect();
    if names.iter().any(|name| name == "..") {
        return Err(wrong("holds `..`").with_fix("name the file by its way down from /workspace"));
    }
    if names.iter().any(|name| name.len() > NAME_BYTES) {
        return Err(
            wrong("has a name that is too long").with_limit(format!("{NAME_BYTES} bytes a name"))
        );
    }
    if names.len() > MAX_DEPTH {
        return Err(wrong("is too deep").with_limit(format!("{MAX_DEPTH} directories")));
    }
    Ok(names)
}

/// Whether a content can be written.
///
/// # Errors
/// `limit_exceeded`.
pub(super) fn check_size(bytes: usize) -> Result<()> {
    if bytes <= FILE_BYTES {
        return Ok(());
    }
    let message = format!("the file has {bytes} bytes; {FILE_BYTES} are allowed");
    Err(Error::new(ErrorCode::LimitExceeded, message)
        .with_field("content")
        .with_limit(format!("{FILE_BYTES} bytes")))
}

/// # Errors
/// The session ends.
pub(super) async fn write(
    actor: &mut Actor,
    parts: Vec<String>,
    content: Vec<u8>,
    until: Instant,
    mut reply: Reply<()>,
) -> Result<(), Cause> {
    let head = Head {
        parts: &parts,
        size: Some(content.len()),
        most: None,
    };
    let operation = actor.begin(Tell::Write, &head);
    let body = Body::Whole(Bytes::from(content));
    let nothing = |_: Message| Err(broken("a message out of turn"));
    let ending = actor
        .operate(operation, body, (until, true), &mut reply, nothing)
        .await?;
    answer(reply, whole(ending));
    Ok(())
}

/// # Errors
/// The session ends.
pub(super) async fn read(
    actor: &mut Actor,
    parts: Vec<String>,
    until: Instant,
    mut reply: Reply<Vec<u8>>,
) -> Result<(), Cause> {
    let most = FILE_BYTES;
    let (ending, bytes) = fetch(actor, Tell::Read, &parts, (most, most), until, &mut reply).await?;
    answer(reply, whole(ending).map(|()| bytes));
    Ok(())
}

#[derive(Deserialize)]
struct Listed {
    entries: Vec<(String, String, u64)>,
    truncated: bool,
}

/// # Errors
/// The session ends.
pub(super) async fn list(
    actor: &mut Actor,
    parts: Vec<String>,
    until: Instant,
    mut reply: Reply<Listing>,
) -> Result<(), Cause> {
    let bounds = (LISTING, LISTING_BYTES);
    let (ending, bytes) = fetch(actor, Tell::List, &parts, bounds, until, &mut reply).await?;
    let listing = match whole(ending) {
        Ok(()) => Ok(listing(&parts, &bytes.into()).map_err(|error| Cause::Gone(Some(error)))?),
        Err(error) => Err(error),
    };
    answer(reply, listing);
    Ok(())
}

fn listing(parts: &[String], json: &Bytes) -> io::Result<Listing> {
    let Listed { entries, truncated } = parsed(json)?;
    let entry = |(name, kind, size): (String, String, u64)| {
        let kind = EntryKind::ALL.into_iter().find(|it| it.as_str() == kind);
        let kind = kind.ok_or_else(|| broken("an entry of no kind"))?;
        let mut path = parts.join("/");
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(&name);
        Ok(FileEntry { path, kind, size })
    };
    let entries: io::Result<Vec<FileEntry>> =
        entries.into_iter().take(LISTING).map(entry).collect();
    let mut entries = entries?;
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Listing { entries, truncated })
}

/// An operation that brings bytes: `most` is what the agent is told, `bound` what is taken.
async fn fetch<T>(
    actor: &mut Actor,
    tell: Tell,
    parts: &[String],
    (most, bound): (usize, usize),
    until: Instant,
    reply: &mut Reply<T>,
) -> Result<(Ending, Vec<u8>), Cause> {
    let head = Head {
        parts,
        size: None,
        most: Some(most),
    };
    let operation = actor.begin(tell, &head);
    let mut bytes = Vec::new();
    let take = |message: Message| {
        if message.said != Said::Out || bytes.len() + message.payload.len() > bound {
            return Err(broken("more than was asked for"));
        }
        bytes.extend_from_slice(&message.payload);
        Ok(())
    };
    let ending = actor
        .operate(operation, Body::Nothing, (until, true), reply, take)
        .await?;
    Ok((ending, bytes))
}

fn whole(ending: Ending) -> Result<()> {
    match ending {
        Ending::Done(Done { error: None, .. }) => Ok(()),
        ending => Err(unanswered(ending)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_61_paths_stay_in_the_workspace() {
        for (path, names) in [
            ("a/b.txt", &["a", "b.txt"][..]),
            ("/workspace/a", &["a"]),
            ("./a//b/./c", &["a", "b", "c"]),
            ("/workspace", &[]),
            (".", &[]),
            ("é/..b/...", &["é", "..b", "..."]),
            ("-rf", &["-rf"]),
        ] {
            assert_eq!(parts(path).unwrap(), names, "{path}");
        }
        let long = "x".repeat(256);
        let deep = "d/".repeat(65);
        for path in [
            "",
            "..",
            "../x",
            "a/../../x",
            "/etc/passwd",
            "/workspace/../etc",
            "/workspaces/a",
            "/",
            "/proc/self/environ",
            "a\0b",
            &long,
            &deep,
            &"y/".repeat(600),
        ] {
            let error = parts(path).unwrap_err();
            assert_eq!(error.field(), Some("path"), "{path}");
        }
    }
}
