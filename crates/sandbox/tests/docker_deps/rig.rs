//! An engine that installs packages, and what is left of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use domain::dependency::Dependency;
use domain::error::Result;
use domain::runner::{Call, Outcome, Resolve, RunEvent};
use domain::tool::Runtime;
use domain::{CodeDigest, Lockfile, RequestId, TenantId};
use futures::StreamExt;
use sandbox::docker::{DockerEngine, DockerEngineSettings, InstallSettings};
use sandbox::{Engine, Job};
use serde_json::Value;
use telemetry::{BuildInfo, Metrics};
use tokio::time::Instant;

pub(crate) const NODE: &str = testkit::docker::IMAGE;
pub(crate) const PYTHON: &str = testkit::docker::PYTHON_IMAGE;

pub(crate) struct Rig {
    pub(crate) engine: Arc<DockerEngine>,
    pub(crate) owner: String,
    pub(crate) metrics: Arc<Metrics>,
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

pub(crate) fn install() -> InstallSettings {
    InstallSettings {
        extra_ca: trusted(),
        ..InstallSettings::default()
    }
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(install()).await
    }

    pub(crate) async fn with(install: InstallSettings) -> Self {
        Self::owned(uuid::Uuid::new_v4().to_string(), install).await
    }

    pub(crate) async fn owned(owner: String, install: InstallSettings) -> Self {
        Self::set_up(owner, install, |_| {}).await
    }

    pub(crate) async fn set_up(
        owner: String,
        install: InstallSettings,
        change: impl FnOnce(&mut DockerEngineSettings),
    ) -> Self {
        testkit::docker::daemon();
        let mut settings = DockerEngineSettings {
            owner: owner.clone(),
            pool_size: 0,
            memory_bytes: 512 << 20,
            allowed_images: [NODE, PYTHON, testkit::docker::BARE_IMAGE]
                .map(str::to_owned)
                .into(),
            install,
            ..DockerEngineSettings::default()
        };
        change(&mut settings);
        let build = BuildInfo {
            service: "test",
            version: "0",
            commit: "0",
        };
        let metrics = Arc::new(Metrics::new(build).unwrap());
        let engine = DockerEngine::launch(settings, Arc::clone(&metrics)).await;
        Self {
            engine: Arc::new(engine.unwrap()),
            owner,
            metrics,
        }
    }

    pub(crate) async fn resolve(
        &self,
        runtime: Runtime,
        wanted: &[(&str, &str)],
    ) -> Result<Lockfile> {
        let request = Resolve {
            runtime,
            image: image(runtime).to_owned(),
            dependencies: dependencies(wanted),
        };
        self.engine.resolve(request, soon(150)).await
    }

    /// Runs a call to its end; an error before it is one that nothing ran with.
    pub(crate) async fn run(&self, call: Call) -> Result<Outcome> {
        let job = Job {
            deadline: soon(200),
            call: Call {
                code_digest: CodeDigest::of(&call.code),
                ..call
            },
            request_id: RequestId::accept("request-1").unwrap(),
            tenant: TenantId::default(),
            slot: None,
        };
        let mut execution = self.engine.start(job).await?;
        loop {
            if let RunEvent::Finished(outcome) = execution.next().await.expect("an outcome") {
                return Ok(outcome);
            }
        }
    }

    /// The value of a call, which has to succeed.
    pub(crate) async fn value(&self, call: Call) -> Value {
        let outcome = self
            .run(call)
            .await
            .unwrap_or_else(|error| panic!("{error} {:?}", error.cause().map(ToString::to_string)));
        let printed = outcome.printed;
        let value = outcome
            .result
            .unwrap_or_else(|failure| panic!("{failure:?} {printed:?}"));
        serde_json::from_str(value.expect("a value").get()).unwrap()
    }

    fn label(&self) -> String {
        format!("label=dynamic-mcp.owner={}", self.owner)
    }

    pub(crate) async fn volumes(&self) -> BTreeSet<String> {
        let daemon = testkit::docker::daemon();
        let list = daemon
            .run(&["volume", "ls", "-q", "--filter", &self.label()])
            .await;
        list.lines().map(str::to_owned).collect()
    }

    pub(crate) async fn containers(&self) -> BTreeSet<String> {
        let daemon = testkit::docker::daemon();
        let list = daemon.run(&["ps", "-aq", "--filter", &self.label()]).await;
        list.lines().map(str::to_owned).collect()
    }

    /// Waits until so many volumes are there and no container is.
    pub(crate) async fn only(&self, volumes: usize) {
        let begun = Instant::now();
        loop {
            let (there, containers) = (self.volumes().await, self.containers().await);
            if there.len() == volumes && containers.is_empty() {
                return;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{volumes} volumes are to be there: {there:?}, {containers:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// So many sets of packages are there.
    pub(crate) async fn only_sets(&self, sets: i64) {
        assert_eq!(self.metrics.dependency_volumes.get(), sets);
        assert_eq!(self.volumes().await.len(), usize::try_from(sets).unwrap());
    }

    /// Ends the engine; what stays is what it installed, and that goes too.
    pub(crate) async fn close(self) {
        self.engine.shutdown().await;
        assert!(
            self.containers().await.is_empty(),
            "a shutdown leaves no container"
        );
        let daemon = testkit::docker::daemon();
        for volume in self.volumes().await {
            daemon.run(&["volume", "rm", &volume]).await;
        }
    }
}

impl Drop for Rig {
    /// A test that failed has not closed it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let filter = self.label();
            let script = format!(
                "docker rm -f $(docker ps -aq --filter {filter}); \
                 docker volume rm $(docker volume ls -q --filter {filter})"
            );
            let removed = std::process::Command::new("sh")
                .args(["-c", &script])
                .output();
            assert!(removed.is_ok());
        }
    }
}

pub(crate) fn image(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Node => NODE,
        Runtime::Python => PYTHON,
    }
}

pub(crate) fn dependencies(wanted: &[(&str, &str)]) -> Vec<Dependency> {
    let one = |&(name, version): &(&str, &str)| Dependency {
        name: name.to_owned(),
        version: version.to_owned(),
    };
    wanted.iter().map(one).collect()
}

/// A call that needs packages.
pub(crate) fn call(
    runtime: Runtime,
    wanted: &[(&str, &str)],
    lock: Option<&Lockfile>,
    code: &str,
) -> Call {
    let mut call = testkit::call(code);
    call.runtime = runtime;
    call.image = image(runtime).to_owned();
    call.dependencies = dependencies(wanted);
    call.lock = lock.cloned();
    call.limits.timeout = Duration::from_secs(30);
    call.limits.memory_bytes = 512 << 20;
    call
}

pub(crate) fn soon(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}
