//! A Docker daemon of one test's own, which may be killed, paused and restarted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::{BARE_IMAGE, Docker};

/// How long a daemon may take to come up, and to end.
const START: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(20);

/// A second daemon, with its own data, socket and containerd, without networks. It holds the bare
/// image of the tests. Its containers, its processes and its data go when it is dropped.
#[derive(Debug)]
pub struct PrivateDaemon {
    folder: TempDir,
    child: Option<Child>,
}

impl PrivateDaemon {
    /// Starts one, and brings the image over from the shared daemon.
    ///
    /// # Panics
    /// When there is no shared daemon, no `dockerd`, or it does not start; the message says what to do.
    pub async fn start() -> Self {
        let shared = super::daemon();
        let mut this = Self {
            folder: TempDir::with_prefix("dockerd-").unwrap_or_else(|error| panic!("{error}")),
            child: None,
        };
        this.resume().await;
        let own = format!("--host={}", this.host());
        let script = format!("docker save {BARE_IMAGE} | docker {own} load --quiet");
        let copied = tokio::process::Command::new("bash")
            .args(["-o", "pipefail", "-c", &script])
            .output()
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        assert!(
            copied.status.success(),
            "{}",
            String::from_utf8_lossy(&copied.stderr)
        );
        drop(shared);
        this
    }

    /// Its `DOCKER_HOST`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}", self.path("docker.sock").display())
    }

    /// The `docker` program for it.
    #[must_use]
    pub fn docker(&self) -> Docker {
        Docker::at(self.host())
    }

    /// Starts it again after [`Self::kill`] or [`Self::stop`], and waits until it answers.
    ///
    /// # Panics
    /// When it does not start, with the end of its log.
    pub async fn resume(&mut self) {
        if self.child.is_some() {
            return;
        }
        self.spawn();
        let deadline = Instant::now() + START;
        let docker = self.docker();
        while docker.try_run(&["version"]).await.is_err() {
            let ended = self
                .child
                .as_mut()
                .is_some_and(|child| child.try_wait().is_ok_and(|it| it.is_some()));
            if ended || Instant::now() >= deadline {
                let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
                let end: Vec<&str> = log.lines().rev().take(8).collect();
                panic!("dockerd did not start: {end:#?}");
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends it at once, as a crash does. Its containers go on.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap_or_else(|error| panic!("{error}"));
            child.wait().unwrap_or_else(|error| panic!("{error}"));
            // Its containerd dies with it. The next one would take that for alive for as long as
            // nobody has waited for it.
            let file = self.path("exec/containerd/containerd.pid");
            if file.exists() {
                std::fs::remove_file(file).unwrap_or_else(|error| panic!("{error}"));
            }
        }
    }

    /// Ends it in good order; its containers end with it.
    pub async fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(child.id(), Signal::TERM);
            let ended = tokio::task::spawn_blocking(move || wait(&mut child)).await;
            assert!(ended.is_ok_and(|ended| ended), "dockerd does not end");
        }
    }

    /// Lets it hang until the guard is dropped.
    #[must_use]
    pub fn pause(&self) -> Paused {
        let pid = self.child.as_ref().map(Child::id);
        let pid = pid.unwrap_or_else(|| panic!("dockerd does not run"));
        signal(pid, Signal::STOP);
        Paused { pid }
    }

    fn spawn(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap_or_else(|error| panic!("{error}"));
        let errors = log.try_clone().unwrap_or_else(|error| panic!("{error}"));
        // Not the machine's own configuration.
        std::fs::write(self.path("config.json"), "{}").unwrap_or_else(|error| panic!("{error}"));
        let at = |name: &str| self.path(name).display().to_string();
        // A test that is killed takes its daemon along. In a network namespace of its own: a daemon
        // without a bridge removes the `docker0` that it finds, which is the shared daemon's.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "unshare", "--net", "dockerd"])
            .arg(format!("--host={}", self.host()))
            .arg(format!("--data-root={}", at("data")))
            .arg(format!("--exec-root={}", at("exec")))
            .arg(format!("--pidfile={}", at("pid")))
            .args(["--bridge=none", "--iptables=false", "--ip-masq=false"])
            // What is in this group is this daemon's and nobody else's, with either version of cgroups.
            .arg("--exec-opt=native.cgroupdriver=cgroupfs")
            .arg(format!("--cgroup-parent=/{}", self.group()))
            .arg(format!("--config-file={}", at("config.json")))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("dockerd: {error}: run bash .ci/docker"));
        self.child = Some(child);
    }

    /// Its folder: data, runtime files, log.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process id of the daemon.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn id(&self) -> u32 {
        let id = self.child.as_ref().map(Child::id);
        id.unwrap_or_else(|| panic!("dockerd does not run"))
    }

    /// The name of the control group that all its containers are in.
    fn group(&self) -> String {
        let name = self.folder.path().file_name().unwrap_or_default();
        format!("dynamic-mcp-{}", name.to_string_lossy().replace('.', ""))
    }

    /// The groups that hold those of its containers: one in the only hierarchy of version 2, or one below
    /// each controller of version 1, which are several names of one now and then.
    fn tops(&self) -> Vec<PathBuf> {
        let root = Path::new("/sys/fs/cgroup");
        let below = std::fs::read_dir(root).into_iter().flatten().flatten();
        let all = below.map(|entry| entry.path()).chain([root.to_owned()]);
        all.map(|top| top.join(self.group())).collect()
    }

    /// Every control group of its containers, by path.
    pub(super) fn cgroups(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = self.tops();
        while let Some(group) = open.pop() {
            let Ok(entries) = std::fs::read_dir(&group) else {
                continue;
            };
            let entries = entries
                .flatten()
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            for entry in entries {
                found.insert(entry.path().display().to_string());
                open.push(entry.path());
            }
        }
        found
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its containerd, which outlives a daemon that is killed.
    fn containerd(&self) -> Option<u32> {
        let file = self.path("exec").join("containerd").join("containerd.pid");
        let pid: u32 = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        name.starts_with("containerd").then_some(pid)
    }
}

impl Drop for PrivateDaemon {
    fn drop(&mut self) {
        if self.child.is_none() {
            // Only a daemon can end the containers that one left behind.
            self.spawn();
        }
        let host = self.host();
        let script = format!(
            "for i in $(seq 100); do docker --host={host} version >/dev/null 2>&1 && break; sleep 0.1; done; \
             docker --host={host} ps -aq | xargs -r docker --host={host} rm -f -v"
        );
        let quiet = || (Stdio::null(), Stdio::null());
        let (out, err) = quiet();
        let removed = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .status();
        let containerd = self.containerd();
        if let Some(mut child) = self.child.take() {
            signal(child.id(), Signal::TERM);
            if !wait(&mut child) && child.kill().is_ok() {
                wait(&mut child);
            }
        }
        if let Some(pid) = containerd
            && Path::new(&format!("/proc/{pid}")).exists()
        {
            signal(pid, Signal::TERM);
        }
        // A daemon that was killed while it made a container leaves its groups, and a `runc init` with its
        // shim, which wait for ever and which no daemon knows of. The kernel refuses to remove a group with
        // a process in it.
        let mut groups: Vec<PathBuf> = self.cgroups().into_iter().map(PathBuf::from).collect();
        groups.reverse();
        groups.extend(self.tops());
        let mut kept: Vec<&PathBuf> = groups.iter().collect();
        for _ in 0..50 {
            kept.retain(|group| group.exists() && std::fs::remove_dir(group).is_err());
            if kept.is_empty() {
                break;
            }
            kept.iter().for_each(|group| end_runc_inits(group));
            end_shims(self.folder.path());
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(
            kept.is_empty() || std::thread::panicking(),
            "processes of a private daemon are left in {kept:?}"
        );
        // The daemon mounts its data onto itself, and leaves it so.
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        let ours = points.filter(|point| Path::new(point).starts_with(self.folder.path()));
        let mut ours: Vec<&str> = ours.collect();
        ours.reverse();
        if !ours.is_empty() {
            let unmounted = Command::new("umount").arg("-l").args(ours).status();
            assert!(
                unmounted.is_ok_and(|status| status.success()) || std::thread::panicking(),
                "mounts of a private daemon are left"
            );
        }
        assert!(
            removed.is_ok_and(|status| status.success()) || std::thread::panicking(),
            "containers of a private daemon are left"
        );
    }
}

/// A daemon that hangs; goes on when this is dropped.
#[derive(Debug)]
pub struct Paused {
    pid: u32,
}

impl Drop for Paused {
    fn drop(&mut self) {
        signal(self.pid, Signal::CONT);
    }
}

/// Waits for the end of a process; whether it came.
fn wait(child: &mut Child) -> bool {
    let deadline = Instant::now() + END;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            Ok(Some(_)) | Err(_) => return true,
        }
    }
    false
}

/// Ends the containers of a control group that were made and never started. Whatever else is in it is
/// none that a daemon may leave.
fn end_runc_inits(group: &Path) {
    let all = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in all.lines().filter_map(|line| line.parse().ok()) {
        let said = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if said == b"runc\0init\0" {
            signal(pid, Signal::KILL);
        }
    }
}

/// Ends the shims that a containerd in this folder has left.
fn end_shims(folder: &Path) {
    let folder = folder.display().to_string();
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        let said = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        if said.contains("containerd-shim") && said.contains(&folder) {
            signal(pid, Signal::KILL);
        }
    }
}

/// One that is gone needs none.
fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _gone = kill_process(pid, signal).is_err();
    }
}
