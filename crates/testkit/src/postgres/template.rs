//! The cluster that all others are copies of: made once on a machine.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// What to do about missing programs.
pub(super) const INSTALL: &str = "install Postgres: run bash .ci/postgres";

/// The directory of the newest server that is installed.
pub(super) fn programs() -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    installed
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|path| path.join("postgres").exists())
        .max_by_key(|path| major(path))
        .unwrap_or_else(|| panic!("there is no Postgres server on this machine; {INSTALL}"))
}

fn major(programs: &Path) -> u32 {
    let name = programs.parent().and_then(Path::file_name);
    name.and_then(|name| name.to_str()?.parse().ok())
        .unwrap_or_default()
}

/// The command that runs `program` as somebody whom Postgres accepts, which root is not. It is
/// killed with the thread that starts it.
pub(super) fn as_owner(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid", owner(), "--regid", owner_group()]);
        command.arg("--clear-groups");
    }
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// `postgres` where Debian's package made it, else `nobody`.
fn owner() -> &'static str {
    if has_entry("/etc/passwd", "postgres") {
        "postgres"
    } else {
        "nobody"
    }
}

fn owner_group() -> &'static str {
    if owner() == "nobody" && has_entry("/etc/group", "nogroup") {
        "nogroup"
    } else {
        owner()
    }
}

fn has_entry(file: &str, name: &str) -> bool {
    let entries = fs::read_to_string(file).unwrap_or_default();
    entries
        .lines()
        .any(|line| line.split(':').next() == Some(name))
}

/// A directory that holds a new cluster in `data`.
pub(super) fn copy() -> TempDir {
    let template = made();
    let directory = folder();
    let data = directory.path().join("data");
    run(Command::new("cp").arg("-a").arg(template).arg(data));
    directory
}

/// Makes the template if nobody has yet; whoever comes meanwhile waits.
fn made() -> PathBuf {
    let programs = programs();
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/postgres");
    fs::create_dir_all(&home).unwrap_or_else(|error| panic!("{}: {error}", home.display()));
    let template = home.join(format!("template-{}", major(&programs)));
    let lock = File::create(home.join("lock")).and_then(|file| file.lock().map(|()| file));
    let _lock = lock.unwrap_or_else(|error| panic!("{}: {error}", home.display()));
    if template.exists() {
        return template;
    }
    let directory = folder();
    let data = directory.path().join("data");
    // Small segments of the log make a small template, which is copied for every test.
    run(as_owner(&programs.join("initdb"))
        .current_dir(directory.path())
        .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
        .args(["--locale=C.UTF-8", "--wal-segsize=1", "--no-instructions"])
        .arg("--no-sync")
        .arg("--pgdata")
        .arg(&data));
    let half = home.join("half");
    run(Command::new("rm").arg("-rf").arg(&half));
    run(Command::new("cp").arg("-a").arg(&data).arg(&half));
    fs::rename(&half, &template).unwrap_or_else(|error| panic!("{}: {error}", template.display()));
    template
}

/// A directory that the owner of the servers may write into.
fn folder() -> TempDir {
    let directory = TempDir::with_prefix("postgres-").unwrap_or_else(|error| panic!("{error}"));
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(directory.path(), open).unwrap_or_else(|error| panic!("{error}"));
    if rustix::process::geteuid().is_root() {
        let owner = format!("{}:{}", owner(), owner_group());
        run(Command::new("chown").arg(owner).arg(directory.path()));
    }
    directory
}

fn run(command: &mut Command) {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        status.success(),
        "{command:?}: {status}\n{}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
}
