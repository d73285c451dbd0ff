//! Where the files go: nobody else may read them, and what is there stays.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A folder of certificates and keys.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    force: bool,
}

impl Folder {
    /// Makes the folder, for its owner alone, when it is not there.
    pub(super) fn new(path: PathBuf, force: bool) -> Result<Self, String> {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path);
        made.map_err(|why| format!("{}: cannot be made: {why}", path.display()))?;
        Ok(Self { path, force })
    }

    /// The path of a file, as a setting would name it.
    pub(super) fn place(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    /// How long ago the youngest of these files was written; `None` when one of them is missing.
    pub(super) fn age(&self, names: &[&str]) -> Result<Option<Duration>, String> {
        let mut youngest = Duration::MAX;
        for name in names {
            let path = self.path.join(name);
            let written = match fs::metadata(&path).and_then(|about| about.modified()) {
                Ok(written) => written,
                Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
                Err(why) => return Err(format!("{}: cannot be read: {why}", path.display())),
            };
            // A clock that was set back makes it young, which is the harmless mistake.
            youngest = youngest.min(written.elapsed().unwrap_or_default());
        }
        Ok(Some(youngest))
    }

    /// Writes one file unless it has that text already. Says whether it was written.
    pub(super) fn keep(&self, name: &str, text: &str) -> Result<bool, String> {
        let path = self.path.join(name);
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            return Ok(false);
        }
        replace(&path, text)
            .map_err(|why| format!("{}: cannot be written: {why}", path.display()))?;
        Ok(true)
    }

    /// The text of a file that another of these commands wrote.
    pub(super) fn read(&self, name: &str) -> Result<String, String> {
        let path = self.path.join(name);
        fs::read_to_string(&path).map_err(|why| {
            format!(
                "{}: cannot be read: {why}; `dynamic-mcp certs ca --out {}` makes it",
                path.display(),
                self.path.display()
            )
        })
    }

    /// Writes files by name and text, all or, when one of them is there, none. Each is replaced as a
    /// whole, so that a service which follows it never reads half of it.
    pub(super) fn write(&self, files: &[(String, String)]) -> Result<String, String> {
        if !self.force {
            for (name, _) in files {
                let path = self.path.join(name);
                if fs::symlink_metadata(&path).is_ok() {
                    return Err(format!(
                        "{}: is there already; nothing was written. --force replaces it",
                        path.display()
                    ));
                }
            }
        }
        let mut written = String::new();
        for (name, text) in files {
            let path = self.path.join(name);
            replace(&path, text)
                .map_err(|why| format!("{}: cannot be written: {why}", path.display()))?;
            written.push_str(&format!("# wrote {}\n", path.display()));
        }
        Ok(written)
    }
}

fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    if let Err(why) = fs::remove_file(&beside)
        && why.kind() != ErrorKind::NotFound
    {
        return Err(why);
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
