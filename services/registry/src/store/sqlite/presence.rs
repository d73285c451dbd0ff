//! Whether a connection still belongs to the file at the path.
//!
//! SQLite keeps writing into a file that was moved away or deleted, and a write that nobody will
//! find again must not be acknowledged. So before a connection is used, the file at the path has
//! to be the one that it was opened on; and after an error of the disk no connection is used again.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::pool::PoolConnectionMetadata;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Presence {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Device and inode of the file that was opened first.
    opened: (u64, u64),
    /// Connections made before this moment are not used again.
    trusted_since: Instant,
    /// Device and inode seen last.
    seen: (u64, u64),
}

impl Presence {
    pub(super) fn of(path: &Path) -> std::io::Result<Self> {
        let identity = identity(path)?;
        let now = Instant::now();
        Ok(Self {
            path: path.to_owned(),
            state: Mutex::new(State {
                opened: identity,
                trusted_since: now,
                seen: identity,
            }),
        })
    }

    /// Closes every connection that exists now before its next use.
    pub(super) fn distrust(&self) {
        self.lock().trusted_since = Instant::now();
    }

    /// Whether another file than the one opened first is at the path.
    pub(super) fn was_replaced(&self) -> bool {
        let state = self.lock();
        state.seen != state.opened
    }

    /// Whether a connection of the pool may be used.
    pub(super) fn holds(&self, connection: &PoolConnectionMetadata) -> std::io::Result<bool> {
        let identity = identity(&self.path)?;
        let mut state = self.lock();
        if identity != state.seen {
            state.seen = identity;
            state.trusted_since = Instant::now();
        }
        Ok(state.trusted_since.elapsed() >= connection.age)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is three plain values, whole at every moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    let file = std::fs::metadata(path)?;
    Ok((file.dev(), file.ino()))
}
