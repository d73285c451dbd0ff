//! Containers with loaded packages are to be idle while they wait: one that is not is destroyed.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Loader, Loading};
use crate::docker::daemon::{ContainerId, Daemon};
use crate::docker::pool::Pool;
use crate::docker::sandbox::Maker;

/// How often each of them is looked at.
const EVERY: Duration = Duration::from_secs(5);

/// Part of a core that one may use, in percent. The runtimes themselves use less than a tenth of one.
const MOST: u32 = 2;

/// Looks in a row that find more. Memory that is freed late is one of them.
const LOOKS: u32 = 2;

/// What was seen of one.
struct Seen {
    at: Instant,
    cpu: Duration,
    busy: u32,
}

/// Looks at all that wait until the engine is closed.
pub(in crate::docker) async fn watch(
    pool: Pool<Maker>,
    daemon: Daemon,
    loader: Loader,
    closed: CancellationToken,
) {
    let mut seen: HashMap<ContainerId, Seen> = HashMap::new();
    loop {
        tokio::select! {
            () = sleep(EVERY) => {}
            () = closed.cancelled() => return,
        }
        let waiting =
            pool.waiting(|key, sandbox| !key.ahead.is_empty() && sandbox.loaded.is_some());
        seen.retain(|id, _| waiting.iter().any(|(_, it)| it == id));
        for (key, id) in waiting {
            let found = tokio::select! {
                found = daemon.usage_of(&id) => found,
                () = closed.cancelled() => return,
            };
            // One that has just been taken, or a daemon that does not answer.
            let Ok((cpu, _)) = found else {
                continue;
            };
            let at = Instant::now();
            let busy = seen.get(&id).map_or(0, |before| {
                let used = cpu.saturating_sub(before.cpu);
                let may = at.duration_since(before.at) * MOST / 100;
                if used > may { before.busy + 1 } else { 0 }
            });
            if busy >= LOOKS {
                // Not if a call has it by now: then it is the call's time.
                if pool.discard(&key, &id) {
                    loader.failed(&key, Loading::Busy, "it used the CPU while it waited");
                }
                seen.remove(&id);
            } else {
                seen.insert(id, Seen { at, cpu, busy });
            }
        }
    }
}
