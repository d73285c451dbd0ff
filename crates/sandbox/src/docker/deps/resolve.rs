//! Resolving: from what an author named to a lockfile.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use domain::dependency::{self, Dependency};
use domain::error::{Error, ErrorCode, Result};
use domain::lockfile::{Lockfile, npm, pypi};
use domain::tool::Runtime;
use tokio::time::Instant;

use super::install::Job;
use super::task::{Answer, What};
use super::{Deps, Shared};
use crate::docker::images::ImageId;

/// Answers that are remembered, and for how long: the registry may have newer versions.
const ANSWERS: usize = 256;
const FRESH: Duration = Duration::from_secs(600);

/// What is resolved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Request {
    image: ImageId,
    runtime: Runtime,
    /// Sorted.
    dependencies: Vec<Dependency>,
}

/// Answers of late.
#[derive(Debug, Default)]
pub(super) struct Remembered(HashMap<Request, (Instant, Lockfile)>);

impl Remembered {
    fn get(&self, request: &Request) -> Option<Lockfile> {
        let (since, lock) = self.0.get(request)?;
        (since.elapsed() < FRESH).then(|| lock.clone())
    }

    fn put(&mut self, request: Request, lock: Lockfile) {
        self.0.retain(|_, (since, _)| since.elapsed() < FRESH);
        if self.0.len() >= ANSWERS
            && let Some(oldest) = self.0.iter().min_by_key(|(_, (since, _))| *since)
        {
            let oldest = oldest.0.clone();
            self.0.remove(&oldest);
        }
        self.0.insert(request, (Instant::now(), lock));
    }
}

impl Deps {
    /// Finds out what dependencies come to, in a container of this image. The same question within
    /// minutes gets the same answer.
    ///
    /// # Errors
    /// `dependency_install_failed` with what the package manager said; `invalid_argument` (a name or a
    /// version), `policy_denied` (a blocked package); `timeout`, `overloaded`, `unavailable`.
    pub(crate) async fn resolve(
        &self,
        image: &ImageId,
        runtime: Runtime,
        dependencies: &[Dependency],
        deadline: Instant,
    ) -> Result<Lockfile> {
        for (at, wanted) in dependencies.iter().enumerate() {
            wanted.check(&format!("dependencies/{at}"), runtime)?;
        }
        let mut dependencies = dependencies.to_vec();
        dependencies.sort();
        let request = Request {
            image: image.clone(),
            runtime,
            dependencies,
        };
        let shared = &self.0;
        if let Some(lock) = shared.resolved.lock().get(&request) {
            return Ok(lock);
        }
        let work = || {
            let shared = Arc::clone(shared);
            let request = request.clone();
            async move { shared.resolve(request).await }
        };
        shared.resolves.join(&request, deadline, work).await
    }
}

impl Shared {
    async fn resolve(&self, request: Request) -> Result<Lockfile> {
        let begun = Instant::now();
        let done = tokio::select! {
            done = self.resolve_now(&request) => done,
            () = self.closed.cancelled() => Err(Error::unavailable("installer of packages")),
        };
        self.measure(request.runtime, "resolve", begun, done.as_ref().err());
        let lock = done?;
        self.resolved.lock().put(request, lock.clone());
        Ok(lock)
    }

    async fn resolve_now(&self, request: &Request) -> Result<Lockfile> {
        let deadline = Instant::now() + self.settings.timeout;
        let Request {
            image,
            runtime,
            dependencies,
        } = request;
        let looked = self.look_into(image, *runtime, deadline).await?;
        let (registry, _) = self.source(*runtime, &looked)?;
        let what = match runtime {
            Runtime::Node => What::ResolveNpm {
                dependencies: dependencies
                    .iter()
                    .map(|wanted| (wanted.name.as_str(), wanted.version.as_str()))
                    .collect(),
            },
            Runtime::Python => What::ResolvePypi {
                requirements: dependencies.iter().map(pypi::requirement).collect(),
            },
        };
        let job = Job {
            image,
            runtime: *runtime,
            stage: "resolve",
            looked: &looked,
            first: dependencies.first().map(|wanted| wanted.name.clone()),
            what,
        };
        let (answer, open) = self.work(job, "").await?;
        self.discard(&open.volume).await;
        let text = match runtime {
            Runtime::Node => npm_text(answer, registry.address()),
            Runtime::Python => pypi_text(answer, dependencies),
        };
        let lock = text
            .and_then(|text| Lockfile::parse(*runtime, &text))
            .map_err(unusable)?;
        lock.check_for(dependencies).map_err(unusable)?;
        lock.check_blocked(&self.settings.blocked)?;
        Ok(lock)
    }
}

fn npm_text(answer: Answer, registry: &str) -> Result<String> {
    let written = answer.lock.unwrap_or_default();
    let lock = npm::Lock::of_npm(&written, registry)?;
    serde_json::to_string(&lock).map_err(Error::internal)
}

fn pypi_text(answer: Answer, dependencies: &[Dependency]) -> Result<String> {
    let found = answer.packages.unwrap_or_default();
    let canonical = |name: &str| dependency::canonical(Runtime::Python, name);
    let there: HashSet<String> = found.iter().map(|it| canonical(&it.name)).collect();
    let package = |it: super::task::Found| pypi::Package {
        requires: it
            .requires
            .into_iter()
            .filter(|name| there.contains(&canonical(name)))
            .collect(),
        name: it.name,
        version: it.version,
        hashes: it.hashes,
    };
    let mut lock = pypi::Lock {
        version: 1,
        python: answer.python.unwrap_or_default(),
        requested: dependencies.to_vec(),
        packages: found.into_iter().map(package).collect(),
    };
    lock.sort();
    serde_json::to_string(&lock).map_err(Error::internal)
}

/// What a registry answered cannot be locked: that is no fault of who asked.
fn unusable(error: Error) -> Error {
    if error.code() != ErrorCode::InvalidArgument {
        return error;
    }
    let place = error.field().unwrap_or("lockfile").to_owned();
    let package = place.strip_prefix("lockfile/").unwrap_or(&place);
    let package = package.rsplit("node_modules/").next().unwrap_or(package);
    let mut told = Error::new(
        ErrorCode::DependencyInstallFailed,
        format!("{package} {}", error.message()),
    )
    .with_field("dependencies");
    if let Some(limit) = error.limit() {
        told = told.with_limit(limit);
    }
    told
}
