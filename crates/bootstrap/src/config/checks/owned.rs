//! Files that somebody else has left where this process is to write: a volume of the Node server, whose
//! image ran as root.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::process::{getegid, geteuid};

use crate::config::sections::{AuditConfig, Backend, CatalogConfig};
use crate::config::settings::Settings;

/// What the Node server kept beside its log and its store, and what ours adds, belongs to this process.
pub(crate) fn audit_file(settings: &mut Settings, audit: Option<&AuditConfig>, enterprise: bool) {
    if let Some(audit) = audit
        && audit.enabled.unwrap_or(enterprise)
    {
        writable(settings, "MCP_AUDIT_FILE", &audit.file);
    }
}

pub(crate) fn store(settings: &mut Settings, catalog: Option<&CatalogConfig>) {
    if let Some(catalog) = catalog
        && catalog.backend != Backend::Postgres
    {
        writable(settings, "MCP_DYNAMIC_STORE", &catalog.store);
    }
}

fn writable(settings: &mut Settings, name: &str, file: &Path) {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let may_write = |path: &Path| access(path, Access::WRITE_OK).is_ok();
    let Some((path, owner)) = foreign(file, user, may_write) else {
        return;
    };
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let folder = folder.display();
    settings.refuse(
        name,
        format!(
            "cannot be written: {} belongs to user {owner}, and this process is user {user}. The Node \
             server's image ran as root and left its files so",
            path.display()
        ),
        format!(
            "as root: chown -R {user}:{group} {folder}; for a volume of Docker: docker run --rm --user 0 \
             --volume VOLUME:{folder} IMAGE-WITH-A-SHELL chown -R {user}:{group} {folder}"
        ),
    );
}

/// The file, or the folder that it is in, when it is somebody else's and this user may not write to it.
/// What is not there yet is made later.
fn foreign(file: &Path, user: u32, may_write: impl Fn(&Path) -> bool) -> Option<(PathBuf, u32)> {
    let folder = file.parent().filter(|path| !path.as_os_str().is_empty());
    [Some(file), folder].into_iter().flatten().find_map(|path| {
        let about: Metadata = std::fs::metadata(path).ok()?;
        let theirs = about.uid() != user && !may_write(path);
        theirs.then(|| (path.to_owned(), about.uid()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_or_not_there_is_no_matter() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.log");
        let me = geteuid().as_raw();
        let never = |_: &Path| false;
        assert_eq!(foreign(&file, me, never), None);
        std::fs::write(&file, "").unwrap();
        assert_eq!(foreign(&file, me, never), None);
        assert_eq!(foreign(Path::new("/nowhere/at/all"), me, never), None);
        let other = me + 1;
        assert_eq!(foreign(&file, other, never), Some((file.clone(), me)));
        let file_only = |path: &Path| path != file;
        assert_eq!(foreign(&file, other, file_only), Some((file.clone(), me)));
        let folder_only = |path: &Path| path == file;
        let folder = folder.path().to_owned();
        assert_eq!(foreign(&file, other, folder_only), Some((folder, me)));
        assert_eq!(foreign(&file, other, |_| true), None, "a group that may");
    }
}
