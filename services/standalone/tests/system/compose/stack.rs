//! A stack under a name and ports of its own, gone when it is dropped.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use testkit::docker::IMAGE;

/// Both streams of a command that ended.
pub(super) fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

/// The standard output of `docker` with these words, which has to succeed.
pub(super) fn docker(words: &[&str]) -> String {
    let output = Command::new("docker").args(words).output().unwrap();
    assert!(
        output.status.success(),
        "docker {words:?}: {}",
        said(&output)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A volume that nobody else has.
pub(super) struct Volume(pub(super) String);

impl Volume {
    pub(super) fn new() -> Self {
        Self(docker(&["volume", "create"]).trim().to_owned())
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let removed = Command::new("docker")
            .args(["volume", "rm", &self.0])
            .output();
        assert!(std::thread::panicking() || removed.unwrap().status.success());
    }
}

pub(super) struct Stack {
    project: String,
    /// The public port.
    pub(super) port: u16,
    /// The one for health and metrics.
    pub(super) ops: u16,
}

impl Stack {
    /// Starts everything, and waits until it is healthy.
    pub(super) fn up() -> Self {
        let there = Command::new("docker")
            .args(["image", "inspect", super::GATEWAY])
            .output();
        assert!(
            there.is_ok_and(|output| output.status.success()),
            "the images of the stack are not here: run bash .ci/images"
        );
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [port, ops] = ports.map(|port| port.local_addr().unwrap().port());
        let project = format!("dmcp-test-{port}");
        let stack = Self { project, port, ops };
        stack.run(&["up", "-d", "--no-build"]);
        stack
    }

    /// The standard output of docker-compose with these words, which has to succeed.
    pub(super) fn run(&self, words: &[&str]) -> String {
        let output = self.attempt(words);
        if !output.status.success() {
            let logs = said(&self.attempt(&["logs", "--tail", "20"]));
            panic!("docker-compose {words:?}: {}\n{logs}", said(&output));
        }
        String::from_utf8(output.stdout).unwrap()
    }

    fn attempt(&self, words: &[&str]) -> Output {
        let mut command = Command::new("timeout");
        command
            .args(["150", "docker-compose", "-p", &self.project, "-f"])
            .arg(top().join("deploy/docker-compose.postgres.yml"))
            .args(words)
            .env("DYNAMIC_MCP_PORT", self.port.to_string())
            .env("DYNAMIC_MCP_BIND", "127.0.0.1")
            .env("DYNAMIC_MCP_OPS_PORT", self.ops.to_string())
            .env("MCP_SANDBOX_ALLOWED_IMAGES", IMAGE)
            .env("MCP_SANDBOX_POOL_SIZE", "1")
            .env("MCP_SHUTDOWN_MIN_DELAY_MS", "0")
            .env("MCP_SANDBOX_MAX_SESSIONS", "0");
        command.output().unwrap()
    }

    /// The id of a service's container.
    pub(super) fn container(&self, service: &str) -> String {
        self.run(&["ps", "-a", "-q", service]).trim().to_owned()
    }

    /// The stack's network of that name.
    pub(super) fn network(&self, name: &str) -> String {
        format!("{}_{name}", self.project)
    }

    /// A file of a container, which has no program that could show it.
    pub(super) fn secret(&self, service: &str, path: &str) -> String {
        let from = format!("{}:{path}", self.container(service));
        let archive = Command::new("docker")
            .args(["cp", &from, "-"])
            .output()
            .unwrap();
        assert!(archive.status.success(), "{}", said(&archive));
        // One header of tar, then the text.
        let text: Vec<u8> = archive.stdout[512..]
            .iter()
            .copied()
            .take_while(|byte| *byte != 0)
            .collect();
        String::from_utf8(text).unwrap().trim().to_owned()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let down = self.attempt(&["down", "--volumes", "--timeout", "10"]);
        assert!(
            std::thread::panicking() || down.status.success(),
            "{}",
            said(&down)
        );
    }
}

/// The folder of the repository.
pub(super) fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
