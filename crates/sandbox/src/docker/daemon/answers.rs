//! What the daemon answers, as far as it matters here.

use super::ContainerId;
use crate::docker::reaper::Labels;

/// How a container ended, as the daemon tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    /// Whether it runs still: then its stream ended without it.
    pub(crate) running: bool,
    /// Its exit code; nothing while it runs.
    pub(crate) exit_code: Option<i64>,
    /// Whether the kernel killed any of its processes for want of memory: by its state, or by an event.
    pub(crate) oom_killed: bool,
    /// The daemon's words when it could not run it.
    pub(crate) error: Option<String>,
}

/// A container of this product, as listed.
#[derive(Debug, Clone)]
pub(crate) struct Ours {
    /// Its id.
    pub(crate) id: ContainerId,
    /// Its name.
    pub(crate) name: String,
    /// Whose it is.
    pub(crate) labels: Labels,
    /// When it was made, in seconds since 1970, by the daemon's clock.
    pub(crate) created: i64,
}

/// What the daemon says about itself that matters here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// The names of its runtimes.
    pub(crate) runtimes: Vec<String>,
    /// The daemon's clock, in seconds since 1970.
    pub(crate) now: Option<i64>,
    /// Walls that the profile needs, and whether it can build them.
    pub(crate) walls: Vec<(&'static str, bool)>,
    /// Whether root of a container is somebody else outside.
    pub(crate) rootless: bool,
    /// Its version.
    pub(crate) version: String,
    /// The version of its runc, as it writes it.
    pub(crate) runc: String,
}

/// What an image brings along that has to be undone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ImageFacts {
    /// Its id, `sha256:…`.
    pub(crate) id: String,
    /// Names of its environment variables.
    pub(crate) env: Vec<String>,
    /// Paths that it declares as volumes.
    pub(crate) volumes: Vec<String>,
}

/// One line of a pull.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress<'a> {
    pub(crate) layer: &'a str,
    pub(crate) status: &'a str,
    pub(crate) current: i64,
    pub(crate) total: i64,
}
