//! The log in a file: a thread of its own writes it behind a bounded queue, so that a slow disk
//! never holds a request. A full file is put aside. A disk that is full or gone is said once on
//! stderr and counted; the service goes on, and so does the log when the disk is back.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

/// Lines that may wait for the disk.
const QUEUE: usize = 8_192;
/// How often a file is looked for that somebody may have moved, and a broken one is tried again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A log file and when it is put aside.
#[derive(Debug, Clone)]
pub struct LogFile {
    /// The file. Its directory must be there.
    pub path: PathBuf,
    /// Size in bytes at which a new file is begun.
    pub max_bytes: u64,
    /// Full files that are kept besides the current one: `.1` is the newest.
    pub max_files: u32,
}

enum Order {
    Line(Vec<u8>),
    /// Open the path anew: somebody may have put the file aside.
    Reopen,
    /// Everything before has been written when this is answered.
    Flush(SyncSender<()>),
}

/// The way to the thread that writes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct FileLog {
    orders: SyncSender<Order>,
    lost: Arc<AtomicU64>,
}

impl std::fmt::Debug for FileLog {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("FileLog").finish_non_exhaustive()
    }
}

impl FileLog {
    /// Opens the file and starts the thread.
    ///
    /// # Errors
    /// The file cannot be opened, or a thread cannot be had.
    pub(crate) fn start(settings: LogFile) -> io::Result<Self> {
        let current = Current::open(&settings.path)?;
        let (orders, received) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            settings,
            current: Some(current),
            looked: Instant::now(),
            troubled: false,
            lost: Arc::clone(&lost),
        };
        thread::Builder::new()
            .name(String::from("log file"))
            .spawn(move || writer.run(&received))?;
        Ok(Self { orders, lost })
    }

    /// Lines that were lost since this was last asked.
    pub(crate) fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    pub(crate) fn reopen(&self) {
        self.order(Order::Reopen);
    }

    /// Waits until what was logged before is written, for `within` at most.
    pub(crate) fn flush(&self, within: Duration) {
        let (done, waits) = sync_channel(1);
        if self.order(Order::Flush(done)) && waits.recv_timeout(within).is_err() {
            complain("the last lines of the log may not be in its file");
        }
    }

    fn order(&self, order: Order) -> bool {
        match self.orders.try_send(order) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }
}

/// One line on its way: what is written to it goes as a whole when it is dropped.
pub(crate) struct Line {
    log: FileLog,
    text: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            self.log.order(Order::Line(std::mem::take(&mut self.text)));
        }
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for FileLog {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line {
            log: self.clone(),
            text: Vec::new(),
        }
    }
}

/// The file that is written to.
struct Current {
    file: File,
    bytes: u64,
    inode: u64,
}

impl Current {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o640)
            .open(path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        Ok(Self {
            file,
            bytes: found.len(),
            inode: found.ino(),
        })
    }
}

struct Writer {
    settings: LogFile,
    /// `None` while it cannot be opened.
    current: Option<Current>,
    /// When the path was last looked at.
    looked: Instant,
    /// Whether stderr was told.
    troubled: bool,
    lost: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        while let Ok(order) = orders.recv() {
            match order {
                Order::Line(line) => self.line(&line),
                Order::Reopen => self.reopen(),
                // Whoever waited may have given up.
                Order::Flush(done) => drop(done.try_send(())),
            }
        }
    }

    fn line(&mut self, line: &[u8]) {
        self.look();
        let outcome = self.make_room(line.len() as u64).and_then(|()| {
            let current = self.current.as_mut().ok_or_else(closed)?;
            current.file.write_all(line)?;
            current.bytes += line.len() as u64;
            Ok(())
        });
        match outcome {
            Ok(()) => self.recovered(),
            Err(why) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                self.trouble(&why);
            }
        }
    }

    /// Now and then, whether the path still is the file that is open, and whether a file that could
    /// not be used can be.
    fn look(&mut self) {
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        let there = std::fs::metadata(&self.settings.path).map(|found| found.ino());
        let same = matches!((&there, &self.current), (Ok(inode), Some(current)) if *inode == current.inode);
        if !same {
            self.reopen();
        }
    }

    fn reopen(&mut self) {
        match Current::open(&self.settings.path) {
            Ok(current) => self.current = Some(current),
            Err(why) => {
                self.current = None;
                self.trouble(&why);
            }
        }
    }

    /// Puts a file aside that the next line would make too large.
    fn make_room(&mut self, line: u64) -> io::Result<()> {
        let full = self
            .current
            .as_ref()
            .is_some_and(|it| it.bytes > 0 && it.bytes + line > self.settings.max_bytes);
        if !full {
            return Ok(());
        }
        for number in (1..self.settings.max_files).rev() {
            match std::fs::rename(self.aside(number), self.aside(number + 1)) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
                _ => {}
            }
        }
        std::fs::rename(&self.settings.path, self.aside(1))?;
        self.current = None;
        self.current = Some(Current::open(&self.settings.path)?);
        Ok(())
    }

    fn aside(&self, number: u32) -> PathBuf {
        let mut name = self.settings.path.clone().into_os_string();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }

    fn trouble(&mut self, why: &io::Error) {
        if !std::mem::replace(&mut self.troubled, true) {
            let path = self.settings.path.display();
            complain(&format!(
                "the log cannot be written to {path}: {why}; the service goes on, lines are lost"
            ));
        }
    }

    fn recovered(&mut self) {
        if std::mem::replace(&mut self.troubled, false) {
            let path = self.settings.path.display();
            complain(&format!("the log is written to {path} again"));
        }
    }
}

fn closed() -> io::Error {
    io::Error::other("the file cannot be opened")
}

/// Says it where a person or a supervisor looks when the log itself is silent.
fn complain(text: &str) {
    // A closed stderr has no reader.
    drop(writeln!(io::stderr(), "{text}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::fmt::MakeWriter as _;

    fn say(log: &FileLog, text: &str) {
        log.make_writer().write_all(text.as_bytes()).unwrap();
    }

    fn settings(path: &Path) -> LogFile {
        LogFile {
            path: path.to_owned(),
            max_bytes: 100,
            max_files: 2,
        }
    }

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn full_files_are_put_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service.log");
        let log = FileLog::start(settings(&path)).unwrap();
        for number in 0..10 {
            say(&log, &format!("{number}{}\n", "x".repeat(38)));
        }
        log.flush(PATIENCE);
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let first = |text: String| text.lines().map(|l| l[..1].to_owned()).collect::<String>();
        assert_eq!(first(read("service.log")), "89");
        assert_eq!(first(read("service.log.1")), "67");
        assert_eq!(first(read("service.log.2")), "45");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
        assert_eq!(log.take_lost(), 0);
        let mode = std::fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode & 0o027, 0, "{mode:o}");
    }

    #[test]
    fn a_longer_line_than_a_file_is_written_whole_and_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service.log");
        let log = FileLog::start(settings(&path)).unwrap();
        say(&log, "short\n");
        say(&log, &format!("{}\n", "y".repeat(500)));
        say(&log, "after\n");
        log.flush(PATIENCE);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "after\n");
        assert_eq!(
            std::fs::metadata(path.with_extension("log.1"))
                .unwrap()
                .len(),
            501
        );
    }

    #[test]
    fn a_full_disk_is_counted_and_nothing_else_happens() {
        let (orders, received) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            settings: settings(Path::new("/dev/full")),
            // Every write to it says that the disk is full.
            current: Some(Current {
                file: OpenOptions::new().append(true).open("/dev/full").unwrap(),
                bytes: 0,
                inode: std::fs::metadata("/dev/full").unwrap().ino(),
            }),
            looked: Instant::now(),
            troubled: false,
            lost: Arc::clone(&lost),
        };
        thread::spawn(move || writer.run(&received));
        let log = FileLog { orders, lost };
        for _ in 0..5 {
            say(&log, "a line\n");
        }
        log.flush(PATIENCE);
        assert_eq!(log.take_lost(), 5);
        assert_eq!(log.take_lost(), 0, "asked once");
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service.log");
        let log = FileLog::start(settings(&path)).unwrap();
        say(&log, "one\n");
        log.flush(PATIENCE);
        std::fs::rename(&path, folder.path().join("rotated")).unwrap();
        log.reopen();
        say(&log, "two\n");
        log.flush(PATIENCE);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        // Nor does it need to be told.
        std::fs::remove_file(&path).unwrap();
        thread::sleep(LOOK_EVERY + Duration::from_millis(50));
        say(&log, "three\n");
        log.flush(PATIENCE);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        assert!(FileLog::start(settings(&folder.path().join("none/x.log"))).is_err());
        assert!(FileLog::start(settings(folder.path())).is_err());
    }
}
