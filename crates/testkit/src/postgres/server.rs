//! The server's processes.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use super::template;

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Clients are told and sent away, then everything is written: an administrator's restart.
    Fast,
    /// Clients are sent away and nothing is written; the next start recovers from the log.
    Immediate,
    /// The server is killed; its connections end as they notice.
    Kill,
}

impl Stop {
    pub(super) fn signal(self) -> Signal {
        match self {
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
            Stop::Kill => Signal::KILL,
        }
    }
}

/// A port that nobody uses now, below those that the system gives to connections: the server has
/// to find it free again after a restart.
pub(super) fn free_port() -> u16 {
    (0..200)
        .map(|_| fastrand::u16(20_000..32_000))
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .unwrap_or_else(|| panic!("there is no free port"))
}

/// A server from its start to its end.
pub(super) struct Server {
    data: PathBuf,
    id: Pid,
    ended: watch::Receiver<bool>,
}

impl Server {
    /// Starts the server of the cluster in `directory`.
    pub(super) fn spawn(directory: &Path, port: u16, settings: &[String]) -> Self {
        let data = directory.join("data");
        let log = File::options()
            .create(true)
            .append(true)
            .open(directory.join("log"))
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let mut command = template::as_owner(&template::programs().join("postgres"));
        command
            .current_dir(directory)
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-p", &port.to_string()])
            .args(["-c", "shared_buffers=16MB", "-c", "max_connections=120"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        for setting in settings {
            command.args(["-c", setting]);
        }
        let (started, start) = std::sync::mpsc::channel();
        let (tell, ended) = watch::channel(false);
        // The kernel kills the server when the thread that started it ends: this one lives as long
        // as the server or the process.
        thread::spawn(move || {
            let mut child = command
                .spawn()
                .unwrap_or_else(|error| panic!("{command:?}: {error}; {}", template::INSTALL));
            if started.send(child.id()).is_ok() && child.wait().is_ok() {
                tell.send_replace(true);
            }
        });
        let id = start.recv().ok();
        let id = id.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let Some(id) = id else {
            panic!("Postgres could not be started");
        };
        Self { data, id, ended }
    }

    /// Whether it accepts connections.
    pub(super) fn is_ready(&self) -> bool {
        let status = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let mut lines = status.lines();
        lines.next() == Some(&self.id.to_string()) && lines.nth(6).map(str::trim) == Some("ready")
    }

    pub(super) fn has_ended(&mut self) -> bool {
        *self.ended.borrow_and_update()
    }

    pub(super) async fn ended(mut self) {
        // An error would mean that the thread that waits for it is gone.
        if self.ended.wait_for(|ended| *ended).await.is_err() {
            panic!("nobody waits for Postgres");
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        if let Err(error) = kill_process(self.id, signal) {
            assert!(*self.ended.borrow(), "Postgres {}: {error}", self.id);
        }
    }

    /// Stops every process; a helper lets them go on after `at_most`.
    pub(super) fn pause(&self, at_most: Duration) {
        // Its parent first, so that no child is made meanwhile.
        self.signal(Signal::STOP);
        let stopped = self.family();
        for &child in &stopped[1..] {
            // One that ended meanwhile needs no stopping.
            if kill_process(child, Signal::STOP).is_err() {
                continue;
            }
        }
        let ids: Vec<String> = stopped.iter().map(Pid::to_string).collect();
        let wake = format!("sleep {}; kill -CONT {}", at_most.as_secs(), ids.join(" "));
        let helper = Command::new("setsid")
            .args(["-f", "sh", "-c", &wake])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(helper.is_ok_and(|status| status.success()), "setsid");
    }

    pub(super) fn unpause(&self) {
        for process in self.family().into_iter().rev() {
            if kill_process(process, Signal::CONT).is_err() {
                continue;
            }
        }
    }

    /// The server and its children.
    fn family(&self) -> Vec<Pid> {
        let parent = self.id.to_string();
        let path = format!("/proc/{parent}/task/{parent}/children");
        let children = fs::read_to_string(path).unwrap_or_default();
        let children = children
            .split_whitespace()
            .filter_map(|id| Pid::from_raw(id.parse().ok()?));
        [self.id].into_iter().chain(children).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if *self.ended.borrow() {
            return;
        }
        self.unpause();
        self.signal(Signal::QUIT);
        for _ in 0..1_000 {
            if *self.ended.borrow() {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
        self.signal(Signal::KILL);
    }
}
