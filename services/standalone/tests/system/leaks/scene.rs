//! Three processes, the executor on a Docker daemon of the test's own, and what there is of it.

use std::collections::BTreeSet;
use std::time::Duration;

use testkit::docker::{BARE_IMAGE, PrivateDaemon, Traces};
use testkit::mcp::{Client, Era};
use tokio::time::{Instant, sleep};

use crate::deployment::{Deployment, Kind};

/// Containers that wait.
pub(crate) const POOL: usize = 2;
/// The most that may wait after a load: one for each call that the executor takes at once.
const MOST_WAIT: usize = 8;
/// How long the daemon may take to be rid of what calls left.
pub(crate) const REST: Duration = Duration::from_secs(60);
/// Open files of the executor that come and go: connections to the daemon and between the parts.
const SPARE_FILES: usize = 8;
/// Growth of the executor's memory that is no leak: what the allocator keeps of a burst.
const SPARE_KIB: u64 = 16 << 10;

/// Three processes, the executor on a daemon of the test's own.
pub(crate) struct Scene {
    pub(crate) daemon: PrivateDaemon,
    before: Traces,
    pub(crate) deployment: Deployment,
    pub(crate) client: Client,
}

/// What there is of each container at rest, for all of them alike. How many wait is up to the load: a
/// kind that is in demand has more of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    cgroups: usize,
    processes: usize,
    mounts: usize,
    interfaces: usize,
}

impl Rest {
    /// Nothing when there is something that belongs to no container that is there.
    fn of(now: &Traces, before: &Traces) -> Option<Self> {
        let containers = now.listing.containers.len();
        let each = |now: &BTreeSet<String>, before: &BTreeSet<String>| {
            let more = now.len().checked_sub(before.len())?;
            more.is_multiple_of(containers).then_some(more / containers)
        };
        Some(Self {
            cgroups: each(&now.cgroups, &before.cgroups)?,
            processes: each(&now.processes, &before.processes)?,
            mounts: each(&now.mounts, &before.mounts)?,
            interfaces: each(&now.interfaces, &before.interfaces)?,
        })
    }
}

impl Scene {
    pub(crate) async fn start() -> Self {
        let daemon = PrivateDaemon::start().await;
        let before = daemon.traces().await;
        Self::on(daemon, before).await
    }

    /// On a daemon on which there may be something already.
    pub(crate) async fn on(daemon: PrivateDaemon, before: Traces) -> Self {
        let pool = POOL.to_string();
        let host = daemon.host();
        let env = [
            ("DOCKER_HOST", host.as_str()),
            ("MCP_EXECUTION_ENGINE", "docker"),
            ("MCP_SANDBOX_ALLOWED_IMAGES", BARE_IMAGE),
            ("MCP_SANDBOX_MEMORY_LIMIT", "96m"),
            ("MCP_SANDBOX_POOL_SIZE", &pool),
            ("MCP_EXECUTOR_CAPACITY", "8"),
            ("MCP_TOOL_MAX_CONCURRENCY", "100"),
            ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "100000"),
        ];
        let deployment = Deployment::start(Kind::Three, &env).await;
        let client = deployment.client(Era::Modern);
        Self {
            daemon,
            before,
            deployment,
            client,
        }
    }

    /// Waits until nothing but the pool is there, and says what that is.
    pub(crate) async fn rest(&self) -> Rest {
        let end = Instant::now() + REST;
        let mut last = None;
        loop {
            let now = self.daemon.traces().await;
            let waiting = (1..=MOST_WAIT).contains(&now.listing.containers.len());
            // Twice the same: nothing is on its way in or out.
            if waiting
                && last.as_ref() == Some(&now)
                && let Some(rest) = Rest::of(&now, &self.before)
            {
                assert_eq!(now.listing.volumes, self.before.listing.volumes);
                assert_eq!(now.listing.networks, self.before.listing.networks);
                return rest;
            }
            assert!(
                Instant::now() < end,
                "never at rest: {:#?}",
                now.since(&self.before)
            );
            last = Some(now);
            sleep(Duration::from_millis(300)).await;
        }
    }

    /// Memory in KiB and open files of the executor.
    pub(crate) fn executor(&self) -> (u64, usize) {
        let executor = &self.deployment.inner.as_ref().unwrap().executor;
        (executor.resident_kib(), executor.open_files())
    }

    /// Stops everything; nothing at all may be left.
    pub(crate) async fn stop(self) {
        self.deployment.stop().await;
        self.daemon.assert_as_before(&self.before, REST).await;
    }

    /// Stops everything but the daemon.
    pub(crate) async fn stop_keeping(self) -> PrivateDaemon {
        self.deployment.stop().await;
        self.daemon
    }

    /// The executor is as large as that, but for a little.
    pub(crate) async fn same_size(&self, memory: u64, files: usize) {
        let end = Instant::now() + REST;
        loop {
            let (now, open) = self.executor();
            if now <= memory + SPARE_KIB && open <= files + SPARE_FILES {
                return;
            }
            assert!(
                Instant::now() < end,
                "the executor grew from {memory} to {now} KiB, from {files} to {open} files"
            );
            sleep(Duration::from_millis(500)).await;
        }
    }
}
