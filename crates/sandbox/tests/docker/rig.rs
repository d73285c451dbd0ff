//! An engine of one's own on the daemon that the tests share.

use std::sync::Arc;
use std::time::Duration;

use domain::runner::Call;
use sandbox::Job;
use sandbox::docker::{DockerEngine, DockerEngineSettings};
use telemetry::{BuildInfo, Metrics};
use tokio::time::{Instant, sleep};

use crate::suite::run::{Ended, IMAGE, Subject};

/// The engine with what belongs to it.
pub(crate) struct Rig {
    pub(crate) engine: Subject,
    pub(crate) owner: String,
    pub(crate) metrics: Arc<Metrics>,
}

pub(crate) fn metrics() -> Arc<Metrics> {
    let build = BuildInfo {
        service: "test",
        version: "0",
        commit: "0",
    };
    Arc::new(Metrics::new(build).unwrap())
}

/// As the suite wants it: 64 MiB, so that memory runs out soon.
pub(crate) fn settings() -> DockerEngineSettings {
    DockerEngineSettings {
        owner: uuid::Uuid::new_v4().to_string(),
        memory_bytes: 64 << 20,
        allowed_images: vec![IMAGE.to_owned()],
        ..DockerEngineSettings::default()
    }
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(settings()).await
    }

    pub(crate) async fn with(settings: DockerEngineSettings) -> Self {
        testkit::docker::daemon();
        let owner = settings.owner.clone();
        let metrics = metrics();
        let engine = DockerEngine::launch(settings, Arc::clone(&metrics)).await;
        Self {
            engine: Arc::new(engine.unwrap()),
            owner,
            metrics,
        }
    }

    /// Its containers, by name.
    pub(crate) async fn containers(&self) -> Vec<String> {
        let label = format!("dynamic-mcp.owner={}", self.owner);
        let names = testkit::docker::daemon().labelled(&label).await;
        names.into_iter().collect()
    }

    /// Waits until nothing but the pool is there.
    pub(crate) async fn only_the_pool(&self) {
        let begun = Instant::now();
        loop {
            let status = self.engine.status();
            let is_full = status.pool_idle > 0 && status.pool_idle == status.pool_size;
            if status.running == 0 && is_full {
                let there = self.containers().await;
                if there.len() == status.pool_size {
                    return;
                }
            }
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "more than the pool is there: {status:?}"
            );
            sleep(Duration::from_millis(50)).await;
        }
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

/// A call as the executor hands it over.
pub(crate) fn job(call: Call) -> Job {
    Job {
        deadline: Instant::now() + call.limits.timeout,
        call,
        request_id: domain::RequestId::random(),
        tenant: domain::TenantId::default(),
        slot: None,
    }
}

/// The engine alone, for the suite in Python.
pub(crate) async fn python_subject() -> Subject {
    let settings = DockerEngineSettings {
        allowed_images: vec![crate::suite::spoken::PYTHON_IMAGE.to_owned()],
        ..settings()
    };
    Arc::clone(&Rig::with(settings).await.engine)
}

/// The engine alone, for the suite.
pub(crate) async fn subject() -> Subject {
    Arc::clone(&Rig::new().await.engine)
}

/// All that was printed.
pub(crate) fn printed(ended: &Ended) -> String {
    let lines = ended.outcome.printed.iter();
    let lines: Vec<&str> = lines.map(|line| line.message.as_str()).collect();
    lines.join("\n")
}
