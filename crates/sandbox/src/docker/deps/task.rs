//! What installers are told and what they answer; how an error of theirs is told on.

use domain::error::{Error, ErrorCode};
use domain::lockfile::{npm, pypi};
use domain::tool::Runtime;
use serde::{Deserialize, Serialize};

use super::container::Failure;
use super::egress::Egress;
use super::settings::{InstallSettings, Registry};

/// Longest text of a package manager in an error, in characters.
const TEXT: usize = 600;

/// What an installer is told. Each reads what it needs.
#[derive(Serialize)]
pub(super) struct Task<'a> {
    pub(super) task: &'static str,
    pub(super) max_age_ms: u128,
    pub(super) limits: Limits,
    pub(super) extra_ca: Option<&'a str>,
    /// npm: where, and how it says who it is.
    pub(super) registry: Option<&'a str>,
    pub(super) auth: Option<Auth>,
    /// pip: the same.
    pub(super) index: Option<&'a str>,
    pub(super) index_with_auth: Option<String>,
    pub(super) index_auth: Option<String>,
    /// The package whose page is asked for the hosts of files; none when they are known.
    pub(super) first: Option<String>,
    #[serde(flatten)]
    pub(super) what: What<'a>,
}

#[derive(Serialize, Clone, Copy)]
pub(super) struct Limits {
    max_bytes: u64,
    max_files: u64,
}

impl Limits {
    pub(super) fn of(settings: &InstallSettings) -> Self {
        Self {
            max_bytes: settings.max_bytes,
            max_files: settings.max_files,
        }
    }
}

#[derive(Serialize)]
pub(super) struct Auth {
    scope: String,
    key: String,
    value: String,
}

impl Auth {
    pub(super) fn of(registry: &Registry) -> Option<Self> {
        let [scope, key, value] = registry.npm_auth()?;
        Some(Self { scope, key, value })
    }
}

#[derive(Serialize, Clone)]
#[serde(untagged)]
pub(super) enum What<'a> {
    ResolveNpm {
        dependencies: std::collections::BTreeMap<&'a str, &'a str>,
    },
    ResolvePypi {
        requirements: Vec<String>,
    },
    InstallNpm {
        lock: npm::Lock,
        #[serde(flatten)]
        mark: Mark<'a>,
    },
    InstallPypi {
        packages: Vec<pypi::Package>,
        python: String,
        #[serde(flatten)]
        mark: Mark<'a>,
    },
}

/// What is written into the marker of a volume.
#[derive(Serialize, Clone, Copy)]
pub(super) struct Mark<'a> {
    pub(super) digest: &'a str,
    pub(super) platform: &'a str,
    pub(super) allow_native: bool,
}

/// What an installer is told that only looks.
#[derive(Serialize)]
pub(super) struct Look {
    pub(super) task: &'static str,
    pub(super) max_age_ms: u128,
    pub(super) places: Vec<String>,
}

/// What it saw.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Looked {
    /// What packages depend on besides their lockfile: language, version, machine.
    pub(super) platform: String,
    /// The registry that its package manager takes by itself.
    pub(super) registry: Option<String>,
    /// The host of that one's files, where it is another one.
    #[serde(default)]
    pub(super) files: Option<String>,
    /// Why it can install nothing.
    #[serde(default)]
    pub(super) problem: Option<String>,
    /// The markers of the volumes that it was shown.
    pub(super) markers: Vec<Option<String>>,
}

/// What comes of resolving and installing.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    /// npm: `package-lock.json`.
    #[serde(default)]
    pub(super) lock: Option<String>,
    /// pip: the packages, and which Python it was.
    #[serde(default)]
    pub(super) packages: Option<Vec<Found>>,
    #[serde(default)]
    pub(super) python: Option<String>,
    /// The marker that was written.
    #[serde(default)]
    pub(super) marker: Option<String>,
    /// How long the package manager itself took, in milliseconds.
    #[serde(default)]
    pub(super) manager_ms: u64,
    #[serde(default)]
    failed: Option<String>,
    #[serde(default)]
    excess: Option<String>,
    #[serde(default)]
    native_refused: Option<Vec<String>>,
}

/// A package that pip would install.
#[derive(Debug, Deserialize)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) hashes: Vec<String>,
    pub(super) requires: Vec<String>,
}

/// The file in a volume that says that all of it is there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Marker {
    version: u32,
    pub(super) digest: String,
    pub(super) platform: String,
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Files of native code; the first twenty of them are named.
    pub(super) native_count: u64,
    pub(super) native: Vec<String>,
}

impl Marker {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let marker: Self = serde_json::from_str(text).ok()?;
        (marker.version == 1).then_some(marker)
    }
}

/// The other half of an error's words.
pub(super) struct Story<'a> {
    pub(super) runtime: Runtime,
    /// `resolve` or `install`.
    pub(super) stage: &'static str,
    pub(super) settings: &'a InstallSettings,
    pub(super) registry: Option<&'a Registry>,
    pub(super) egress: &'a Egress,
}

impl Story<'_> {
    fn manager(&self) -> &'static str {
        match self.runtime {
            Runtime::Node => "npm",
            Runtime::Python => "pip",
        }
    }

    fn failed(&self, message: impl Into<String>) -> Error {
        Error::new(ErrorCode::DependencyInstallFailed, message).with_field("dependencies")
    }

    /// An answer that is one.
    ///
    /// # Errors
    /// `dependency_install_failed`.
    pub(super) fn told(&self, answer: Answer) -> Result<Answer, Error> {
        if let Some(excess) = &answer.excess {
            return Err(self.excess(excess));
        }
        if let Some(native) = &answer.native_refused {
            let message = format!(
                "packages with native code are not allowed here: {}",
                native
                    .iter()
                    .take(3)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", ")
            );
            return Err(Error::new(ErrorCode::PolicyDenied, message)
                .with_field("dependencies")
                .with_fix("use packages without it, or set MCP_SANDBOX_ALLOW_NATIVE_PACKAGES"));
        }
        let Some(text) = &answer.failed else {
            return Ok(answer);
        };
        // Its connections were ended for that, and it may say so before we do.
        if self.egress.is_exceeded() {
            return Err(self.excess("received"));
        }
        let mut said = self.shorten(text);
        let refused = self.egress.refused();
        if !refused.is_empty() {
            let refused = refused.join(", ");
            said = format!(
                "{said} (connections to {refused} were refused: only the package registry may be reached)"
            );
        }
        let verb = if self.stage == "resolve" {
            "find"
        } else {
            "install"
        };
        let manager = self.manager();
        Err(self.failed(format!("{manager} could not {verb} the packages: {said}")))
    }

    pub(super) fn of(&self, failure: Failure) -> Error {
        match failure {
            Failure::Broken(error) => error,
            Failure::Received => self.excess("received"),
            Failure::Late => {
                let manager = self.manager();
                let after = self.settings.timeout.as_secs_f64();
                self.failed(format!("{manager} was not done after {after} s"))
                    .with_fix("try again, or set MCP_SANDBOX_INSTALL_TIMEOUT_MS")
            }
        }
    }

    fn excess(&self, what: &str) -> Error {
        let settings = self.settings;
        let (message, limit, variable) = match what {
            "files" => (
                "the packages have too many files",
                settings.max_files.to_string(),
                "MCP_SANDBOX_INSTALL_MAX_FILES",
            ),
            "received" => (
                "the packages are too large to fetch",
                format!("{} bytes", settings.max_bytes),
                "MCP_SANDBOX_INSTALL_MAX_BYTES",
            ),
            _ => (
                "the packages are too large",
                format!("{} bytes", settings.max_bytes),
                "MCP_SANDBOX_INSTALL_MAX_BYTES",
            ),
        };
        self.failed(message)
            .with_limit(limit)
            .with_fix(format!("use smaller ones, or set {variable}"))
    }

    /// What a package manager said, as far as it helps: one line, no secrets, no noise.
    fn shorten(&self, text: &str) -> String {
        let text = match self.registry {
            Some(registry) => registry.redact(text),
            None => text.to_owned(),
        };
        let noise = |line: &str| {
            line.is_empty()
                || line.contains("A complete log of this run")
                || line.contains("Log files were not written")
                || line.starts_with("[notice]")
                || line.contains("_logs")
        };
        let lines = text.lines().map(|line| {
            let line = line.trim();
            let line = ["npm error", "npm ERR!", "ERROR:", "npm warn", "WARNING:"]
                .iter()
                .find_map(|prefix| line.strip_prefix(prefix))
                .unwrap_or(line);
            line.trim()
        });
        let mut said = String::new();
        for line in lines.filter(|line| !noise(line)) {
            if !said.is_empty() {
                said.push_str("; ");
            }
            said.extend(line.chars().filter(|c| !c.is_control()));
        }
        let cut: String = said.chars().take(TEXT).collect();
        if cut.len() < said.len() {
            format!("{cut}…")
        } else {
            cut
        }
    }
}
