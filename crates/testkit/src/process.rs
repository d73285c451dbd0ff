//! The real programs, started as a user starts them: environment in, log lines out.

use std::collections::VecDeque;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Most log lines that are kept for error messages and [`Program::log`].
const KEPT_LINES: usize = 50_000;
/// How long a program may take until it says where it listens.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running program; killed when dropped.
pub struct Program {
    name: String,
    child: Child,
    log: Arc<Mutex<VecDeque<String>>>,
    readers: JoinSet<()>,
}

impl Program {
    /// Starts `program` in `folder` with exactly these variables (and `PATH`), logging JSON. Standard input is
    /// closed, so that it serves HTTP.
    #[must_use]
    #[track_caller]
    pub fn start(program: &Path, folder: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut child = Command::new(program)
            .args(args)
            .current_dir(folder)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LOG_FORMAT", "json")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let mut readers = JoinSet::new();
        if let Some(stderr) = child.stderr.take() {
            let log = Arc::clone(&log);
            readers.spawn(async move {
                let mut lines = BufReader::new(stderr).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    if log.len() == KEPT_LINES {
                        log.pop_front();
                    }
                    log.push_back(line);
                }
            });
        }
        let name = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Self {
            name,
            child,
            log,
            readers,
        }
    }

    /// Waits for the first log line that holds `needle` and returns the value of its string field
    /// `field`.
    ///
    /// # Panics
    /// When the program ends or 20 seconds pass without it; the log is in the message.
    pub async fn field_of_line(&mut self, needle: &str, field: &str) -> String {
        let end = Instant::now() + START_LIMIT;
        let key = format!("\"{field}\":\"");
        loop {
            let lines = self.log();
            let found = lines
                .iter()
                .filter(|line| line.contains(needle))
                .find_map(|line| {
                    let rest = line.split_once(&key)?.1;
                    Some(rest.split('"').next()?.to_owned())
                });
            if let Some(value) = found {
                return value;
            }
            let ended = self.child.try_wait().ok().flatten();
            assert!(
                ended.is_none() && Instant::now() < end,
                "{} said no {needle:?} with {field}; ended: {ended:?}; its log:\n{}",
                self.name,
                self.log().join("\n")
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The last lines that it logged.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child
            .id()
            .unwrap_or_else(|| panic!("{} has ended", self.name))
    }

    /// Resident memory in KiB, as the kernel counts it.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
            .unwrap_or_else(|| panic!("{path} has no VmRSS"))
    }

    /// Its open files, sockets and pipes.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn open_files(&self) -> usize {
        let path = format!("/proc/{}/fd", self.id());
        let entries = std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        entries.count()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal by name (`TERM`, `INT`, `KILL`, `STOP`, `CONT`).
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub async fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.id().to_string()])
            .status()
            .await
            .unwrap_or_else(|error| panic!("kill: {error}"));
        assert!(status.success(), "kill -{name} {}", self.id());
    }

    /// Waits for its end and returns the exit code (`None`: killed by a signal).
    ///
    /// # Panics
    /// When it has not ended within `limit`.
    pub async fn ended(&mut self, limit: Duration) -> Option<i32> {
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(Ok(status)) => status.code(),
            Ok(Err(error)) => panic!("{}: {error}", self.name),
            Err(_) => {
                panic!(
                    "{} has not ended within {limit:?}:\n{}",
                    self.name,
                    self.log().join("\n")
                )
            }
        }
    }

    /// Ends it as a user does and checks that it drained.
    ///
    /// # Panics
    /// When it does not exit with 0 within 20 seconds.
    pub async fn stop(mut self) {
        self.signal("TERM").await;
        let code = self.ended(Duration::from_secs(20)).await;
        assert_eq!(code, Some(0), "{}:\n{}", self.name, self.log().join("\n"));
        self.readers.shutdown().await;
    }
}
