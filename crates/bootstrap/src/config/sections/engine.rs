//! What code may use and what runs it.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::choice::choice;
use crate::config::key::{Key, Kind};
use crate::config::section::section;
use crate::units::{ByteSize, DurationUnit};

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
