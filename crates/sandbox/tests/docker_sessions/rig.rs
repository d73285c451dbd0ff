//! An engine with a session in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::TenantId;
use domain::error::Result;
use domain::session::{CommandResult, Exec, Network};
use sandbox::docker::{DockerEngine, DockerEngineSettings, InstallSettings};
use sandbox::{Engine, OpenSession, Session};
use telemetry::{BuildInfo, Metrics};
use tokio::time::Instant;

/// Whose agent runs on Node.js.
pub(crate) const NODE: &str = "dynamic-mcp-test/node:1";
/// Whose agent runs on Python.
pub(crate) const PYTHON: &str = testkit::docker::PYTHON_IMAGE;
/// Both.
pub(crate) const IMAGES: [&str; 2] = [NODE, PYTHON];
/// One with Node.js and nothing else.
pub(crate) const BARE: &str = "dynamic-mcp-test/node-bare:1";

/// Most output of an exec.
pub(crate) const MOST: u64 = 200_000;

/// The engine with what belongs to it.
pub(crate) struct Rig {
    pub(crate) engine: Arc<DockerEngine>,
    pub(crate) owner: String,
}

/// What this machine trusts: its registries may be behind a proxy with an authority of its own.
#[allow(
    clippy::disallowed_methods,
    reason = "where the certificates are is the machine's to say"
)]
pub(crate) fn trusted() -> Option<String> {
    let file = std::env::var("SSL_CERT_FILE").ok()?;
    Some(std::fs::read_to_string(file).unwrap())
}

impl Rig {
    pub(crate) async fn new() -> Self {
        testkit::docker::daemon();
        let owner = uuid::Uuid::new_v4().to_string();
        let settings = DockerEngineSettings {
            owner: owner.clone(),
            pool_size: 0,
            memory_bytes: 256 << 20,
            allowed_images: [NODE, PYTHON, BARE].map(str::to_owned).into(),
            install: InstallSettings {
                extra_ca: trusted(),
                ..InstallSettings::default()
            },
            ..DockerEngineSettings::default()
        };
        let build = BuildInfo {
            service: "test",
            version: "0",
            commit: "0",
        };
        let metrics = Arc::new(Metrics::new(build).unwrap());
        let engine = DockerEngine::launch(settings, metrics).await.unwrap();
        Self {
            engine: Arc::new(engine),
            owner,
        }
    }

    pub(crate) fn wanted(image: &str) -> OpenSession {
        OpenSession {
            tenant: TenantId::default(),
            image: image.to_owned(),
            network: Network::None,
            env: BTreeMap::new(),
            lock: None,
            memory_bytes: 256 << 20,
            cpu_millis: 1_000,
            lifetime: Duration::from_secs(600),
            deadline: soon(20),
            slot: None,
        }
    }

    pub(crate) async fn open(&self, image: &str) -> Box<dyn Session> {
        self.engine
            .open_session(Self::wanted(image))
            .await
            .unwrap_or_else(|error| panic!("{image}: {error} {:?}", error.cause()))
    }

    /// Its containers, by name.
    pub(crate) async fn containers(&self) -> Vec<String> {
        let label = format!("dynamic-mcp.owner={}", self.owner);
        let names = testkit::docker::daemon().labelled(&label).await;
        names.into_iter().collect()
    }

    /// Removes the packages that it installed, which outlive an engine.
    pub(crate) fn remove_volumes(&self) {
        let script = format!(
            "docker volume rm $(docker volume ls -q --filter label=dynamic-mcp.owner={})",
            self.owner
        );
        let removed = std::process::Command::new("sh")
            .args(["-c", &script])
            .output();
        assert!(removed.unwrap().status.success());
    }

    /// Ends the engine; nothing of it may be left.
    pub(crate) async fn close(&self) {
        self.engine.shutdown().await;
        let left = self.containers().await;
        assert!(left.is_empty(), "a shutdown leaves nothing: {left:?}");
    }
}

impl Drop for Rig {
    /// A test that failed has not shut its engine down; others count containers.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let script = format!(
                "docker rm -f $(docker ps -aq --filter label=dynamic-mcp.owner={})",
                self.owner
            );
            let removed = std::process::Command::new("sh")
                .args(["-c", &script])
                .output();
            assert!(removed.is_ok());
        }
    }
}

pub(crate) fn soon(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

/// Runs commands with this time each.
pub(crate) async fn exec(
    session: &dyn Session,
    commands: &[&str],
    millis: u64,
) -> Result<Vec<CommandResult>> {
    let exec = Exec {
        commands: commands.iter().map(|&it| it.to_owned()).collect(),
        timeout: Duration::from_millis(millis),
    };
    session.exec(exec, MOST, soon(60)).await
}

/// Runs one command.
pub(crate) async fn sh(session: &dyn Session, command: &str) -> CommandResult {
    let mut results = exec(session, &[command], 10_000)
        .await
        .unwrap_or_else(|error| panic!("{command}: {error}"));
    assert_eq!(results.len(), 1, "{command}");
    results.remove(0)
}
