//! What containers leave on a machine: everything there is of one daemon, inside and outside of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Listing, PrivateDaemon};

/// Everything of a private daemon: its own lists, and what the kernel has of it. Two of them that
/// were taken at rest are equal when nothing was left behind in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// The daemon's lists.
    pub listing: Listing,
    /// Control groups below the daemon's own, one line for each hierarchy.
    pub cgroups: BTreeSet<String>,
    /// Processes in those groups, and those that keep containers (`id name`), the daemon included.
    pub processes: BTreeSet<String>,
    /// Mount points in the daemon's folder: file systems of containers, and network namespaces.
    pub mounts: BTreeSet<String>,
    /// Network interfaces in the daemon's namespace.
    pub interfaces: BTreeSet<String>,
}

impl Traces {
    /// What came (`+`) and what went (`-`) since `before`, one line each.
    #[must_use]
    pub fn since(&self, before: &Self) -> Vec<String> {
        let mut lines = self.listing.since(&before.listing);
        for (kind, now, then) in [
            ("cgroup", &self.cgroups, &before.cgroups),
            ("process", &self.processes, &before.processes),
            ("mount", &self.mounts, &before.mounts),
            ("interface", &self.interfaces, &before.interfaces),
        ] {
            lines.extend(now.difference(then).map(|name| format!("+ {kind} {name}")));
            lines.extend(then.difference(now).map(|name| format!("- {kind} {name}")));
        }
        lines
    }
}

impl PrivateDaemon {
    /// All that there is of it now.
    ///
    /// # Panics
    /// When it does not answer or does not run.
    pub async fn traces(&self) -> Traces {
        let listing = self.docker().listing().await;
        let groups = self.cgroups();
        let mut processes = BTreeSet::new();
        for group in &groups {
            let ids = fs::read_to_string(Path::new(group).join("cgroup.procs"));
            processes.extend(ids.unwrap_or_default().lines().filter_map(named));
        }
        let folder = self.folder().display().to_string();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let name = entry.file_name();
            let found = name.to_str().and_then(named);
            // The test asks the daemon by the program `docker`.
            let asks = found.as_ref().is_some_and(|it| it.ends_with(" docker"));
            if String::from_utf8_lossy(&line).contains(&folder) && !asks {
                processes.extend(found);
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        let points = points.filter(|point| Path::new(point).starts_with(self.folder()));
        let links = fs::read_to_string(format!("/proc/{}/net/dev", self.id())).unwrap_or_default();
        let links = links.lines().filter_map(|line| line.split_once(':'));
        Traces {
            listing,
            cgroups: groups,
            processes,
            mounts: points.map(str::to_owned).collect(),
            interfaces: links.map(|(name, _)| name.trim().to_owned()).collect(),
        }
    }

    /// How many processes are in its containers, whether it runs or not.
    #[must_use]
    pub fn container_processes(&self) -> usize {
        let mut processes = BTreeSet::new();
        for group in self.cgroups() {
            let ids = fs::read_to_string(Path::new(&group).join("cgroup.procs"));
            processes.extend(ids.unwrap_or_default().lines().filter_map(named));
        }
        processes.len()
    }

    /// Waits until all is as it was `before`.
    ///
    /// # Panics
    /// When it is not within `limit`, with what is left.
    pub async fn assert_as_before(&self, before: &Traces, limit: Duration) {
        let end = Instant::now() + limit;
        loop {
            let changed = self.traces().await.since(before);
            if changed.is_empty() {
                return;
            }
            assert!(
                Instant::now() < end,
                "left on the daemon and the machine: {changed:#?}"
            );
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// `id name` of a process that lives.
fn named(id: &str) -> Option<String> {
    let comm = fs::read_to_string(format!("/proc/{id}/comm")).ok()?;
    Some(format!("{id} {}", comm.trim()))
}
