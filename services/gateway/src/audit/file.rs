//! The file: lines are added as a whole or not at all, and the chain goes on over restarts, full
//! files and files that somebody else has moved away. Everything here blocks.

mod tail;

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use domain::audit::{Link, Writer};

use super::Queued;
use tail::Tail;

/// Most bytes that are put together before they are written.
const CHUNK: usize = 1 << 20;

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

/// The open log.
pub(super) struct LogFile {
    path: PathBuf,
    max_bytes: u64,
    max_files: u32,
    lines: Writer,
    file: File,
    /// Length up to the end of the last whole line.
    len: u64,
    /// Whether there may be something behind `len`.
    dirty: bool,
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
        let begin = || {
            if let Some(folder) = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty())
            {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(folder)?;
            }
            let file = open(&path)?;
            let mut tail = tail::repair(&file)?;
            if tail.last.is_none() && aside(&path, 1).exists() {
                tail.last = tail::read(&File::open(aside(&path, 1))?)?.last;
            }
            Ok((file, tail))
        };
        match begin() {
            Ok((file, Tail { len, last, torn })) => {
                let found = Found {
                    lines: last.is_some(),
                    torn_bytes: torn,
                };
                let log = Self {
                    path,
                    max_bytes,
                    max_files,
                    lines,
                    file,
                    len,
                    dirty: false,
                    next: last.as_deref().map_or(Link::FIRST, Link::after),
                    written: 0,
                };
                Ok((log, found))
            }
            Err(error) => Err(OpenError {
                why: io::Error::to_string(&error),
                path,
            }),
        }
    }

    /// Number of the next line.
    pub(super) fn next_seq(&self) -> u64 {
        self.next.seq
    }

    /// Lines that were written since it was opened.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Writes what waits, in order. What has been written is taken out of `waiting` and, where
    /// somebody waits for it, on the disk and told. After an error the rest is still in there and
    /// the file ends with a whole line, or is made to before the next attempt.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn write(&mut self, waiting: &mut VecDeque<Queued>) -> io::Result<()> {
        self.look()?;
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

    /// The lines of the records that go into this file, how many they are, the place after them,
    /// and whether the record after them needs a new file.
    fn chunk(&self, waiting: &VecDeque<Queued>) -> io::Result<(Vec<u8>, usize, Link, bool)> {
        let (mut text, mut count, mut next) = (Vec::new(), 0, self.next);
        for one in waiting {
            let line = self
                .lines
                .line(&one.record, &next)
                .map_err(io::Error::other)?;
            let len = self.len + text.len() as u64;
            if len > 0 && len + line.len() as u64 + 1 > self.max_bytes {
                return Ok((text, count, next, true));
            }
            next = Link::after(line.as_bytes());
            text.extend_from_slice(line.as_bytes());
            text.push(b'\n');
            count += 1;
            if text.len() >= CHUNK {
                break;
            }
        }
        Ok((text, count, next, false))
    }

    /// Adds whole lines, or nothing.
    fn add(&mut self, text: &[u8], sync: bool) -> io::Result<()> {
        self.dirty = true;
        let added = self.file.write_all(text).and_then(|()| match sync {
            true => self.file.sync_data(),
            false => Ok(()),
        });
        if let Err(error) = added {
            // After a failed sync nobody knows what is on the disk: it is written again.
            self.clean()?;
            return Err(error);
        }
        self.len += text.len() as u64;
        self.dirty = false;
        Ok(())
    }

    /// Takes away what may stand behind the last whole line.
    fn clean(&mut self) -> io::Result<()> {
        if self.dirty {
            self.file.set_len(self.len)?;
            self.dirty = false;
        }
        Ok(())
    }

    /// Sees whether the file is still the one at its path, and as long as it was left.
    fn look(&mut self) -> io::Result<()> {
        let ours = self.file.metadata()?;
        let there = fs::symlink_metadata(&self.path);
        let same = there
            .as_ref()
            .is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
        if same {
            self.clean()?;
            if self.file.metadata()?.len() == self.len {
                return Ok(());
            }
            tracing::warn!(file = %self.path.display(), "somebody else has changed the audit log");
        } else {
            tracing::info!(file = %self.path.display(), "the audit log was moved away: a new file");
            self.file = open(&self.path)?;
            self.len = 0;
            self.dirty = false;
        }
        let tail = tail::repair(&self.file)?;
        // Lines of somebody else: the chain goes on from them. Lines that are gone: it goes on from
        // what was there, so that their absence is seen.
        if let Some(last) = tail.last.filter(|_| tail.len > self.len) {
            self.next = Link::after(&last);
        }
        self.len = tail.len;
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
        self.file = open(&self.path)?;
        self.len = 0;
        if let Some(folder) = self
            .path
            .parent()
            .filter(|path| !path.as_os_str().is_empty())
        {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

/// The file that was put aside `number` files ago.
fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// Opens a file for lines to be added by this process alone.
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
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::other(
            "another process writes it: each process needs an audit log of its own",
        ),
        TryLockError::Error(error) => error,
    })?;
    if metadata.permissions().mode() & 0o077 != 0
        && let Err(error) = file.set_permissions(fs::Permissions::from_mode(0o600))
    {
        tracing::warn!(file = %path.display(), %error, "others may read the audit log");
    }
    Ok(file)
}

#[cfg(test)]
mod tests;
