//! Where the engine and the installer meet.

use domain::error::{Error, ErrorCode, Result};
use domain::lockfile::Lockfile;
use domain::runner::{Call, Resolve};
use tokio::time::{Instant, timeout_at};

use super::Lease;
use crate::docker::DockerEngine;
use crate::docker::images::ImageId;

impl DockerEngine {
    /// The packages of a call, installed; nothing for a call without any. A call that brings no
    /// lockfile, as one-off code does, has them resolved first.
    ///
    /// # Errors
    /// As [`Deps::resolve`](super::Deps::resolve) and [`Deps::ensure`](super::Deps::ensure).
    pub(in crate::docker) async fn packages_of(
        &self,
        call: &Call,
        image: &ImageId,
        deadline: Instant,
    ) -> Result<Option<Lease>> {
        if call.dependencies.is_empty() {
            return Ok(None);
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
        self.deps.ensure(image, lock, deadline).await.map(Some)
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
