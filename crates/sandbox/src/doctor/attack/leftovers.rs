//! Whether anything is left: the daemon's complete lists, and on the daemon's own machine the
//! processes, cgroups and mounts of containers that the daemon does not know any more.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::{Attack, Held};
use crate::docker::{Daemon, Inventory};

/// How deep cgroups are looked at.
const DEPTH: usize = 6;
/// How long things may take to be gone.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(200);

/// What there was before, and what there was of ours meanwhile.
pub(super) struct Before {
    daemon: Inventory,
    /// Whether the daemon's machine is this one.
    here: bool,
    ours: Arc<Mutex<BTreeSet<String>>>,
    _watching: JoinSet<()>,
}

impl Before {
    /// Looks, and then keeps watch for containers of this owner: what they leave on this machine can
    /// be told from what others leave by their ids only.
    pub(super) async fn look(daemon: &Daemon, owner: &str, here: bool) -> Result<Self, String> {
        let inventory = daemon.inventory().await;
        let ours = Arc::<Mutex<BTreeSet<String>>>::default();
        let mut watching = JoinSet::new();
        let (seen, daemon, owner) = (Arc::clone(&ours), daemon.clone(), owner.to_owned());
        watching.spawn(async move {
            loop {
                if let Ok(now) = daemon.inventory().await {
                    let mine = now.containers.into_iter();
                    let mine = mine.filter(|(_, whose)| whose.as_deref() == Some(&owner));
                    seen.lock().extend(mine.map(|(id, _)| id));
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Ok(Self {
            daemon: inventory.map_err(|fault| fault.to_string())?,
            here,
            ours,
            _watching: watching,
        })
    }

    /// What is there now that was not there before, and is ours or nobody's.
    pub(super) async fn left(&self, daemon: &Daemon, owner: &str) -> Vec<Attack> {
        let mut last = Vec::new();
        for _ in 0..TRIES {
            last = match self.compare(daemon, owner).await {
                Ok(found) => found,
                Err(why) => vec![Attack::new(
                    "leftovers",
                    "leave something behind",
                    Held::Untried,
                    why,
                )],
            };
            if last.iter().all(|attack| attack.held == Held::Yes) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        last
    }

    async fn compare(&self, daemon: &Daemon, owner: &str) -> Result<Vec<Attack>, String> {
        let now = daemon
            .inventory()
            .await
            .map_err(|fault| fault.to_string())?;
        let lists = [
            ("containers", &self.daemon.containers, &now.containers),
            ("volumes", &self.daemon.volumes, &now.volumes),
            ("networks", &self.daemon.networks, &now.networks),
        ];
        let mut attacks = Vec::new();
        for (what, before, now) in lists {
            let new: Vec<_> = now
                .iter()
                .filter(|(id, _)| !before.contains_key(*id))
                .collect();
            let ours = new
                .iter()
                .filter(|(_, whose)| whose.as_deref() == Some(owner));
            let ours: Vec<&str> = ours.map(|(id, _)| id.as_str()).collect();
            let others = new.len() - ours.len();
            let tried = format!("leave {what} behind on the daemon");
            let found = match (ours.as_slice(), others) {
                ([], 0) => format!("{} as before", now.len()),
                ([], others) => format!("none of ours; {others} of others came meanwhile"),
                (ours, _) => ours.join(", "),
            };
            let held = if ours.is_empty() { Held::Yes } else { Held::No };
            attacks.push(Attack::new(
                &format!("leftovers {what}"),
                &tried,
                held,
                found,
            ));
        }
        if self.here {
            let traces = traces().await?;
            let ours = self.ours.lock();
            let lost: Vec<&str> = traces.intersection(&ours).map(String::as_str).collect();
            let tried = "leave processes, cgroups or mounts behind on this machine";
            let (held, found) = match (lost.as_slice(), ours.len()) {
                (_, 0) => (Held::Untried, "no container of ours was seen".to_owned()),
                ([], all) => (Held::Yes, format!("none of {all} containers")),
                (lost, _) => (Held::No, format!("of the containers {}", lost.join(", "))),
            };
            attacks.push(Attack::new("leftovers host", tried, held, found));
        }
        Ok(attacks)
    }
}

/// The ids of containers that this machine has processes, cgroups or mounts of.
async fn traces() -> Result<BTreeSet<String>, String> {
    let looked = tokio::task::spawn_blocking(|| {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            if let Ok(text) = fs::read_to_string(entry.path().join("cgroup")) {
                ids(&text, &mut found);
            }
        }
        if let Ok(text) = fs::read_to_string("/proc/self/mountinfo") {
            ids(&text, &mut found);
        }
        cgroups(Path::new("/sys/fs/cgroup"), DEPTH, &mut found);
        found
    });
    looked.await.map_err(|error| error.to_string())
}

fn cgroups(dir: &Path, depth: usize, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        ids(&entry.file_name().to_string_lossy(), found);
        if depth > 0 {
            cgroups(&entry.path(), depth - 1, found);
        }
    }
}

/// Words of 64 hexadecimal digits: ids of containers. Those of layers stand after `overlay2/`.
fn ids(text: &str, found: &mut BTreeSet<String>) {
    let hex = |it: char| it.is_ascii_digit() || ('a'..='f').contains(&it);
    let mut before = "";
    for word in text.split(|it: char| !it.is_ascii_alphanumeric()) {
        let layer = before.starts_with("overlay");
        if word.len() == 64 && word.chars().all(hex) && !layer {
            found.insert(word.to_owned());
        }
        before = word;
    }
}

/// Processes whose parent is this one.
pub(super) fn children() -> usize {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    let of = |path: std::path::PathBuf| fs::read_to_string(path.join("children"));
    let lists = tasks.flatten().filter_map(|task| of(task.path()).ok());
    lists.map(|list| list.split_whitespace().count()).sum()
}

/// Open files of this process.
pub(super) fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_containers_are_told_from_those_of_layers() {
        let (one, two) = ("a".repeat(64), "b".repeat(64));
        let mut found = BTreeSet::new();
        ids(&format!("4:memory:/docker/{one}\n"), &mut found);
        ids(
            &format!("lowerdir=/var/lib/docker/overlay2/{two}/diff"),
            &mut found,
        );
        ids(
            &format!("docker-{one}.scope {} {}", "c".repeat(63), "G".repeat(64)),
            &mut found,
        );
        assert_eq!(found, BTreeSet::from([one]));
    }
}
