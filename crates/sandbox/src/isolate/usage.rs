//! What a process used, read from outside before it is killed.

use std::fs;

use crate::wire::Spent;

/// Ticks of a second in `/proc/<pid>/stat`: 100 on every Linux that Rust supports.
const MICROS_OF_A_TICK: u64 = 10_000;

/// CPU time and peak memory of a process that runs or has not been reaped.
pub(super) fn of_process(id: Option<u32>) -> Option<Spent> {
    let id = id?;
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    Some(Spent {
        cpu_micros: cpu(&stat)?,
        peak_bytes: peak(&status)?,
        ..Spent::default()
    })
}

/// The name may hold anything, so fields are counted from behind its parenthesis: `utime` and
/// `stime` are the 12th and 13th after it.
fn cpu(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11).map(str::parse::<u64>);
    Some((times.next()?.ok()? + times.next()?.ok()?) * MICROS_OF_A_TICK)
}

fn peak(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_can_be_read() {
        let spent = of_process(Some(std::process::id())).unwrap();
        assert!(spent.peak_bytes > 1 << 20);
        assert_eq!(
            cpu("1 (a) b) S 1 1 1 0 -1 0 0 0 0 0 7 3 0 0 20").unwrap(),
            100_000
        );
        assert_eq!(peak("VmPeak:\t 1 kB\nVmHWM:\t    12 kB\n"), Some(12_288));
    }
}
