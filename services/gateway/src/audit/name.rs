//! The name of a log: made with its file and kept beside it, so that it outlives restarts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use domain::audit::LogName;

/// Most characters of the host's name in it.
const HOST_CHARS: usize = 63;

/// The name of the log at `path`, which is in the file `<path>.id`; a new one where there is none yet.
///
/// # Errors
/// Those of the disk.
pub(super) fn of(path: &Path) -> io::Result<LogName> {
    let kept = beside(path, "id");
    if let Some(name) = read(&kept)? {
        return Ok(name);
    }
    // Whole or not at all, and the first of two processes that make one at once.
    let fresh = beside(path, &format!("id.{:016x}", fastrand::u64(..)));
    let name = format!("{}-{:016x}", host(), fastrand::u64(..));
    let made = write(&fresh, &name).and_then(|()| match fs::hard_link(&fresh, &kept) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match read(&kept)? {
            Some(_) => Ok(()),
            // What is there names nothing.
            None => fs::rename(&fresh, &kept),
        },
        linked => linked,
    });
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => made?,
    }
    read(&kept)?.ok_or_else(|| io::Error::other("the file of its name cannot be read again"))
}

fn read(kept: &Path) -> io::Result<Option<LogName>> {
    match fs::read(kept) {
        Ok(bytes) => {
            let name = std::str::from_utf8(&bytes).ok();
            let name = name.and_then(|text| LogName::parse(text.trim()).ok());
            if name.is_none() {
                tracing::warn!(file = %kept.display(), "it holds no name of an audit log; a new one is made");
            }
            Ok(name)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(fresh: &Path, name: &str) -> io::Result<()> {
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(fresh)?;
    file.write_all(name.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{what}"));
    PathBuf::from(name)
}

/// The host's name as far as a log's may hold it.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain: String = name
        .trim()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c))
        .skip_while(|c| !c.is_ascii_alphanumeric())
        .take(HOST_CHARS)
        .collect();
    if plain.is_empty() {
        "gateway".to_owned()
    } else {
        plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_keeps_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let name = of(&path).unwrap();
        assert_eq!(of(&path).unwrap(), name);
        assert_ne!(of(&folder.path().join("other.log")).unwrap(), name);
        let files = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 2, "nothing else is left there");
        fs::write(beside(&path, "id"), "no name/").unwrap();
        assert_ne!(of(&path).unwrap(), name);
    }
}
