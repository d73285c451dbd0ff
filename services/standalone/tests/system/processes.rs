//! What runs below a process, as the kernel lists it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// CPU time, in the kernel's hundredths of a second, by which a loop without end is told from a
/// sandbox that starts.
const BUSY_TICKS: u64 = 40;

/// A process; its start tells it from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) id: u32,
    started: u64,
}

struct Stat {
    zombie: bool,
    parent: u32,
    ticks: u64,
    started: u64,
}

fn stat(id: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name before the last parenthesis may hold anything.
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        zombie: matches!(fields.first(), Some(&"Z" | &"X")),
        parent: u32::try_from(number(1)?).ok()?,
        ticks: number(11)? + number(12)?,
        started: number(19)?,
    })
}

fn all() -> Vec<(u32, Stat)> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter_map(|id| Some((id, stat(id)?))).collect()
}

/// Every living process below `root`.
pub(crate) fn below(root: u32) -> Vec<Process> {
    let all = all();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for (id, stat) in all.iter().filter(|(_, stat)| stat.parent == parent) {
            parents.push(*id);
            if !stat.zombie {
                found.push(Process {
                    id: *id,
                    started: stat.started,
                });
            }
        }
    }
    found
}

/// Whether it still runs. One that has ended and was not yet collected does not.
fn runs(process: Process) -> bool {
    stat(process.id).is_some_and(|stat| !stat.zombie && stat.started == process.started)
}

/// Waits for a process below `root` that computes without end.
pub(crate) async fn busy(root: u32) -> Process {
    let end = Instant::now() + Duration::from_secs(15);
    loop {
        let found = below(root)
            .into_iter()
            .find(|process| stat(process.id).is_some_and(|stat| stat.ticks > BUSY_TICKS));
        if let Some(process) = found {
            return process;
        }
        assert!(Instant::now() < end, "nothing below {root} is busy");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Checks that all of them have ended `limit` from now.
pub(crate) async fn assert_gone(processes: &[Process], limit: Duration) {
    let end = Instant::now() + limit;
    loop {
        let left: Vec<&Process> = processes.iter().filter(|one| runs(**one)).collect();
        if left.is_empty() {
            return;
        }
        assert!(
            Instant::now() < end,
            "still there after {limit:?}: {left:?}"
        );
        sleep(Duration::from_millis(10)).await;
    }
}
