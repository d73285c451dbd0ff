//! A set of packages as a tar archive, for sessions that want it in their own workspace.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use domain::error::Result;
use domain::lockfile::Lockfile;
use futures::{Stream, StreamExt};
use tokio::time::Instant;

use super::{Deps, LOOK_TIME, Lease};
use crate::docker::images::ImageId;
use crate::docker::profile::{Mounted, dependencies_at};
use crate::docker::reaper::Guard;

/// The archive, as the daemon writes it: entries below one folder, `node_modules/` or
/// `site-packages/`. What reads it has to check every name all the same.
pub(crate) struct Pack {
    pieces: Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>,
    left: u64,
    _guard: Guard,
    _lease: Lease,
}

impl Deps {
    /// The set of a lockfile, read out of a container that has it mounted and never runs.
    ///
    /// # Errors
    /// As [`Deps::ensure`]. The stream fails when the daemon does, or at more bytes than a set may
    /// have.
    pub(crate) async fn pack(
        &self,
        image: &ImageId,
        lock: &Lockfile,
        deadline: Instant,
    ) -> Result<Pack> {
        let lease = self.ensure(image, lock, deadline).await?;
        let shared = &self.0;
        let place = dependencies_at(lock.runtime());
        let mounted = Mounted {
            volume: lease.volume().clone(),
            target: place,
            writable: false,
        };
        let life = shared.settings.timeout + LOOK_TIME;
        let program = vec!["/nothing".to_owned()];
        let made = shared
            .workshop
            .make(image, program, Some(mounted), &[], life);
        let guard = made.await?;
        let pieces = shared.workshop.daemon.archive(guard.id(), place);
        Ok(Pack {
            pieces: pieces.boxed(),
            // Each entry has a head, and is filled up to a block.
            left: shared.settings.max_bytes + shared.settings.max_files * 2_048,
            _guard: guard,
            _lease: lease,
        })
    }
}

impl Stream for Pack {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.pieces.poll_next_unpin(cx);
        if let Poll::Ready(Some(Ok(piece))) = &next {
            match self.left.checked_sub(piece.len() as u64) {
                Some(left) => self.left = left,
                None => {
                    let error = io::Error::other("the packages are larger than they may be");
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        next
    }
}
