//! Which commit a work tree is, and what changes when it is another.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What programs are compiled from, as git is asked.
const SOURCES: [&str; 6] = [
    ".cargo",
    "Cargo.toml",
    "Cargo.lock",
    "crates",
    "services",
    "proto",
];
/// Where git keeps what HEAD is: a branch without a file of its own is in `packed-refs`.
const HEADS: [&str; 4] = ["HEAD", "refs/heads", "packed-refs", "reftable"];

/// A commit that was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// 40 or 64 hexadecimal digits, and `-dirty` where the sources are not those of the commit.
    pub(crate) commit: String,
    /// Files and folders that are younger once this is no longer so; all of them exist.
    pub(crate) watch: Vec<PathBuf>,
}

/// Asks `git` for the commit of the work tree `root`.
///
/// # Errors
/// A line that says why there is none: no git, no repository, one that has no commit, or sources inside
/// the repository of something else.
pub(crate) fn commit(git: &str, root: &Path) -> Result<Found, String> {
    let ask = |arguments: &[&str]| ask(git, root, arguments);
    if !ask(&["rev-parse", "--show-prefix"])?.is_empty() {
        return Err("the repository around the sources is that of something else".to_owned());
    }
    let head = ask(&["rev-parse", "--verify", "HEAD^{commit}"])?;
    let mut status = vec!["status", "--porcelain", "--"];
    status.extend(SOURCES);
    let dirty = !ask(&status)?.is_empty();
    let mut watch = Vec::new();
    for name in HEADS {
        watch.push(root.join(ask(&["rev-parse", "--git-path", name])?));
    }
    // A clean tree is no longer clean with the first change of a source. A dirty one is looked at again
    // with the next commit or checkout, not with each change: all that stands on this crate is compiled
    // again every time.
    if dirty {
        watch.push(root.join(ask(&["rev-parse", "--git-path", "index"])?));
    } else {
        watch.extend(SOURCES.map(|name| root.join(name)));
    }
    // What does not exist counts as changed each time.
    watch.retain(|path| path.exists());
    let mark = if dirty { "-dirty" } else { "" };
    Ok(Found {
        commit: format!("{head}{mark}"),
        watch,
    })
}

fn ask(git: &str, root: &Path, arguments: &[&str]) -> Result<String, String> {
    // Others may be at work in the tree: nothing is locked in order to read.
    let output = Command::new(git)
        .arg("--no-optional-locks")
        .args(arguments)
        .current_dir(root)
        .output()
        .map_err(|error| format!("{git} cannot be run: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().next().unwrap_or("it said nothing");
        return Err(format!("{git}: {line}"));
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned())
}
