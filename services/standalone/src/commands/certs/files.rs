//! Where the files go: nobody else may read them, and what is there stays.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

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
        && why.kind() != std::io::ErrorKind::NotFound
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
