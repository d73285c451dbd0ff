//! Files that settings name, and what can be wrong with them.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Largest file that is read: a bundle of authorities is a few hundred kilobytes.
const MAX_BYTES: u64 = 1 << 20;

/// A file, and the setting that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// For example `MCP_HTTP_TLS_KEY`.
    pub setting: &'static str,
    /// The file.
    pub path: PathBuf,
}

impl NamedFile {
    /// The file that `setting` names.
    #[must_use]
    pub fn new(setting: &'static str, path: &Path) -> Self {
        Self {
            setting,
            path: path.to_owned(),
        }
    }

    /// Its content.
    pub(crate) fn read(&self) -> Result<Vec<u8>, FileProblem> {
        let read = || {
            if std::fs::metadata(&self.path)?.len() > MAX_BYTES {
                let why = format!("larger than {MAX_BYTES} bytes");
                return Err(std::io::Error::other(why));
            }
            std::fs::read(&self.path)
        };
        read().map_err(|why| {
            self.problem(
                format!("cannot be read: {why}"),
                format!("set {} to a file that this user can read", self.setting),
            )
        })
    }

    /// The content of a file that nobody else may read.
    pub(crate) fn read_private(&self) -> Result<Vec<u8>, FileProblem> {
        self.check_private()?;
        self.read()
    }

    /// Refuses a private key that every user of the machine could read. The group may: that is how
    /// Kubernetes hands secrets to a container that is not root.
    pub(crate) fn check_private(&self) -> Result<(), FileProblem> {
        let Ok(found) = std::fs::metadata(&self.path) else {
            // Reading it says why.
            return Ok(());
        };
        let mode = found.permissions().mode() & 0o7777;
        if mode & 0o007 == 0 {
            return Ok(());
        }
        Err(self.problem(
            format!("is a private key that everybody may use: mode {mode:04o}"),
            format!(
                "chmod 600 {} (in Kubernetes: defaultMode: 0400, or 0440 with fsGroup)",
                self.path.display()
            ),
        ))
    }

    pub(crate) fn problem(
        &self,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> FileProblem {
        FileProblem {
            setting: self.setting,
            path: self.path.clone(),
            message: message.into(),
            fix: fix.into(),
        }
    }
}

/// Why a file cannot be used. Nothing of its content is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct FileProblem {
    /// The setting that names the file.
    pub setting: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What is wrong, as a clause after the file's name.
    pub message: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for FileProblem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            setting,
            path,
            message,
            fix,
        } = self;
        write!(out, "{setting}: {} {message}; {fix}", path.display())
    }
}
