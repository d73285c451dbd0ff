//! A daemon that misbehaves: everything passes through to the real one until it is told otherwise.

use std::path::PathBuf;

use sandbox::docker::{DockerEngineSettings, DockerSettings};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::rig::settings;

/// Where the daemon that the tests share listens.
const REAL: &str = "/var/run/docker.sock";

/// What becomes of what the daemon says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It arrives.
    Whole,
    /// Nothing arrives, and nothing ends.
    Hangs,
    /// Every connection is closed, new ones too.
    Cut,
    /// Something else arrives.
    Nonsense,
    /// It arrives, but for the end of it.
    NeverEnds,
    /// It arrives, but that memory ran out is not said of any container afterwards: what Docker 20.10 now
    /// and then does.
    Forgets,
    /// The same, and nobody is told while it happens either.
    ForgetsAndDenies,
}

/// The socket of that daemon.
pub(crate) struct Proxy {
    folder: TempDir,
    mode: watch::Sender<Mode>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("docker.sock")).unwrap();
        let mode = watch::Sender::new(Mode::Whole);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, mode.clone()));
        Self {
            folder,
            mode,
            _tasks: tasks,
        }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Settings of an engine behind it.
    pub(crate) fn settings(&self) -> DockerEngineSettings {
        let socket: PathBuf = self.folder.path().join("docker.sock");
        DockerEngineSettings {
            docker: DockerSettings {
                host: Some(format!("unix://{}", socket.display())),
                ..DockerSettings::default()
            },
            ..settings()
        }
    }
}

async fn accept(listener: UnixListener, mode: watch::Sender<Mode>) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let Ok(far) = UnixStream::connect(REAL).await else {
            continue;
        };
        let ((near_read, near_write), (far_read, far_write)) =
            (near.into_split(), far.into_split());
        let (there, back) = (mode.subscribe(), mode.subscribe());
        connections.spawn(async move {
            tokio::select! {
                () = ask(near_read, far_write, there) => {}
                () = answer(far_read, near_write, back) => {}
            }
        });
    }
}

async fn is_cut(mode: &mut watch::Receiver<Mode>) {
    // The sender lives as long as the proxy.
    drop(mode.wait_for(|mode| *mode == Mode::Cut).await);
}

async fn ask(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let denies = *mode.borrow() == Mode::ForgetsAndDenies;
    let copied = async {
        let mut head = [0; 64];
        let count = from.read(&mut head).await?;
        if denies && head[..count].windows(8).any(|it| it == b"/events?") {
            // The daemon has no such page.
            to.write_all(b"GET /none HTTP/1.1\r\nx: ").await?;
        }
        to.write_all(&head[..count]).await?;
        tokio::io::copy(&mut from, &mut to).await
    };
    tokio::select! {
        _ended = copied => {}
        () = is_cut(&mut mode) => {}
    }
}

const SAID: &[u8] = b"\"OOMKilled\":true";
const UNSAID: &[u8] = b"\"OOMForgot\":true";

/// Takes from what arrived what may go on.
fn forget(held: &mut Vec<u8>) -> Vec<u8> {
    while let Some(at) = held.windows(SAID.len()).position(|it| it == SAID) {
        held[at..at + SAID.len()].copy_from_slice(UNSAID);
    }
    // Its beginning may be the last that arrived so far.
    let begun = (1..SAID.len())
        .rev()
        .find(|&count| held.ends_with(&SAID[..count]));
    let rest = held.split_off(held.len() - begun.unwrap_or(0));
    std::mem::replace(held, rest)
}

async fn answer(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let (mut buffer, mut held) = (vec![0; 64 * 1024], Vec::new());
    loop {
        let read = tokio::select! {
            biased;
            () = is_cut(&mut mode) => return,
            read = from.read(&mut buffer) => read,
        };
        let count = read.unwrap_or(0);
        let now = *mode.borrow_and_update();
        if count == 0 && now == Mode::NeverEnds {
            is_cut(&mut mode).await;
            return;
        }
        if count == 0 || now == Mode::Cut {
            return;
        }
        if now == Mode::Hangs {
            drop(mode.wait_for(|mode| *mode != Mode::Hangs).await);
        }
        if *mode.borrow() == Mode::Nonsense {
            buffer[..count].fill(b'\xfe');
        }
        let forgets = matches!(now, Mode::Forgets | Mode::ForgetsAndDenies);
        held.extend_from_slice(&buffer[..count]);
        let piece = if forgets {
            forget(&mut held)
        } else {
            std::mem::take(&mut held)
        };
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
}
