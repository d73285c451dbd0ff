//! Reads lines out of the log's files, while they are written, rotated and moved. Everything here
//! blocks.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use domain::audit::Head;
use domain::audit::archive::{MAX_BATCH_BYTES, MAX_BATCH_LINES};
use domain::audit::chain::place_of;
use tokio::time::Instant;

use crate::audit::file::aside;

/// Longest line that is read: twice the longest that a configuration allows.
const LONGEST: usize = 2 << 20;
/// Longest wait for a writer to let the files be looked at together.
const LOCK_WITHIN: Duration = Duration::from_secs(2);
const LOCK_EVERY: Duration = Duration::from_millis(1);

/// A place in the files, and what is read from there.
pub(super) struct Reader {
    path: PathBuf,
    /// Where the lines begin that the registry has not acknowledged.
    at: Option<Place>,
    /// Where those end that were read last.
    until: Option<Place>,
    /// The line that was looked for is nowhere.
    lost: bool,
}

struct Place {
    file: File,
    /// Where the next line begins.
    offset: u64,
    /// Where the last line of the chain before it begins, as far as it was read in this file.
    last: Option<u64>,
}

impl Place {
    fn beginning(file: File) -> Self {
        Self {
            file,
            offset: 0,
            last: None,
        }
    }

    fn again(&self) -> io::Result<Self> {
        Ok(Self {
            file: self.file.try_clone()?,
            offset: self.offset,
            last: self.last,
        })
    }

    /// Whether the line of this head is still where it was: the file may have been emptied under us,
    /// as `copytruncate` does it, and written again.
    fn is_behind(&self, known: Option<&Head>) -> io::Result<bool> {
        let (Some(last), Some(known)) = (self.last, known) else {
            return Ok(self.file.metadata()?.len() >= self.offset);
        };
        let mut place = self.again()?;
        place.offset = last;
        let mut line = Vec::new();
        let there = next_line(&mut from(&place)?, &mut line)?.is_some();
        Ok(there && Head::of(&line).as_ref() == Some(known))
    }
}

impl Reader {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            at: None,
            until: None,
            lost: false,
        }
    }

    /// Whether the lines that were read last begin anew because the known one is nowhere.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// The place is looked for anew.
    pub(super) fn forget(&mut self) {
        (self.at, self.until) = (None, None);
    }

    /// What was read last is acknowledged.
    pub(super) fn taken(&mut self) {
        self.at = self.until.take();
        self.lost = false;
    }

    /// The lines of the chain after `known`, on the disk for good, up to one batch; none when there
    /// are none yet. When the line of `known` is nowhere they begin with the oldest that is there.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn lines(&mut self, known: Option<&Head>) -> io::Result<Vec<String>> {
        let mut place = match &self.at {
            Some(place) if place.is_behind(known)? => place.again()?,
            _ => match self.locate(known)? {
                Some(place) => place,
                None => return Ok(Vec::new()),
            },
        };
        loop {
            let lines = read(&mut place)?;
            if !lines.is_empty() {
                // What the registry has acknowledged must not be lost here with the power.
                place.file.sync_data()?;
                self.until = Some(place);
                return Ok(lines);
            }
            let Some(next) = self.after(&mut place)? else {
                self.at = Some(place);
                return Ok(Vec::new());
            };
            place = next;
        }
    }

    /// Every file, oldest first, none of them in the middle of being renamed.
    fn files(&self) -> io::Result<Vec<File>> {
        let until = Instant::now() + LOCK_WITHIN;
        let newest = loop {
            let newest = match File::open(&self.path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break None,
                Err(error) => return Err(error),
            };
            match newest.try_lock_shared() {
                Ok(()) if is_at(&newest, &self.path)? => break Some(newest),
                Ok(()) => newest.unlock()?,
                Err(fs::TryLockError::WouldBlock) => {}
                Err(fs::TryLockError::Error(error)) => return Err(error),
            }
            if Instant::now() >= until {
                return Err(io::Error::other("the audit log is locked all the time"));
            }
            std::thread::sleep(LOCK_EVERY);
        };
        let mut files = Vec::new();
        for number in 1.. {
            match File::open(aside(&self.path, number)) {
                Ok(file) => files.push(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
        files.reverse();
        if let Some(newest) = newest {
            newest.unlock()?;
            files.push(newest);
        }
        Ok(files)
    }

    /// The place after the line of this head; of the first line of all when it is nowhere.
    fn locate(&mut self, known: Option<&Head>) -> io::Result<Option<Place>> {
        let files = self.files()?;
        self.lost = false;
        if let Some(head) = known {
            for file in files.iter().rev() {
                if let Some(place) = find(file, head)? {
                    return Ok(Some(place));
                }
            }
            self.lost = true;
        }
        let first = files.into_iter().next();
        Ok(first.map(Place::beginning))
    }

    /// The beginning of the file after that one, once nothing more comes into it. `place` itself when
    /// something has come meanwhile.
    fn after(&self, place: &mut Place) -> io::Result<Option<Place>> {
        if is_at(&place.file, &self.path)? {
            return Ok(None);
        }
        if place.file.metadata()?.len() > place.offset && has_line(place)? {
            return place.again().map(Some);
        }
        let own = identity(&place.file)?;
        let mut files = self.files()?;
        let mut at = None;
        for (index, file) in files.iter().enumerate() {
            if identity(file)? == own {
                at = Some(index);
            }
        }
        // Gone altogether: on with the oldest that is there.
        let next = at.map_or(0, |at| at + 1);
        Ok((next < files.len()).then(|| Place::beginning(files.swap_remove(next))))
    }
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    let found = file.metadata()?;
    Ok((found.dev(), found.ino()))
}

fn is_at(file: &File, path: &std::path::Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == identity(file)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A reader of its own position: handles of one file share theirs.
fn from(place: &Place) -> io::Result<BufReader<File>> {
    let mut file = place.file.try_clone()?;
    file.seek(SeekFrom::Start(place.offset))?;
    Ok(BufReader::with_capacity(64 * 1024, file))
}

/// The next whole line without its break and how long it is with it; `None` when there is no more.
fn next_line(reader: &mut BufReader<File>, line: &mut Vec<u8>) -> io::Result<Option<u64>> {
    line.clear();
    let read = io::Read::take(&mut *reader, LONGEST as u64).read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(read as u64));
    }
    if read >= LONGEST {
        return Err(io::Error::other(
            "a line is too long to be one of an audit log",
        ));
    }
    Ok(None)
}

fn has_line(place: &Place) -> io::Result<bool> {
    Ok(next_line(&mut from(place)?, &mut Vec::new())?.is_some())
}

/// One batch from the place on, which moves behind it. Lines without a chain are passed over.
fn read(place: &mut Place) -> io::Result<Vec<String>> {
    let mut reader = from(place)?;
    let (mut lines, mut bytes, mut line) = (Vec::new(), 0, Vec::new());
    while lines.len() < MAX_BATCH_LINES {
        let Some(length) = next_line(&mut reader, &mut line)? else {
            break;
        };
        if place_of(&line).is_some() {
            if !lines.is_empty() && bytes + line.len() > MAX_BATCH_BYTES {
                break;
            }
            bytes += line.len();
            place.last = Some(place.offset);
            // A line that reads as JSON is UTF-8.
            lines.push(String::from_utf8(std::mem::take(&mut line)).map_err(io::Error::other)?);
        }
        place.offset += length;
    }
    Ok(lines)
}

/// The place behind the line of this head.
fn find(file: &File, head: &Head) -> io::Result<Option<Place>> {
    let mut place = Place::beginning(file.try_clone()?);
    let mut reader = from(&place)?;
    let mut line = Vec::new();
    let number = format!("\"seq\":{},", head.seq);
    while let Some(length) = next_line(&mut reader, &mut line)? {
        place.last = Some(place.offset);
        place.offset += length;
        let named = line.windows(number.len()).any(|at| at == number.as_bytes());
        if named && Head::of(&line).as_ref() == Some(head) {
            return Ok(Some(place));
        }
    }
    Ok(None)
}
