//! The one look at the process's arguments and environment. Everything after works on this value, so
//! tests never touch the real one.

use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FileType};

/// What the process was started with. It holds secrets, so its `Debug` shows counts only.
#[derive(Clone, Default)]
pub struct Environment {
    /// Arguments without the program's name.
    pub arguments: Vec<String>,
    /// Environment variables. Those that are not UTF-8 are in `unreadable`.
    pub variables: BTreeMap<String, String>,
    /// Names of variables whose value is not UTF-8, and arguments that are not.
    pub unreadable: Vec<String>,
    /// Where `.env` and relative paths are looked for.
    pub directory: PathBuf,
    /// Stdin and stdout are both pipes or sockets: an MCP client has started this process.
    pub stdio_is_piped: bool,
    /// Stderr is a terminal: a person reads the log.
    pub stderr_is_terminal: bool,
    /// Sockets of a Docker daemon that this process could use.
    pub docker_sockets: Vec<PathBuf>,
}

impl Environment {
    /// Reads the real ones.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn of_process() -> Self {
        let mut environment = Self {
            directory: PathBuf::from("."),
            stdio_is_piped: piped(std::io::stdin()) && piped(std::io::stdout()),
            stderr_is_terminal: std::io::stderr().is_terminal(),
            ..Self::default()
        };
        for argument in std::env::args_os().skip(1) {
            match argument.into_string() {
                Ok(argument) => environment.arguments.push(argument),
                Err(argument) => {
                    environment
                        .unreadable
                        .push(argument.to_string_lossy().into_owned());
                }
            }
        }
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => {
                    environment.variables.insert(name, value);
                }
                (Ok(name), Err(_)) => environment.unreadable.push(name),
                // A name that is not UTF-8 is none of ours.
                (Err(_), _) => {}
            }
        }
        environment.docker_sockets = docker_sockets(&environment.variables);
        environment
    }
}

/// Where a daemon listens by default, with and without root, by Docker's and by Podman's ways.
fn docker_sockets(variables: &BTreeMap<String, String>) -> Vec<PathBuf> {
    let fixed = [
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/run/podman/podman.sock",
    ];
    let below = |variable: &str, path: &str| {
        let folder = variables
            .get(variable)
            .filter(|folder| !folder.is_empty())?;
        Some(PathBuf::from(folder).join(path))
    };
    let of_user = [
        below("XDG_RUNTIME_DIR", "docker.sock"),
        below("XDG_RUNTIME_DIR", "podman/podman.sock"),
        below("HOME", ".docker/run/docker.sock"),
        below("HOME", ".docker/desktop/docker.sock"),
    ];
    let all = fixed.iter().map(PathBuf::from);
    all.chain(of_user.into_iter().flatten())
        .filter(|path| is_usable_socket(path))
        .collect()
}

fn is_usable_socket(path: &Path) -> bool {
    let is_socket = rustix::fs::stat(path)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket);
    is_socket && rustix::fs::access(path, Access::WRITE_OK).is_ok()
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("arguments", &self.arguments.len())
            .field("variables", &self.variables.len())
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

fn piped(stream: impl std::os::fd::AsFd) -> bool {
    rustix::fs::fstat(stream).is_ok_and(|stat| {
        matches!(
            FileType::from_raw_mode(stat.st_mode),
            FileType::Fifo | FileType::Socket
        )
    })
}
