//! Where the engine and the installer meet.

use domain::error::{Error, ErrorCode, Result};
use domain::lockfile::Lockfile;
use domain::runner::Resolve;
use domain::tool::Isolation;
use tokio::time::{Instant, timeout_at};

use super::Lease;
use crate::Job;
use crate::docker::DockerEngine;
use crate::docker::pool::{Checkout, Key};
use crate::docker::profile::VolumeName;
use crate::docker::sandbox::Maker;

impl DockerEngine {
    /// The packages of a call, installed; nothing for a call without any. A call that brings no
    /// lockfile, as one-off code does, has them resolved first. While they are installed a sandbox
    /// is made that has them: it takes about as long.
    ///
    /// # Errors
    /// As [`Deps::resolve`](super::Deps::resolve) and [`Deps::ensure`](super::Deps::ensure).
    pub(in crate::docker) async fn packages_of(
        &self,
        job: &Job,
        key: &Key,
    ) -> Result<(Option<Lease>, Option<Checkout<Maker>>)> {
        let (call, image, deadline) = (&job.call, &key.image, job.deadline);
        if call.dependencies.is_empty() {
            return Ok((None, None));
        }
        let resolved;
        let lock = match &call.lock {
            Some(lock) if lock.runtime() == call.runtime => lock,
            Some(_) => return Err(Error::invalid("lockfile", "is of another language")),
            None => {
                let (runtime, wanted) = (call.runtime, &call.dependencies);
                resolved = self.deps.resolve(image, runtime, wanted, deadline).await?;
                &resolved
            }
        };
        if call.isolation != Isolation::Call {
            let lease = self.deps.ensure(image, lock, deadline).await?;
            return Ok((Some(lease), None));
        }
        let ahead = async |volume: VolumeName| {
            let key = Key {
                deps: Some(volume.clone()),
                ..key.clone()
            };
            // What fails here is tried again when the packages are there.
            let checkout = self.pool.take(&key, &job.tenant).await.ok();
            checkout.map(|checkout| (volume, checkout))
        };
        let ensured = self.deps.ensure_ahead(image, lock, deadline, ahead).await?;
        let (lease, ahead) = ensured;
        let ahead = ahead.filter(|(volume, _)| volume == lease.volume());
        Ok((Some(lease), ahead.map(|(_, checkout)| checkout)))
    }

    /// What dependencies come to in this image.
    ///
    /// # Errors
    /// As [`Deps::resolve`](super::Deps::resolve), and those of an image that cannot be used.
    pub(in crate::docker) async fn lock_of(
        &self,
        request: Resolve,
        deadline: Instant,
    ) -> Result<Lockfile> {
        let Resolve {
            runtime,
            image,
            dependencies,
        } = request;
        self.images.want(&image)?;
        let found = timeout_at(deadline, self.images.look_up(&image)).await;
        let image = found
            .map_err(|_| Error::new(ErrorCode::Timeout, "the image was not found in time"))??;
        self.deps
            .resolve(&image, runtime, &dependencies, deadline)
            .await
    }
}
