//! One container in which a package manager works, from its making to its last word.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::{Mount, MountType, MountVolumeOptions};
use domain::error::{Error, ErrorCode, Result};
use domain::tool::Runtime;
use futures::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::egress::Egress;
use super::tunnel::Tunnel;
use super::wire::{self, Frame, Reader};
use crate::docker::daemon::{Daemon, Output, Printed};
use crate::docker::images::ImageId;
use crate::docker::profile::{Mounted, Network, Profile, Purpose, VolumeName};
use crate::docker::reaper::{Guard, Reaper};
use crate::failpoint;

/// Where the volume is that is installed into: a place that everybody may write to in any image, so
/// that the new volume is made like that.
const PLACE: &str = "/var/tmp";
/// Where volumes are for a look at them.
const LOOK: &str = "/mnt";
/// Memory of package managers, which read all of a registry's answer at once.
const MEMORY: u64 = 1 << 30;
/// Their CPU, in thousandths of a core.
const CPU: u32 = 2_000;
/// How long after its deadline a container that nobody ends ends itself.
const MARGIN: Duration = Duration::from_secs(10);
/// Frames that wait to be written.
const QUEUE: usize = 32;
/// Text outside of frames that is kept, in bytes.
const TEXT: usize = 2_048;

/// The installer for Node.js, and that for Python: one script each, in several files.
const NODE: &str = concat!(
    include_str!("../../../guest/install/1-frames.js"),
    include_str!("../../../guest/install/2-proxy.js"),
    include_str!("../../../guest/install/3-tree.js"),
    include_str!("../../../guest/install/4-npm.js"),
    include_str!("../../../guest/install/5-main.js"),
);
const PYTHON: &str = concat!(
    include_str!("../../../guest/install/1-frames.py"),
    include_str!("../../../guest/install/2-proxy.py"),
    include_str!("../../../guest/install/3-tree.py"),
    include_str!("../../../guest/install/4-pip.py"),
    include_str!("../../../guest/install/5-index.py"),
    include_str!("../../../guest/install/6-main.py"),
);

/// Linux takes arguments up to 128 KiB each.
const _: () = assert!(NODE.len() < 100 << 10 && PYTHON.len() < 100 << 10);

/// What containers are made with.
#[derive(Clone)]
pub(super) struct Workshop {
    pub(super) daemon: Daemon,
    pub(super) reaper: Reaper,
    pub(super) runtime: Option<String>,
    pub(super) cgroup_parent: Option<String>,
}

/// What a container is to do.
pub(super) struct Work<'a, T> {
    pub(super) image: &'a ImageId,
    pub(super) runtime: Runtime,
    /// The volume that it fills.
    pub(super) fills: Option<&'a VolumeName>,
    /// Volumes that it looks at: see [`looked_at`].
    pub(super) sees: &'a [VolumeName],
    pub(super) egress: Option<Arc<Egress>>,
    pub(super) task: &'a T,
    pub(super) deadline: Instant,
}

/// Where the volume of this number is seen.
pub(super) fn looked_at(number: usize) -> String {
    format!("{LOOK}/{number}")
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The daemon could not do it, or the container broke.
    Broken(Error),
    /// Not in time.
    Late,
    /// More came over the network than is allowed.
    Received,
}

impl Workshop {
    fn profile(&self, image: &ImageId, volume: Option<Mounted>) -> Profile {
        Profile {
            image: image.clone(),
            runtime: self.runtime.clone(),
            memory_bytes: MEMORY,
            cpu_millis: CPU,
            purpose: Purpose::Install,
            network: Network::None,
            volume,
            cgroup_parent: self.cgroup_parent.clone(),
            data_mounts: Vec::new(),
            labels: BTreeMap::new(),
        }
    }

    /// A container that is made and not started.
    pub(super) async fn make(
        &self,
        image: &ImageId,
        program: Vec<String>,
        volume: Option<Mounted>,
        sees: &[VolumeName],
        life: Duration,
    ) -> Result<Guard> {
        let labels = self.reaper.labels(life);
        let mut body = self.profile(image, volume).body(program, &labels);
        let mounts = body.host_config.get_or_insert_default();
        let mounts = mounts.mounts.get_or_insert_default();
        mounts.extend(sees.iter().enumerate().map(|(number, volume)| Mount {
            target: Some(looked_at(number)),
            source: Some(volume.as_str().to_owned()),
            typ: Some(MountType::VOLUME),
            read_only: Some(true),
            volume_options: Some(MountVolumeOptions {
                no_copy: Some(true),
                ..MountVolumeOptions::default()
            }),
            ..Mount::default()
        }));
        self.reaper.create(&body).await
    }

    /// Has the work done; the answer is what the installer said last. Where a volume may have to be
    /// removed next, the container is gone before this returns: only then can it be.
    pub(super) async fn run<T: Serialize, A: DeserializeOwned>(
        &self,
        work: Work<'_, T>,
    ) -> Result<A, Failure> {
        let left = work.deadline.saturating_duration_since(Instant::now());
        let program = match work.runtime {
            Runtime::Node => ["node", "--max-old-space-size=256", "-e", NODE].map(str::to_owned),
            Runtime::Python => ["python3", "-I", "-c", PYTHON].map(str::to_owned),
        };
        let filled = work.fills.map(|volume| Mounted {
            volume: volume.clone(),
            target: PLACE,
            writable: true,
        });
        let made = self.make(work.image, program.into(), filled, work.sees, left + MARGIN);
        let guard = match timeout_at(work.deadline, made).await {
            Ok(made) => made.map_err(Failure::Broken)?,
            Err(_) => return Err(Failure::Late),
        };
        let done = timeout_at(work.deadline, self.converse(&guard, &work));
        let answer = match done.await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::Late),
        };
        let is_waited_for = answer.is_err() && work.fills.is_some();
        if is_waited_for || !work.sees.is_empty() {
            guard.destroy().await;
        }
        let body = answer?;
        serde_json::from_slice(&body).map_err(|error| {
            Failure::Broken(Error::internal(format!("the installer's answer: {error}")))
        })
    }

    async fn converse<T: Serialize>(
        &self,
        guard: &Guard,
        work: &Work<'_, T>,
    ) -> Result<bytes::Bytes, Failure> {
        let attached = self.daemon.attach(guard.id()).await;
        let attached = attached.map_err(Failure::Broken)?;
        let started = self.daemon.start(guard.id()).await;
        started.map_err(Failure::Broken)?;
        failpoint::reached(failpoint::START);
        let (out, queue) = mpsc::channel(QUEUE);
        let task = serde_json::to_vec(work.task)
            .map_err(|error| Failure::Broken(Error::internal(error)))?;
        // There is room: it is the first.
        drop(out.try_send(Frame::new(wire::TASK, 0, task)));
        let listening = listen(attached.output, out, work.egress.clone());
        let heard = tokio::select! {
            heard = listening => heard,
            written = write(attached.input, queue) => match written {},
        };
        match heard {
            Ok(Heard::Finished(body)) => Ok(body),
            Ok(Heard::TooMuch) => Err(Failure::Received),
            Ok(Heard::Ended(text)) => Err(Failure::Broken(
                self.explain(guard, work.runtime, &text).await,
            )),
            Err(error) => Err(Failure::Broken(Error::internal(error))),
        }
    }

    /// Why a container ended without an answer.
    async fn explain(&self, guard: &Guard, runtime: Runtime, text: &str) -> Error {
        let program = match runtime {
            Runtime::Node => "node",
            Runtime::Python => "python3",
        };
        let failed = |message: String| Error::new(ErrorCode::DependencyInstallFailed, message);
        if text.contains(&format!("exec {program} failed")) {
            let message = format!("the image has no `{program}`, so that nothing can be installed");
            return failed(message).with_fix("use an image of the tool's language");
        }
        match self.daemon.end_of(guard.id()).await {
            Ok(end) if end.oom_killed => {
                let most = MEMORY >> 20;
                failed(format!(
                    "the package manager used more than {most} MiB of memory"
                ))
            }
            Ok(end) => Error::new(
                ErrorCode::Unavailable,
                "the container of the package manager ended by itself; try again",
            )
            .with_cause(format!("{end:?}: {text}")),
            Err(error) => error,
        }
    }
}

/// What was heard last.
enum Heard {
    Finished(bytes::Bytes),
    TooMuch,
    /// It ended, having printed this.
    Ended(String),
}

async fn listen(
    mut output: Output,
    out: mpsc::Sender<Frame>,
    egress: Option<Arc<Egress>>,
) -> io::Result<Heard> {
    let mut tunnel = egress
        .as_ref()
        .map(|egress| Tunnel::new(Arc::clone(egress), out.clone()));
    let (mut reader, mut text) = (Reader::default(), Vec::new());
    let mut hosts_told = false;
    loop {
        let piece = match output.next().await {
            None => return Ok(Heard::Ended(String::from_utf8_lossy(&text).into_owned())),
            Some(piece) => piece?,
        };
        let (Printed::Out, piece) = piece else {
            let room = TEXT.saturating_sub(text.len());
            text.extend_from_slice(&piece.1[..piece.1.len().min(room)]);
            continue;
        };
        reader.push(&piece);
        while let Some(frame) = reader.next()? {
            match (frame.channel, frame.kind) {
                (0, wire::FINISHED) => return Ok(Heard::Finished(frame.body)),
                (0, wire::HOSTS) if !hosts_told => {
                    hosts_told = true;
                    let hosts: Vec<String> = serde_json::from_slice(&frame.body)?;
                    if let Some(egress) = &egress {
                        egress.allow_files(hosts);
                    }
                    drop(out.send(Frame::new(wire::GO, 0, "")).await);
                }
                (0, _) => {}
                _ => {
                    if let Some(tunnel) = &mut tunnel {
                        tunnel.heard(frame);
                    }
                }
            }
            if egress.as_ref().is_some_and(|egress| !egress.count(0)) {
                return Ok(Heard::TooMuch);
            }
        }
    }
}

/// Writes until the container takes no more; whoever listens learns of its end.
async fn write(
    mut input: std::pin::Pin<Box<dyn tokio::io::AsyncWrite + Send>>,
    mut queue: mpsc::Receiver<Frame>,
) -> std::convert::Infallible {
    while let Some(frame) = queue.recv().await {
        let sent = async {
            input.write_all(&frame.encode()).await?;
            input.flush().await
        };
        if sent.await.is_err() {
            break;
        }
    }
    std::future::pending().await
}
