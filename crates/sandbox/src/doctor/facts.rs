//! What there is, before anybody judges it.

use domain::runner::EngineKind;

use crate::WallStatus;
use crate::docker::Filtered;

/// Everything that is known. What could not be found out is `None`, or the sentence that says why.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) wanted: Wanted,
    pub(super) host: Host,
    /// Nothing when the configuration does not come to Docker.
    pub(super) daemon: Option<Result<DaemonFacts, String>>,
    /// The images that the configuration allows.
    pub(super) images: Vec<ImageFact>,
    pub(super) walls: Option<Result<Vec<WallStatus>, String>>,
    pub(super) install: InstallFacts,
}

impl Facts {
    pub(super) fn docker(&self) -> Option<&DaemonFacts> {
        self.daemon.as_ref()?.as_ref().ok()
    }

    /// Whether the daemon's machine is this one, so that what is read here is true there.
    pub(super) fn daemon_is_here(&self) -> bool {
        self.docker().is_some_and(|daemon| {
            daemon.address.starts_with("unix://") && self.host.kernel == daemon.kernel
        })
    }
}

/// What the configuration asks for.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// None for `auto`.
    pub(super) engine: Option<EngineKind>,
    pub(super) runtime: Option<String>,
    pub(super) require_patched_runc: bool,
    pub(super) allow_weaker_isolate: bool,
    /// Whether every image is allowed.
    pub(super) any_image: bool,
    pub(super) memory_bytes: u64,
    pub(super) pool_size: usize,
}

/// This machine and this process.
#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    /// As `uname -r`.
    pub(super) kernel: Option<String>,
    /// The actions that seccomp knows, by blanks.
    pub(super) seccomp_actions: Option<String>,
    pub(super) max_user_namespaces: Option<u64>,
    /// Debian's and Ubuntu's switches; true when ordinary users may not make user namespaces.
    pub(super) userns_restricted: Option<bool>,
    /// Linux security modules, by commas.
    pub(super) lsm: Option<String>,
    /// The kernel's Landlock ABI; 0 when it has none or it is off.
    pub(super) landlock_abi: Option<i32>,
    pub(super) clock_source: Option<String>,
    pub(super) ptrace_scope: Option<u64>,
    pub(super) unprivileged_bpf_disabled: Option<u64>,
    /// Soft and hard limit of open files of this process.
    pub(super) open_files: Option<(u64, u64)>,
    /// The effective user.
    pub(super) uid: u32,
    /// Whether anybody on this machine may talk to the daemon's socket.
    pub(super) socket_for_all: Option<bool>,
    /// Bytes free and all where the daemon keeps its data.
    pub(super) disk: Option<(u64, u64)>,
}

/// The daemon.
#[derive(Debug, Clone, Default)]
pub(crate) struct DaemonFacts {
    pub(crate) address: String,
    pub(crate) version: String,
    pub(crate) api: String,
    pub(crate) kernel: Option<String>,
    pub(crate) os: String,
    pub(crate) runc: String,
    pub(crate) runtimes: Vec<String>,
    pub(crate) default_runtime: String,
    pub(crate) cgroup_version: Option<String>,
    pub(crate) cgroup_driver: Option<String>,
    /// Each limit that the profile needs, and whether the daemon can set it.
    pub(crate) limits: Vec<(&'static str, bool)>,
    /// As the daemon writes them: `name=seccomp,profile=default`.
    pub(crate) security: Vec<String>,
    pub(crate) storage_driver: String,
    pub(crate) storage: Vec<(String, String)>,
    pub(crate) root_dir: Option<String>,
    pub(crate) log_driver: String,
    pub(crate) live_restore: bool,
    /// Networks whose registries it speaks to without verified TLS.
    pub(crate) insecure_registries: Vec<String>,
    /// Seconds that its clock is ahead of ours, and how exactly that is known.
    pub(crate) skew: Option<(f64, f64)>,
    pub(crate) memory_bytes: u64,
    pub(crate) cpus: u64,
    /// Why it does not tell of memory that runs out while it does; nothing where it does.
    pub(crate) events_denied: Option<String>,
    /// For one that is spoken to in the clear on another machine; nothing where that could not be
    /// found out.
    pub(crate) clear: Option<Clear>,
}

/// Who can get at a daemon that is spoken to without TLS.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clear {
    /// Whether every address of its name is of a private network.
    pub(crate) private: bool,
    /// What stands before it.
    pub(crate) filter: Filtered,
}

impl DaemonFacts {
    pub(super) fn has(&self, option: &str) -> bool {
        let name = format!("name={option}");
        self.security
            .iter()
            .any(|it| it.split(',').any(|part| part == name))
    }
}

/// One allowed image.
#[derive(Debug, Clone, Default)]
pub(super) struct ImageFact {
    /// As configured.
    pub(super) name: String,
    /// What the daemon has of that name; nothing when it has none.
    pub(super) there: Option<ImageThere>,
    /// Why it could not be looked at.
    pub(super) error: Option<String>,
}

/// An image on the daemon.
#[derive(Debug, Clone, Default)]
pub(crate) struct ImageThere {
    pub(crate) id: String,
    /// Names with digests, by which a registry knows it.
    pub(crate) digests: Vec<String>,
    pub(crate) volumes: Vec<String>,
}

/// Settings of installs.
#[derive(Debug, Clone, Default)]
pub(super) struct InstallFacts {
    /// The configured file, and how many certificates it holds.
    pub(super) extra_ca: Option<(String, Result<usize, String>)>,
    /// Each configured registry.
    pub(super) registries: Vec<RegistryFact>,
}

/// One configured registry, without what is secret in its URL.
#[derive(Debug, Clone)]
pub(super) struct RegistryFact {
    /// The key that names it.
    pub(super) key: &'static str,
    /// Scheme, host and port; an error when the URL has none.
    pub(super) place: Result<(String, String, u16), String>,
    /// Whether a connection could be made from here.
    pub(super) reached: Result<(), String>,
}
