//! Installing: from a lockfile into a new volume.

use std::sync::Arc;
use std::time::Duration;

use domain::error::{Error, ErrorCode, Result};
use domain::lockfile::{Lockfile, npm, pypi};
use domain::tool::Runtime;
use tokio::time::{Instant, sleep, timeout_at};

use super::Shared;
use super::container::{Failure, Work};
use super::settings::{InstallSettings, Registry};
use super::shelf::{Open, SetKey};
use super::task::{Answer, Auth, Limits, Looked, Mark, Marker, Story, Task, What};
use crate::docker::images::ImageId;
use crate::docker::profile::VolumeName;
use crate::docker::reaper::new_name;

/// Tries to remove a volume that a container may still have, and the pause between them.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(200);

/// One piece of work of a package manager.
pub(super) struct Job<'a> {
    pub(super) image: &'a ImageId,
    pub(super) runtime: Runtime,
    /// `resolve` or `install`.
    pub(super) stage: &'static str,
    pub(super) looked: &'a Looked,
    /// A package of the index that is named in it, for the hosts of its files.
    pub(super) first: Option<String>,
    pub(super) what: What<'a>,
}

impl Shared {
    pub(super) async fn install(
        self: Arc<Self>,
        image: ImageId,
        lock: Lockfile,
        looked: Arc<Looked>,
    ) -> Result<()> {
        let begun = Instant::now();
        let done = tokio::select! {
            done = self.install_now(&image, &lock, &looked) => done,
            () = self.closed.cancelled() => Err(Error::unavailable("installer of packages")),
        };
        self.measure(lock.runtime(), "install", begun, done.as_ref().err());
        self.count_sets();
        self.evict().await;
        done
    }

    async fn install_now(&self, image: &ImageId, lock: &Lockfile, looked: &Looked) -> Result<()> {
        lock.check_blocked(&self.settings.blocked)?;
        let key = SetKey::of(lock, &looked.platform);
        let (registry, _) = self.source(lock.runtime(), looked)?;
        let mark = Mark {
            digest: lock.digest(),
            platform: &looked.platform,
            allow_native: self.settings.allow_native,
        };
        let bad = |error: serde_json::Error| Error::invalid("lockfile", error.to_string());
        let (first, what) = match lock.runtime() {
            Runtime::Node => {
                let parsed: npm::Lock = serde_json::from_str(lock.text()).map_err(bad)?;
                let lock = parsed.with_registry(registry.address());
                (None, What::InstallNpm { lock, mark })
            }
            Runtime::Python => {
                let parsed: pypi::Lock = serde_json::from_str(lock.text()).map_err(bad)?;
                let first = parsed.packages.first().map(|package| package.name.clone());
                let what = What::InstallPypi {
                    packages: parsed.packages,
                    python: parsed.python,
                    mark,
                };
                (first, what)
            }
        };
        let job = Job {
            image,
            runtime: lock.runtime(),
            stage: "install",
            looked,
            first,
            what,
        };
        let (answer, open) = self.work(job, lock.digest()).await?;
        let marker = answer.marker.as_deref().and_then(Marker::parse);
        let marker = marker
            .filter(|marker| marker.digest == lock.digest() && marker.platform == looked.platform);
        let Some(marker) = marker else {
            self.discard(&open.volume).await;
            return Err(Error::internal("the installer left no marker"));
        };
        if marker.native_count > 0 {
            tracing::info!(
                digest = lock.digest(),
                files = marker.native_count,
                first = marker.native.first(),
                "installed packages have native code"
            );
        }
        tracing::info!(
            digest = lock.digest(),
            volume = %open.volume,
            files = marker.files,
            bytes = marker.bytes,
            "packages are installed"
        );
        if !self.shelf.put(key, open.volume.clone(), marker) {
            self.discard(&open.volume).await;
        }
        Ok(())
    }

    /// Has a package manager work in a new volume. When it fails, nothing is left of it.
    pub(super) async fn work(&self, job: Job<'_>, label: &str) -> Result<(Answer, Open)> {
        let deadline = Instant::now() + self.settings.timeout;
        let permit = timeout_at(deadline, self.at_once.acquire()).await;
        let Ok(Ok(_permit)) = permit else {
            return Err(Error::new(
                ErrorCode::Overloaded,
                "too many packages are being installed",
            )
            .with_retry_after(Duration::from_secs(5)));
        };
        let deadline = Instant::now() + self.settings.timeout;
        let (registry, egress) = self.source(job.runtime, job.looked)?;
        let open = self.shelf.open(VolumeName::from(new_name()));
        let labels = self.labels(job.runtime, job.image, label, job.stage);
        let made = self.workshop.daemon.create_volume(&open.volume, labels);
        made.await?;
        let _filling = (job.stage == "install").then(|| self.fill(label, &open));
        let settings = &self.settings;
        let task = task_of(&job, settings, &registry, self.registries.get(&job.runtime));
        let work = Work {
            image: job.image,
            runtime: job.runtime,
            fills: Some(&open.volume),
            sees: &[],
            egress: Some(Arc::clone(&egress)),
            task: &task,
            deadline,
        };
        let story = Story {
            runtime: job.runtime,
            stage: job.stage,
            settings,
            registry: self.registries.get(&job.runtime),
            egress: &egress,
        };
        let answer: Result<Answer, Failure> = self.workshop.run(work).await;
        tracing::debug!(
            stage = job.stage,
            received = egress.received(),
            "a package manager is done"
        );
        let answer = answer
            .map_err(|failure| story.of(failure))
            .and_then(|answer| story.told(answer));
        match answer {
            Ok(answer) => {
                let own = Duration::from_millis(answer.manager_ms);
                self.metrics
                    .dependency_install_duration
                    .with_label_values(&[language(job.runtime), "manager"])
                    .observe(own.as_secs_f64());
                Ok((answer, open))
            }
            Err(error) => {
                self.discard(&open.volume).await;
                Err(error)
            }
        }
    }

    /// Tells which volume is being filled, until what it returns is dropped.
    fn fill<'a>(&'a self, digest: &'a str, open: &Open) -> Filling<'a> {
        let volume = open.volume.clone();
        self.filled.send_modify(|filled| {
            filled.insert(digest.to_owned(), volume);
        });
        Filling(self, digest)
    }

    /// Removes a volume whose container is on its way out.
    pub(super) async fn discard(&self, volume: &VolumeName) {
        for _ in 0..TRIES {
            match self.workshop.daemon.remove_volume(volume).await {
                Ok(true) => return,
                Ok(false) => sleep(PAUSE).await,
                Err(fault) => {
                    tracing::debug!(%volume, %fault, "a volume is not removed yet");
                    break;
                }
            }
        }
        self.hurry.notify_one();
    }

    pub(super) fn measure(
        &self,
        runtime: Runtime,
        stage: &'static str,
        begun: Instant,
        error: Option<&Error>,
    ) {
        let language = language(runtime);
        let outcome = error.map_or("ok", |error| error.code().as_str());
        let took = begun.elapsed().as_secs_f64();
        self.metrics
            .dependency_install_duration
            .with_label_values(&[language, stage])
            .observe(took);
        if stage == "install" {
            self.metrics
                .dependency_installs
                .with_label_values(&[language, outcome])
                .inc();
        }
    }
}

struct Filling<'a>(&'a Shared, &'a str);

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        self.0.filled.send_modify(|filled| {
            filled.remove(self.1);
        });
    }
}

/// As metrics name it.
fn language(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Node => "node",
        Runtime::Python => "python",
    }
}

fn task_of<'a>(
    job: &Job<'a>,
    settings: &'a InstallSettings,
    registry: &'a Registry,
    configured: Option<&Registry>,
) -> Task<'a> {
    let node = job.runtime == Runtime::Node;
    let python = job.runtime == Runtime::Python;
    Task {
        task: job.stage,
        max_age_ms: (settings.timeout + Duration::from_secs(10)).as_millis(),
        limits: Limits::of(settings),
        extra_ca: settings.extra_ca.as_deref(),
        registry: node.then(|| registry.address()),
        auth: configured.filter(|_| node).and_then(Auth::of),
        index: python.then(|| registry.address()),
        index_with_auth: python.then(|| registry.with_password()),
        index_auth: python.then(|| registry.authorization()).flatten(),
        first: job.first.clone().filter(|_| configured.is_some()),
        what: job.what.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::deps::egress::Egress;
    use crate::docker::deps::task::Found;

    fn story<'a>(
        settings: &'a InstallSettings,
        registry: &'a Registry,
        egress: &'a Egress,
    ) -> Story<'a> {
        Story {
            runtime: Runtime::Node,
            stage: "install",
            settings,
            registry: Some(registry),
            egress,
        }
    }

    #[tokio::test]
    async fn fault_65_what_a_package_manager_said_is_short_and_holds_no_password() {
        let settings = InstallSettings::default();
        let registry = Registry::parse("x", "https://me:hunter2@registry.example/").unwrap();
        let egress = Egress::new(registry.place(), true, 1);
        egress.connect("evil.example:443").await.unwrap_err();
        let text = format!(
            "npm error code E404\nnpm error 404  GET https://me:hunter2@registry.example/x \u{1b}[31m\n\
             npm error A complete log of this run can be found in: /x/_logs/1.log\n{}",
            "y".repeat(5_000)
        );
        let answer: Answer =
            serde_json::from_str(&serde_json::json!({ "failed": text }).to_string()).unwrap();
        let error = story(&settings, &registry, &egress)
            .told(answer)
            .unwrap_err();
        assert_eq!(error.code(), ErrorCode::DependencyInstallFailed);
        let shown = error.to_string();
        assert!(
            shown.contains("code E404; 404  GET https://***@registry.example/x"),
            "{shown}"
        );
        assert!(shown.contains("evil.example:443 were refused"), "{shown}");
        assert!(
            !shown.contains("hunter2") && !shown.contains('\u{1b}') && !shown.contains("_logs")
        );
        assert!(shown.len() < 1_000, "{shown}");
    }

    #[test]
    fn answers_of_both_package_managers_are_read() {
        let answer: Answer = serde_json::from_str(
            r#"{"packages":[{"name":"a","version":"1","file":"a.whl","hashes":["sha256:0"],"requires":[]}],"python":"3.11"}"#,
        )
        .unwrap();
        let found: &Found = &answer.packages.unwrap()[0];
        assert_eq!((found.name.as_str(), found.version.as_str()), ("a", "1"));
    }
}
