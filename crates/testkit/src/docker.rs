//! The Docker daemon of the tests, seen from outside: through the `docker` program, never through the
//! client that is tested.

mod private;
mod traces;

use std::collections::BTreeSet;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

pub use self::private::PrivateDaemon;
pub use self::traces::Traces;

/// A Debian with node and npm, as the stock images are.
pub const IMAGE: &str = "dynamic-mcp-test/node:1";
/// Node and its libraries and nothing else: no shell.
pub const BARE_IMAGE: &str = "dynamic-mcp-test/node-bare:1";

/// A Debian with Python and pip, as the stock images are.
pub const PYTHON_IMAGE: &str = "dynamic-mcp-test/python:1";

/// How long the `docker` program may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon that the tests share, with the images of the tests.
///
/// # Panics
/// When it does not answer or has not the images; the message says what to do.
#[track_caller]
pub fn daemon() -> Docker {
    let found = std::process::Command::new("docker")
        .args(["image", "inspect", "--format", "{{.Id}}"])
        .args([IMAGE, BARE_IMAGE, PYTHON_IMAGE])
        .stdin(Stdio::null())
        .output();
    let good = found.is_ok_and(|output| output.status.success());
    assert!(
        good,
        "no Docker daemon with the images of the tests: run bash .ci/docker"
    );
    Docker { host: None }
}

/// The `docker` program, pointed at one daemon.
#[derive(Debug, Clone)]
pub struct Docker {
    host: Option<String>,
}

impl Docker {
    /// Another daemon, by its `DOCKER_HOST`.
    #[must_use]
    pub fn at(host: impl Into<String>) -> Self {
        Self {
            host: Some(host.into()),
        }
    }

    /// Its `DOCKER_HOST`; none for the default socket.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Runs `docker` with these arguments and gives back what it printed, without the last newline.
    ///
    /// # Panics
    /// When it fails, with its arguments and what it printed.
    pub async fn run(&self, args: &[&str]) -> String {
        match self.try_run(args).await {
            Ok(printed) => printed,
            Err(why) => panic!("docker {}: {why}", args.join(" ")),
        }
    }

    /// The same for what may fail.
    ///
    /// # Errors
    /// What it printed on stderr.
    pub async fn try_run(&self, args: &[&str]) -> Result<String, String> {
        let Output {
            status,
            stdout,
            stderr,
        } = match timeout(PATIENCE, self.command().args(args).output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err(format!("nothing after {PATIENCE:?}")),
        };
        if !status.success() {
            return Err(String::from_utf8_lossy(&stderr).trim_end().to_owned());
        }
        Ok(String::from_utf8_lossy(&stdout).trim_end().to_owned())
    }

    /// The program, to be given arguments.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new("docker");
        if let Some(host) = &self.host {
            command.args(["--host", host]);
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// All that is on the daemon.
    ///
    /// # Panics
    /// As [`Self::run`].
    pub async fn listing(&self) -> Listing {
        let lines = async |args: &[&str]| -> BTreeSet<String> {
            self.run(args).await.lines().map(str::to_owned).collect()
        };
        let format = "{{.Names}} {{.Image}} {{.State}}";
        Listing {
            containers: lines(&["ps", "--all", "--no-trunc", "--format", format]).await,
            volumes: lines(&["volume", "ls", "--format", "{{.Name}}"]).await,
            networks: lines(&["network", "ls", "--format", "{{.Name}}"]).await,
        }
    }

    /// Names of the containers, running or not, with this label (`key` or `key=value`).
    ///
    /// # Panics
    /// As [`Self::run`].
    pub async fn labelled(&self, label: &str) -> BTreeSet<String> {
        let filter = format!("label={label}");
        let args = ["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"];
        let printed = self.run(&args).await;
        printed.lines().map(str::to_owned).collect()
    }

    /// Removes these containers, in whatever state they are; what is gone already is fine.
    pub async fn remove(&self, containers: impl IntoIterator<Item = String>) {
        for container in containers {
            let removed = self.try_run(&["rm", "-f", "-v", &container]).await;
            if let Err(why) = removed {
                assert!(why.contains("No such container"), "{container}: {why}");
            }
        }
    }
}

/// The complete lists of a daemon. On one that others use too only [`Listing::since`] with a filter
/// says something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// `name image state`
    pub containers: BTreeSet<String>,
    /// Names.
    pub volumes: BTreeSet<String>,
    /// Names.
    pub networks: BTreeSet<String>,
}

impl Listing {
    /// What came (`+`) and what went (`-`) since `before`, one line each.
    #[must_use]
    pub fn since(&self, before: &Listing) -> Vec<String> {
        let mut lines = Vec::new();
        for (kind, now, then) in [
            ("container", &self.containers, &before.containers),
            ("volume", &self.volumes, &before.volumes),
            ("network", &self.networks, &before.networks),
        ] {
            lines.extend(now.difference(then).map(|name| format!("+ {kind} {name}")));
            lines.extend(then.difference(now).map(|name| format!("- {kind} {name}")));
        }
        lines
    }
}
