//! What code may use and what runs it.

use std::path::PathBuf;
use std::time::Duration;

use domain::DataMount;

use crate::config::choice::choice;
use crate::config::key::{Key, Kind};
use crate::config::section::section;
use crate::secret::Secret;
use crate::units::{ByteSize, DurationUnit};

choice! {
    /// The network of sandbox sessions.
    pub enum SessionNetwork {
        /// None; a session that asks for another one is refused.
        None = "none",
        /// Sessions may ask for the daemon's bridge and with it for everything that is reached from there.
        Bridge = "bridge",
    }
}

choice! {
    /// What runs the code of a tool.
    pub enum EngineChoice {
        /// Docker where a daemon answers and an allowed image is there or can be pulled, else isolate.
        Auto = "auto",
        /// Containers on a Docker daemon.
        Docker = "docker",
        /// QuickJS in a locked-down child process.
        Isolate = "isolate",
        /// The Node server's word for an engine without Docker; means `isolate`.
        Node = "node",
    }
}

section! {
    /// What a tool may ask for. The registry checks it when a tool is made, the executor again when it
    /// runs.
    pub struct PolicyConfig for ALL {
        /// Dependencies of one tool.
        pub max_dependencies: u32 =
            Key::kept("MCP_SANDBOX_MAX_DEPENDENCIES", "sandbox.maxDependencies")
            .kind(Kind::Integer(1, 256)).default("32");
        /// Longest time limit that a call may ask for.
        pub max_timeout: Duration = Key::kept("MCP_SANDBOX_MAX_TIMEOUT_MS", "sandbox.maxTimeoutMs")
            .kind(Kind::Duration(DurationUnit::Milliseconds, 1_000, 300_000)).default("120000");
        /// Images that a tool may name; set to nothing, all are allowed.
        pub allowed_images: Vec<String> =
            Key::kept("MCP_SANDBOX_ALLOWED_IMAGES", "sandbox.allowedImages")
            .kind(Kind::List).default("node:lts-slim,python:3-slim");
        /// Packages that a tool may not depend on.
        pub blocked_packages: Vec<String> =
            Key::kept("MCP_SANDBOX_BLOCKED_PACKAGES", "sandbox.blockedPackages")
            .kind(Kind::List).default("child_process,node-pty,npm,pm2");
        /// Names of the tools whose calls may share a sandbox when they ask for `isolation: tool`. It is
        /// no wall between those calls.
        pub shared_tools: Vec<String> =
            Key::added("MCP_SANDBOX_SHARED_TOOLS", "sandbox.sharedTools")
            .kind(Kind::List).default("");
    }
}

section! {
    /// The engine and the limits of one sandbox.
    pub struct EngineConfig for SANDBOX {
        /// What runs the code of a tool. `auto` takes Docker where a daemon answers and an allowed image
        /// is there or can be pulled, else isolate, and says which. `node` is accepted for `isolate`.
        pub engine: EngineChoice = Key::kept("MCP_EXECUTION_ENGINE", "sandbox.executionEngine")
            .kind(Kind::Choice(EngineChoice::CHOICES)).default("auto");
        /// Starts the isolate engine although this machine cannot build one of its walls.
        pub allow_weaker_isolate: bool =
            Key::added("MCP_EXECUTION_ALLOW_WEAKER_ISOLATE", "sandbox.allowWeakerIsolate")
            .kind(Kind::Bool).default("false");
        /// Memory of one sandbox.
        pub memory_limit: ByteSize = Key::kept("MCP_SANDBOX_MEMORY_LIMIT", "sandbox.memoryLimit")
            .flag("sandbox-memory").kind(Kind::Size(8 << 20, 64 << 30)).default("512m");
        /// CPUs of one sandbox.
        pub cpu_limit: f64 = Key::kept("MCP_SANDBOX_CPU_LIMIT", "sandbox.cpuLimit")
            .flag("sandbox-cpu").kind(Kind::Decimal(0.01, 256.0)).default("1");
        /// Output of one call.
        pub max_output: ByteSize =
            Key::kept("MCP_SANDBOX_MAX_OUTPUT_BYTES", "sandbox.maxOutputBytes")
            .kind(Kind::Size(1, 10_000_000)).default("200000");
        /// Sandboxes that are started ahead and wait; 0 starts each when it is needed.
        pub pool_size: usize = Key::added("MCP_SANDBOX_POOL_SIZE", "sandbox.poolSize")
            .kind(Kind::Integer(0, 1_000)).default("2");
        /// Memory that sandboxes which wait may use together. What is over it is not started ahead.
        pub pool_memory: ByteSize = Key::added("MCP_SANDBOX_POOL_MEMORY", "sandbox.poolMemory")
            .kind(Kind::Size(0, 1 << 40)).default("1g");
        /// Control group on the daemon's machine that all containers are put under, so that a limit of it
        /// bounds them together.
        pub cgroup_parent: Option<String> =
            Key::added("MCP_SANDBOX_CGROUP_PARENT", "sandbox.cgroupParent")
            .default_note("the daemon's own");
        /// Folders on the daemon's machine, `name=/path`, that every sandbox of this executor may read at
        /// `/data/<name>`: models and other data. At most 16. Only the Docker engine has them.
        pub data_mounts: Vec<DataMount> =
            Key::added("MCP_SANDBOX_DATA_MOUNTS", "sandbox.dataMounts")
            .kind(Kind::List).default("");
        /// Refuses to start on a daemon whose runc has known ways out; otherwise it is a warning.
        pub require_patched_runc: bool =
            Key::added("MCP_SANDBOX_REQUIRE_PATCHED_RUNC", "sandbox.requirePatchedRunc")
            .kind(Kind::Bool).default("false");
    }
}

impl PolicyConfig {
    /// The same as the rules that the domain checks tools by.
    #[must_use]
    pub fn rules(&self) -> domain::validate::Policy {
        domain::validate::Policy {
            allowed_images: self.allowed_images.clone(),
            blocked_packages: self.blocked_packages.clone(),
            max_dependencies: self.max_dependencies as usize,
            max_timeout_ms: u32::try_from(self.max_timeout.as_millis()).unwrap_or(u32::MAX),
            shared_tools: self.shared_tools.clone(),
        }
    }
}

impl EngineConfig {
    /// CPUs of one sandbox in thousandths.
    #[must_use]
    pub fn cpu_millis(&self) -> u32 {
        // Within the range of the key this neither loses nor overflows.
        (self.cpu_limit * 1_000.0).round() as u32
    }
}

section! {
    /// The Docker daemon that runs containers.
    pub struct DockerConfig for SANDBOX {
        /// Where the daemon is: `unix:///path` or `tcp://host:port`.
        pub host: Option<String> = Key::kept("DOCKER_HOST", "docker.host")
            .default_note("unix:///var/run/docker.sock");
        /// Set to anything, the daemon is spoken to over TLS and its certificate is verified.
        pub tls_verify: Option<String> = Key::kept("DOCKER_TLS_VERIFY", "docker.tlsVerify");
        /// Folder with `ca.pem`, `cert.pem` and `key.pem` for TLS.
        pub cert_path: Option<PathBuf> = Key::kept("DOCKER_CERT_PATH", "docker.certPath")
            .kind(Kind::Path);
        /// The daemon's runtime for containers, for example `runsc`.
        pub runtime: Option<String> = Key::added("MCP_SANDBOX_RUNTIME", "sandbox.runtime")
            .default_note("the daemon's default");
        /// Accepted and not used: the Docker API is spoken directly, without a program.
        pub docker_bin: Option<String> = Key::kept("MCP_SANDBOX_DOCKER_BIN", "sandbox.dockerBin")
            .flag("docker-bin");
    }
}

section! {
    /// Sandbox sessions.
    pub struct SessionConfig for SANDBOX {
        /// After how long without an operation a session ends.
        pub idle: Duration =
            Key::kept("MCP_SANDBOX_SESSION_TIMEOUT_SECONDS", "sandbox.sessionTimeoutSeconds")
            .kind(Kind::Duration(DurationUnit::Seconds, 1, 172_800)).default("1800");
        /// How long a session lives at most, used or not.
        pub lifetime: Duration =
            Key::added("MCP_SANDBOX_SESSION_LIFETIME_SECONDS", "sandbox.sessionLifetimeSeconds")
            .kind(Kind::Duration(DurationUnit::Seconds, 1, 604_800)).default("172800");
        /// Sessions at once, of one executor.
        pub max_sessions: usize = Key::kept("MCP_SANDBOX_MAX_SESSIONS", "sandbox.maxSessions")
            .kind(Kind::Integer(0, 1_000)).default("20");
        /// The most network that a session may ask for.
        pub network: SessionNetwork =
            Key::added("MCP_SANDBOX_SESSION_NETWORK", "sandbox.sessionNetwork")
            .kind(Kind::Choice(SessionNetwork::CHOICES)).default("none");
    }
}

section! {
    /// How the dependencies of tools are installed.
    pub struct InstallConfig for SANDBOX {
        /// PEM file with certificates that are trusted while dependencies are installed, besides those of
        /// the image.
        pub extra_ca_certs: Option<PathBuf> =
            Key::added("MCP_SANDBOX_EXTRA_CA_CERTS", "sandbox.extraCaCerts").kind(Kind::Path);
        /// The npm registry; may hold a credential.
        pub npm_registry: Option<Secret> =
            Key::added("MCP_SANDBOX_NPM_REGISTRY", "sandbox.npmRegistry")
            .secret().default_note("npm's own default");
        /// The index of Python packages (PEP 503); may hold a credential.
        pub pip_index: Option<Secret> = Key::added("MCP_SANDBOX_PIP_INDEX", "sandbox.pipIndex")
            .secret().default_note("pip's own default");
        /// How long one install may take.
        pub timeout: Duration =
            Key::added("MCP_SANDBOX_INSTALL_TIMEOUT_MS", "sandbox.installTimeoutMs")
            .kind(Kind::Duration(DurationUnit::Milliseconds, 1_000, 1_800_000)).default("120000");
        /// Size of one set of dependencies.
        pub max_bytes: ByteSize =
            Key::added("MCP_SANDBOX_INSTALL_MAX_BYTES", "sandbox.installMaxBytes")
            .kind(Kind::Size(1 << 20, 64 << 30)).default("512m");
        /// Files of one set of dependencies.
        pub max_files: u64 = Key::added("MCP_SANDBOX_INSTALL_MAX_FILES", "sandbox.installMaxFiles")
            .kind(Kind::Integer(1, 10_000_000)).default("100000");
        /// Size of all installed sets together; those that were not used for longest go first.
        pub cache_bytes: ByteSize =
            Key::added("MCP_SANDBOX_INSTALL_CACHE_BYTES", "sandbox.installCacheBytes")
            .kind(Kind::Size(1 << 20, 1 << 44)).default("4g");
        /// After how long without use an installed set is removed.
        pub cache_age: Duration =
            Key::added("MCP_SANDBOX_INSTALL_CACHE_AGE_SECONDS", "sandbox.installCacheAgeSeconds")
            .kind(Kind::Duration(DurationUnit::Seconds, 60, 31_536_000)).default("604800");
        /// Whether packages may bring native code, as most numeric ones do.
        pub allow_native: bool =
            Key::added("MCP_SANDBOX_ALLOW_NATIVE_PACKAGES", "sandbox.allowNativePackages")
            .kind(Kind::Bool).default("true");
        /// Whether containers that wait load the packages that the code of their calls begins with.
        pub load_ahead: bool = Key::added("MCP_SANDBOX_LOAD_AHEAD", "sandbox.loadAhead")
            .kind(Kind::Bool).default("true");
    }
}
