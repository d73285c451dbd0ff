//! The file: lines are added as a whole or not at all, and the chain goes on over restarts, full
//! files and files that somebody else has moved away. Everything here blocks.

mod tail;

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::audit::{Action, Head, Link, LogName, Outcome, Record, Writer};
use tokio::time::Instant;

use super::{Queued, name};

/// Most bytes that are put together before they are written.
const CHUNK: usize = 1 << 20;
/// Longest wait for another process that writes the same file.
const LOCK_WITHIN: Duration = Duration::from_secs(2);
/// Time between two looks whether it has ended.
const LOCK_EVERY: Duration = Duration::from_micros(200);

/// The file cannot be used. The text says which, why and what to do.
#[derive(Debug, thiserror::Error)]
#[error(
    "the audit log {}: {why}; set MCP_AUDIT_FILE to a file in a directory that this process can \
     write to, or MCP_AUDIT_ENABLED=false to do without an audit log",
    path.display()
)]
pub struct OpenError {
    path: PathBuf,
    why: String,
}

/// What was found where the log goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Whether there was a line before the next one.
    pub(super) lines: bool,
    /// Bytes of a line that was not written to its end, now taken away.
    pub(super) torn_bytes: u64,
}

/// The open log. Several processes may write the same file: each holds a lock while it writes and
/// goes on from the last line, whoever wrote it.
pub(super) struct LogFile {
    path: PathBuf,
    name: LogName,
    max_bytes: u64,
    max_files: u32,
    lines: Writer,
    file: File,
    /// Length up to the end of the last whole line that is known.
    len: u64,
    next: Link,
    /// Lines that were written since it was opened.
    written: u64,
}

impl LogFile {
    /// Opens or makes the file and finds the end of its chain.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(super) fn open(
        path: PathBuf,
        max_bytes: u64,
        max_files: u32,
        lines: Writer,
    ) -> Result<(Self, Found), OpenError> {
        let open = || {
            if let Some(folder) = folder_of(&path) {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(folder)?;
            }
            let file = open(&path)?;
            let mut log = Self {
                name: name::of(&path)?,
                file,
                path: path.clone(),
                max_bytes,
                max_files,
                lines,
                len: 0,
                next: Link::FIRST,
                written: 0,
            };
            log.lock(Instant::now() + LOCK_WITHIN)?;
            let torn_bytes = log.catch_up(true)?;
            log.file.unlock()?;
            let found = Found {
                lines: log.next != Link::FIRST,
                torn_bytes,
            };
            Ok((log, found))
        };
        open().map_err(|error: io::Error| OpenError {
            why: error.to_string(),
            path: path.clone(),
        })
    }

    /// Number of the next line, as far as this process knows.
    pub(super) fn next_seq(&self) -> u64 {
        self.next.seq
    }

    /// The log's name.
    pub(super) fn name(&self) -> &LogName {
        &self.name
    }

    /// Its last line, as far as this process knows; `None` when that is no line of a chain.
    pub(super) fn head(&self) -> Option<Head> {
        (self.next.seq > 1).then(|| Head {
            seq: self.next.seq - 1,
            hash: self.next.prev,
        })
    }

    /// Lines that were written since it was opened.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Writes what waits, in order. What has been written is taken out of `waiting` and, where
    /// somebody waits for it, on the disk and told. After an error the rest is still in there.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn write(&mut self, waiting: &mut VecDeque<Queued>) -> io::Result<()> {
        let written = self.hold().and_then(|()| self.write_held(waiting));
        let unlocked = self.file.unlock();
        written.and(unlocked)
    }

    fn write_held(&mut self, waiting: &mut VecDeque<Queued>) -> io::Result<()> {
        while !waiting.is_empty() {
            let (text, count, next, is_full) = self.chunk(waiting)?;
            if count > 0 {
                let wanted = waiting.iter().take(count).any(|one| one.on_disk.is_some());
                self.add(&text, wanted)?;
                self.next = next;
                self.written += count as u64;
                waiting.drain(..count).for_each(|mut one| one.tell(true));
            }
            if is_full {
                self.rotate()?;
            }
        }
        Ok(())
    }

    /// Locks the file at the path, which may be another one by now, and finds its end.
    fn hold(&mut self) -> io::Result<()> {
        let until = Instant::now() + LOCK_WITHIN;
        let mut fresh = false;
        loop {
            self.lock(until)?;
            if self.is_at_its_path()? {
                return self.catch_up(fresh).map(drop);
            }
            // Rotated by another process, or moved away by somebody.
            self.file = open(&self.path)?;
            self.len = 0;
            fresh = true;
            if Instant::now() >= until {
                return Err(io::Error::other("it is moved away again and again"));
            }
        }
    }

    fn lock(&self, until: Instant) -> io::Result<()> {
        loop {
            match self.file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                    return Err(io::Error::other("another process keeps it locked"));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_EVERY),
            }
        }
    }

    fn is_at_its_path(&self) -> io::Result<bool> {
        let ours = self.file.metadata()?;
        match fs::symlink_metadata(&self.path) {
            Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Goes on from where the file ends, when that is not where this process has left it. `fresh`:
    /// this process has just opened it. Gives the bytes of a torn line that was taken away.
    fn catch_up(&mut self, fresh: bool) -> io::Result<u64> {
        if !fresh && self.file.metadata()?.len() == self.len {
            return Ok(0);
        }
        let tail = tail::repair(&self.file)?;
        match tail.last {
            Some(last) if tail.len > self.len => self.next = Link::after(&last),
            // Nothing has been written since it was begun: the chain goes on from the file before.
            None if fresh && aside(&self.path, 1).exists() => {
                let before = tail::read(&File::open(aside(&self.path, 1))?)?.last;
                let next = before.as_deref().map(Link::after);
                let goes_on = |next: &Link| next.seq >= self.next.seq || self.next == Link::FIRST;
                self.next = next.filter(goes_on).unwrap_or(self.next);
            }
            // Lines are gone: the next one says so, because it carries the hash of what was there.
            _ => {}
        }
        if tail.len < self.len {
            tracing::warn!(file = %self.path.display(), "somebody has made the audit log shorter");
        }
        self.len = tail.len;
        Ok(tail.torn)
    }

    /// The lines of the records that go into this file, how many they are, the place after them,
    /// and whether the record after them needs a new file.
    fn chunk(&self, waiting: &VecDeque<Queued>) -> io::Result<(Vec<u8>, usize, Link, bool)> {
        let (mut text, mut count, mut next) = (Vec::new(), 0, self.next);
        if self.len == 0 && next != Link::FIRST {
            // A file in the middle of a log says of itself what it belongs to, so that one whose
            // first lines were removed is told from one that begins here.
            next = self.put(&mut text, &self.begins(), next)?;
        }
        let mark = text.len() as u64;
        for one in waiting {
            let line = self
                .lines
                .line(&one.record, &next)
                .map_err(io::Error::other)?;
            let len = self.len + text.len() as u64;
            if len > mark && len + line.len() as u64 + 1 > self.max_bytes {
                return Ok((text, count, next, true));
            }
            next = push(&mut text, &line);
            count += 1;
            if text.len() >= CHUNK {
                break;
            }
        }
        Ok((text, count, next, false))
    }

    /// The record that a file begins with which is not the first of its log.
    fn begins(&self) -> Record {
        Record::of_system(Action::AuditFile, Outcome::Success).with("log", self.name.as_str())
    }

    fn put(&self, text: &mut Vec<u8>, record: &Record, next: Link) -> io::Result<Link> {
        let line = self.lines.line(record, &next).map_err(io::Error::other)?;
        Ok(push(text, &line))
    }

    /// Adds whole lines, or nothing.
    fn add(&mut self, text: &[u8], sync: bool) -> io::Result<()> {
        let added = self.file.write_all(text).and_then(|()| match sync {
            true => self.file.sync_data(),
            false => Ok(()),
        });
        if let Err(error) = added {
            // After a failed sync nobody knows what is on the disk: it is written again. Should this
            // fail too, the next attempt finds what is left.
            if let Err(also) = self.file.set_len(self.len) {
                tracing::debug!(error = %also, "a torn line of the audit log stays for now");
            }
            return Err(error);
        }
        self.len += text.len() as u64;
        Ok(())
    }

    /// Puts this file aside as `.1`, the older ones one further, and begins a new one.
    fn rotate(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        // Only as far as the first name that is free: an attempt that has failed halfway costs no
        // file when it is made again.
        let free = (1..=self.max_files).find(|number| !aside(&self.path, *number).exists());
        for number in (1..free.unwrap_or(self.max_files)).rev() {
            fs::rename(aside(&self.path, number), aside(&self.path, number + 1))?;
        }
        fs::rename(&self.path, aside(&self.path, 1))?;
        if let Some(folder) = folder_of(&self.path) {
            File::open(folder)?.sync_all()?;
        }
        // Another process may have begun the new one already.
        self.hold()
    }
}

/// Adds a line; gives the place after it.
fn push(text: &mut Vec<u8>, line: &str) -> Link {
    text.extend_from_slice(line.as_bytes());
    text.push(b'\n');
    Link::after(line.as_bytes())
}

/// The directory that a file is in; `None` for the working directory.
fn folder_of(path: &Path) -> Option<&Path> {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
}

/// The file that was put aside `number` files ago.
pub(super) fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// Opens or makes a file for lines to be added, for the owner alone.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => {
                io::Error::other("it is a symbolic link")
            }
            _ => error,
        })?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if metadata.permissions().mode() & 0o077 != 0
        && let Err(error) = file.set_permissions(fs::Permissions::from_mode(0o600))
    {
        tracing::warn!(file = %path.display(), %error, "others may read the audit log");
    }
    Ok(file)
}

#[cfg(test)]
mod tests;
