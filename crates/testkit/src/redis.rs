//! A private Redis for one test: real, on a port of its own, and gone with the test.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::certificates::{self, Leaf};

/// How long a server may take to come up.
const START: Duration = Duration::from_secs(10);
/// The password, which only whoever is given the URL knows.
const PASSWORD: &str = "a-canary-of-the-tests";

/// A Redis server that keeps nothing on the disk. Killed when dropped, also while it is paused.
pub struct Redis {
    child: Option<Child>,
    port: u16,
    folder: TempDir,
    tls: bool,
}

impl Redis {
    /// A new server that answers.
    ///
    /// # Panics
    /// When Redis is not installed or does not start; the message says what to do.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        Self::start_in(folder, false).await
    }

    /// A new server that speaks TLS only, with this certificate, by the name `localhost`.
    ///
    /// # Panics
    /// As [`Redis::start`].
    pub async fn start_tls(leaf: &Leaf) -> Self {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        certificates::write(&folder.path().join("redis.pem"), &leaf.certificate);
        certificates::write(&folder.path().join("redis.key"), &leaf.key);
        Self::start_in(folder, true).await
    }

    async fn start_in(folder: TempDir, tls: bool) -> Self {
        let mut redis = Self {
            child: None,
            port: 0,
            folder,
            tls,
        };
        for _ in 0..20 {
            redis.port = free_port();
            if redis.try_resume().await {
                return redis;
            }
        }
        panic!("redis-server does not start: run `bash .ci/redis`, or install it");
    }

    /// Its URL, with the password.
    #[must_use]
    pub fn url(&self) -> String {
        match self.tls {
            true => format!("rediss://:{PASSWORD}@localhost:{}/0", self.port),
            false => format!("redis://:{PASSWORD}@127.0.0.1:{}/0", self.port),
        }
    }

    /// Kills it: its connections are reset.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn kill(&mut self) {
        let Some(mut child) = self.child.take() else {
            panic!("Redis does not run");
        };
        child.kill().await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Starts it again on the same port, empty.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn resume(&mut self) {
        assert!(self.try_resume().await, "Redis does not come back");
    }

    /// Stops the process where it is: it takes connections, and answers nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a paused process go on.
    pub fn unpause(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends a command as a line, without TLS, and returns what comes back at once.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn ask(&self, command: &str) -> String {
        match timeout(START, self.try_ask(command)).await {
            Ok(Ok(answer)) => answer,
            other => panic!("{command}: {other:?}"),
        }
    }

    async fn try_ask(&self, command: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let words = format!("AUTH {PASSWORD}\r\n{command}\r\nQUIT\r\n");
        stream.write_all(words.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let answer = answer.strip_prefix("+OK\r\n").unwrap_or(&answer);
        Ok(answer.strip_suffix("+OK\r\n").unwrap_or(answer).to_owned())
    }

    async fn try_resume(&mut self) -> bool {
        let port = self.port.to_string();
        let listening: &[&str] = match self.tls {
            false => &["--port", &port],
            true => &[
                "--port",
                "0",
                "--tls-port",
                &port,
                "--tls-auth-clients",
                "no",
                "--tls-cert-file",
                "redis.pem",
                "--tls-key-file",
                "redis.key",
                "--tls-ca-cert-file",
                "redis.pem",
            ],
        };
        // However the test ends, the kernel ends the server with it.
        let spawned = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "redis-server"])
            .args(listening)
            .args(["--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--requirepass", PASSWORD])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let Ok(child) = spawned else {
            return false;
        };
        let child = self.child.insert(child);
        let end = Instant::now() + START;
        while Instant::now() < end {
            if !matches!(child.try_wait(), Ok(None)) {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return true;
            }
            sleep(Duration::from_millis(10)).await;
        }
        false
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().and_then(Child::id);
        let id = id.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let sent = id.map(|id| kill_process(id, signal));
        assert!(matches!(sent, Some(Ok(()))), "Redis does not run: {sent:?}");
    }
}

/// A port that nobody uses now, below those that the system gives to connections: the server has to
/// find it free again after a restart.
fn free_port() -> u16 {
    (0..200)
        .map(|_| fastrand::u16(20_000..32_000))
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .unwrap_or_else(|| panic!("there is no free port"))
}
