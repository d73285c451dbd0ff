//! What a process used, read from outside before it is killed.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::wire::Spent;

/// Ticks of a second in `/proc/<pid>/stat`: 100 on every Linux that Rust supports.
const MICROS_OF_A_TICK: u64 = 10_000;

/// CPU time and peak memory of a process that runs or has not been reaped; of one that has ended the
/// memory is gone and counts as none.
pub(super) fn of_process(id: Option<u32>) -> Option<Spent> {
    let id = id?;
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    Some(Spent {
        cpu_micros: cpu(&stat)?,
        peak_bytes: kilobytes(&status, "VmHWM:").unwrap_or(0),
        ..Spent::default()
    })
}

/// Shortest time between two looks at what a process used.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until a process has used so much CPU time. It has one thread, so that it cannot have done so
/// before as much time has passed: a call that may use a whole core is never looked at.
pub(super) async fn cpu_used_up(id: Option<u32>, budget: Duration) {
    let mut left = budget;
    loop {
        tokio::time::sleep(left.max(LOOK)).await;
        let used = of_process(id).map_or(Duration::ZERO, |it| Duration::from_micros(it.cpu_micros));
        left = budget.saturating_sub(used);
        if left.is_zero() {
            return;
        }
    }
}

/// Waits until a child has ended, and leaves it to be reaped.
pub(super) async fn ended(id: Option<u32>) {
    let id = id.and_then(|id| Pid::from_raw(id.cast_signed()));
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    // No such child any more is an end too.
    while let Some(id) = id
        && let Ok(None) = waitid(WaitId::Pid(id), look)
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Memory that a process shares with nobody, in bytes.
pub(super) fn own_memory(id: Option<u32>) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", id?)).ok()?;
    kilobytes(&status, "RssAnon:")
}

/// The name may hold anything, so fields are counted from behind its parenthesis: `utime` and
/// `stime` are the 12th and 13th after it.
fn cpu(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11).map(str::parse::<u64>);
    Some((times.next()?.ok()? + times.next()?.ok()?) * MICROS_OF_A_TICK)
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_can_be_read() {
        let spent = of_process(Some(std::process::id())).unwrap();
        assert!(spent.peak_bytes > 1 << 20);
        let own = own_memory(Some(std::process::id())).unwrap();
        assert!((1..spent.peak_bytes).contains(&own), "{own}");
        assert_eq!(own_memory(None), None);
        assert_eq!(
            cpu("1 (a) b) S 1 1 1 0 -1 0 0 0 0 0 7 3 0 0 20").unwrap(),
            100_000
        );
        let status = "VmPeak:\t 1 kB\nVmHWM:\t    12 kB\n";
        assert_eq!(kilobytes(status, "VmHWM:"), Some(12_288));
    }
}
