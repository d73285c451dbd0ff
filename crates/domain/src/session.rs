//! The port `Sessions`: a sandbox that stays between calls.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::call::CallContext;
use crate::dependency::Dependency;
use crate::error::{Error, Result};
use crate::runner::{Call, RunStream};
use crate::tool::Runtime;

/// What every handle begins with.
const PREFIX: &str = "sbx_";
/// Longest handle, in bytes.
const MAX_BYTES: usize = 512;

/// Most commands of one [`Exec`].
pub const COMMANDS: usize = 20;
/// Longest command, in bytes.
pub const COMMAND_BYTES: usize = 65_536;
/// Longest path of a file in a session, in bytes.
pub const PATH_BYTES: usize = 1_024;
/// Largest file that is written or read in one piece, in bytes.
pub const FILE_BYTES: usize = 8 << 20;
/// Most entries of one listing.
pub const LISTING: usize = 1_000;
/// Most environment variables of a session.
pub const VARIABLES: usize = 64;

/// The handle of a session: made and verified by the executor that holds it, opaque to everybody
/// else but for that executor's name.
///
/// `sbx_` and, in base64url, one byte with the length of the executor's name, the name, and what
/// only the executor understands.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId(String);

impl SessionId {
    /// A handle that names an executor; `sealed` is the executor's own.
    ///
    /// # Errors
    /// `internal` when the name is longer than 255 bytes.
    pub fn new(executor: &str, sealed: &[u8]) -> Result<Self> {
        let length = u8::try_from(executor.len()).map_err(Error::internal)?;
        let mut bytes = vec![length];
        bytes.extend_from_slice(executor.as_bytes());
        bytes.extend_from_slice(sealed);
        Ok(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// Takes a text over that has the form of a handle. Whether there is such a session only its
    /// executor knows.
    ///
    /// # Errors
    /// `not_found`, as for a session that never was.
    pub fn parse(text: &str) -> Result<Self> {
        let id = Self(text.to_owned());
        if text.len() > MAX_BYTES || id.parts().is_none() {
            return Err(unknown());
        }
        Ok(id)
    }

    /// The name of the executor that holds it.
    #[must_use]
    pub fn executor(&self) -> String {
        self.parts().map(|(name, _)| name).unwrap_or_default()
    }

    /// What only that executor understands.
    #[must_use]
    pub fn sealed(&self) -> Vec<u8> {
        self.parts().map(|(_, sealed)| sealed).unwrap_or_default()
    }

    /// The handle as callers hold it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What names the session where its handle must not stand, such as in logs: 16 hexadecimal digits
    /// of its SHA-256.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex::encode(&Sha256::digest(self.0.as_bytes())[..8])
    }

    fn parts(&self) -> Option<(String, Vec<u8>)> {
        let bytes = URL_SAFE_NO_PAD.decode(self.0.strip_prefix(PREFIX)?).ok()?;
        let (length, rest) = bytes.split_first()?;
        let (name, sealed) = rest.split_at_checked(usize::from(*length))?;
        Some((String::from_utf8(name.to_vec()).ok()?, sealed.to_vec()))
    }
}

impl fmt::Debug for SessionId {
    /// Whoever holds a handle and has its owner's credential can use it, so logs show what it hashes to.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SessionId({})", self.fingerprint())
    }
}

/// The one answer for a handle that is foreign, forged, stopped or expired.
#[must_use]
pub fn unknown() -> Error {
    Error::not_found("there is no such sandbox session")
        .with_fix("make one with sandbox.initialize; sessions end when idle or stopped")
}

/// The network of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Network {
    /// None at all.
    #[default]
    None,
    /// The daemon's bridge, with everything that can be reached from there.
    Bridge,
}

impl Network {
    /// The network as configuration and arguments write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Network::None => "none",
            Network::Bridge => "bridge",
        }
    }

    /// Parses the word; anything else is `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Network::None, Network::Bridge]
            .into_iter()
            .find(|network| network.as_str() == text)
    }
}

/// A session that somebody wants.
#[derive(Clone, Default)]
pub struct SessionSpec {
    /// Its image; the executor's first allowed one when there is none.
    pub image: Option<String>,
    /// The language of `dependencies`; what the image has when there is none.
    pub runtime: Option<Runtime>,
    /// After how long without an operation it ends; the executor's own time when there is none, and
    /// never more than its lifetime.
    pub idle: Option<Duration>,
    /// Its network; `none` when there is none.
    pub network: Option<Network>,
    /// Environment variables of everything that runs in it. They may hold secrets.
    pub env: BTreeMap<String, String>,
    /// Packages that are there from the start.
    pub dependencies: Vec<Dependency>,
}

impl fmt::Debug for SessionSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SessionSpec")
            .field("image", &self.image)
            .field("runtime", &self.runtime)
            .field("idle", &self.idle)
            .field("network", &self.network)
            .field("env", &format_args!("{} variables", self.env.len()))
            .field("dependencies", &self.dependencies)
            .finish()
    }
}

/// A session that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its handle.
    pub id: SessionId,
    /// Its image, by name.
    pub image: String,
    /// After how long without an operation it ends.
    pub idle: Duration,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its last operation began or ended.
    pub last_used_at: Timestamp,
}

/// Commands for the shell of a session, one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// 1 to [`COMMANDS`] texts, each of at most [`COMMAND_BYTES`], given to the shell unchanged.
    pub commands: Vec<String>,
    /// How long each may take.
    pub timeout: Duration,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandResult {
    /// Its exit code; 128 and the signal's number when a signal ended it.
    pub exit_code: i32,
    /// The signal that ended it, for example `SIGKILL`.
    pub signal: Option<String>,
    /// What it wrote to standard output; what is not UTF-8 is replaced.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// How long it took.
    pub duration: Duration,
    /// Whether output was dropped because of the bound.
    pub truncated: bool,
    /// Bytes that it wrote to standard output, those that were dropped included.
    pub stdout_bytes: u64,
    /// Bytes that it wrote to standard error, those that were dropped included.
    pub stderr_bytes: u64,
    /// Whether its time was over and it was killed with all that it had started.
    pub timed_out: bool,
    /// Whether the kernel killed something of it for want of memory.
    pub out_of_memory: bool,
}

/// What an entry of a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, which is not followed.
    Link,
    /// Anything else: a pipe, a socket, a device.
    Other,
}

impl EntryKind {
    /// All kinds.
    pub const ALL: [EntryKind; 4] = [
        EntryKind::File,
        EntryKind::Directory,
        EntryKind::Link,
        EntryKind::Other,
    ];

    /// The kind as results write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            EntryKind::File => "file",
            EntryKind::Directory => "directory",
            EntryKind::Link => "link",
            EntryKind::Other => "other",
        }
    }
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Its path below the workspace.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Its size in bytes, for a file.
    pub size: u64,
}

/// The entries of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// By path, at most [`LISTING`].
    pub entries: Vec<FileEntry>,
    /// Whether there are more.
    pub truncated: bool,
}

/// Keeps sandboxes between calls. Implemented by the executor, by a gRPC client of one, by a
/// gateway that finds the right executor, and by fakes.
///
/// A session belongs to the tenant and the subject that made it. For everybody else, and once it has
/// ended, its handle is `not_found`. Operations of one session run one after another; dropping the
/// future of an operation, or the stream of [`Sessions::run`], stops what it runs and leaves the
/// session. Common errors: `permission_denied`, `unavailable`, `overloaded`, `timeout`.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Makes a session.
    ///
    /// # Errors
    /// `limit_exceeded` when there are as many as there may be, `policy_denied` (image, network,
    /// package, or an engine without containers), `invalid_argument`, `dependency_install_failed`.
    async fn open(&self, context: &CallContext, spec: SessionSpec) -> Result<SessionInfo>;

    /// Runs commands one after another; each has its result, whatever came of those before it.
    ///
    /// # Errors
    /// `not_found`, `invalid_argument`; `out_of_memory` and `unavailable` when the sandbox itself
    /// ended, and the session with it.
    async fn exec(
        &self,
        context: &CallContext,
        id: &SessionId,
        exec: Exec,
    ) -> Result<Vec<CommandResult>>;

    /// Runs code in the workspace of a session, as a call runs.
    ///
    /// # Errors
    /// Nothing has run: those of [`Runner::run`](crate::Runner::run), and `not_found`.
    async fn run(&self, context: &CallContext, id: &SessionId, call: Call) -> Result<RunStream>;

    /// Writes a file below the workspace, with the directories above it. It replaces one that is
    /// there.
    ///
    /// # Errors
    /// `not_found` (the session), `invalid_argument` with the path's fault, `limit_exceeded`.
    async fn write(
        &self,
        context: &CallContext,
        id: &SessionId,
        path: &str,
        content: Vec<u8>,
    ) -> Result<()>;

    /// Reads a regular file below the workspace, at most [`FILE_BYTES`].
    ///
    /// # Errors
    /// `not_found` (the session or the file), `invalid_argument`, `limit_exceeded`.
    async fn read(&self, context: &CallContext, id: &SessionId, path: &str) -> Result<Vec<u8>>;

    /// Lists a directory below the workspace, links unfollowed.
    ///
    /// # Errors
    /// `not_found` (the session or the directory), `invalid_argument`.
    async fn list(&self, context: &CallContext, id: &SessionId, path: &str) -> Result<Listing>;

    /// Ends a session with all that runs in it.
    ///
    /// # Errors
    /// `not_found`.
    async fn stop(&self, context: &CallContext, id: &SessionId) -> Result<()>;

    /// The caller's own sessions, oldest first.
    ///
    /// # Errors
    /// See the trait.
    async fn sessions(&self, context: &CallContext) -> Result<Vec<SessionInfo>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_names_its_executor_and_nothing_else_is_one() {
        let id = SessionId::new("executor-1", b"sealed").unwrap();
        let parsed = SessionId::parse(id.as_str()).unwrap();
        assert_eq!(parsed, id);
        assert_eq!(
            (parsed.executor().as_str(), parsed.sealed().as_slice()),
            ("executor-1", &b"sealed"[..])
        );
        assert!(!format!("{id:?}").contains(id.as_str()));
        for bad in [
            "",
            "sbx_",
            "sbx_!!",
            "xyz",
            "sbx_/w",
            &format!("sbx_{}", "A".repeat(600)),
        ] {
            let refused = SessionId::parse(bad).unwrap_err();
            assert_eq!(refused.message(), unknown().message(), "{bad}");
        }
        assert!(SessionId::new(&"x".repeat(256), b"").is_err());
    }
}
