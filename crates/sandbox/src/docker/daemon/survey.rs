//! What the doctor asks of a daemon: more than a start needs, and nothing that changes it.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models::{SystemInfo, SystemVersion};
use bollard::query_parameters::{ListContainersOptionsBuilder, ListVolumesOptions};
use tokio::time::Instant;

use super::{Daemon, Fault, events};
use crate::doctor::{DaemonFacts, ImageThere};

/// The label that says whose it is.
const OWNER: &str = "dynamic-mcp.owner";
/// How long each answer may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// The same for a stream of events, which begins at once.
const EVENTS: Duration = Duration::from_secs(2);

/// Everything that is on a daemon, by name or id, with the executor whose it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Inventory {
    pub(crate) containers: BTreeMap<String, Option<String>>,
    pub(crate) volumes: BTreeMap<String, Option<String>>,
    pub(crate) networks: BTreeMap<String, Option<String>>,
}

impl Daemon {
    /// What the daemon is, in full.
    pub(crate) async fn survey(&self) -> Result<DaemonFacts, Fault> {
        let version = self.ask("version", PATIENCE, self.shared.api.version());
        let version = version.await?;
        let (asked, before) = (Instant::now(), now());
        let info = self.ask("info", PATIENCE, self.shared.api.info()).await?;
        let round = asked.elapsed().as_secs_f64();
        let skew = info.system_time.as_deref().and_then(|text| {
            let theirs = text.parse::<jiff::Timestamp>().ok()?.as_microsecond();
            Some((theirs as f64 / 1e6 - (before + round / 2.0), round / 2.0))
        });
        Ok(facts(self.address(), version, info, skew))
    }

    /// Whether it would tell an executor of memory that runs out. Nothing stays of asking.
    pub(crate) async fn tells_of_kills(&self) -> Result<(), Fault> {
        let path = events::path("doctor");
        self.shared.open_events(&path, EVENTS).await.map(drop)
    }

    /// What the daemon has of this image.
    pub(crate) async fn image_there(&self, name: &str) -> Result<Option<ImageThere>, Fault> {
        let found = self.ask(
            "inspect_image",
            PATIENCE,
            self.shared.api.inspect_image(name),
        );
        match found.await {
            Ok(found) => Ok(Some(ImageThere {
                id: found.id.unwrap_or_default(),
                digests: found.repo_digests.unwrap_or_default(),
                volumes: found.config.and_then(|it| it.volumes).unwrap_or_default(),
            })),
            Err(fault) if fault.is_not_found() => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// The complete lists.
    pub(crate) async fn inventory(&self) -> Result<Inventory, Fault> {
        let api = &self.shared.api;
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let containers = self.ask("list", PATIENCE, api.list_containers(Some(options)));
        let containers = containers.await?;
        let volumes = self.ask(
            "list_volumes",
            PATIENCE,
            api.list_volumes(None::<ListVolumesOptions>),
        );
        let volumes = volumes.await?.volumes.unwrap_or_default();
        let networks = self.ask("list_networks", PATIENCE, api.list_networks(None));
        let networks = networks.await?;
        Ok(Inventory {
            containers: containers
                .into_iter()
                .filter_map(|it| Some((it.id?, owner(&it.labels.unwrap_or_default()))))
                .collect(),
            volumes: volumes
                .into_iter()
                .map(|it| (it.name, owner(&it.labels)))
                .collect(),
            networks: networks
                .into_iter()
                .filter_map(|it| Some((it.id?, owner(&it.labels.unwrap_or_default()))))
                .collect(),
        })
    }
}

fn owner(labels: &HashMap<String, String>) -> Option<String> {
    labels.get(OWNER).cloned()
}

/// Seconds since 1970.
fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

fn facts(
    address: String,
    version: SystemVersion,
    info: SystemInfo,
    skew: Option<(f64, f64)>,
) -> DaemonFacts {
    let yes = |flag: Option<bool>| flag == Some(true);
    let limits = vec![
        ("memory", yes(info.memory_limit)),
        ("swap", yes(info.swap_limit)),
        ("processes", yes(info.pids_limit)),
        ("CPU", yes(info.cpu_cfs_quota)),
    ];
    let mut runtimes: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
    runtimes.sort();
    let pair = |row: Vec<String>| {
        let mut cells = row.into_iter();
        Some((cells.next()?, cells.next()?))
    };
    let storage = info.driver_status.unwrap_or_default();
    let commit = info.runc_commit.and_then(|commit| commit.id);
    DaemonFacts {
        address,
        version: info.server_version.unwrap_or_default(),
        api: version.api_version.unwrap_or_default(),
        kernel: info.kernel_version,
        os: info.operating_system.unwrap_or_default(),
        runc: runc(commit.unwrap_or_default(), &version.components),
        runtimes,
        default_runtime: info.default_runtime.unwrap_or_default(),
        cgroup_version: info.cgroup_version.map(|it| it.to_string()),
        cgroup_driver: info.cgroup_driver.map(|it| it.to_string()),
        limits,
        security: info.security_options.unwrap_or_default(),
        storage_driver: info.driver.unwrap_or_default(),
        storage: storage.into_iter().filter_map(pair).collect(),
        root_dir: info.docker_root_dir,
        log_driver: info.logging_driver.unwrap_or_default(),
        live_restore: yes(info.live_restore_enabled),
        insecure_registries: info
            .registry_config
            .and_then(|it| it.insecure_registry_cidrs)
            .unwrap_or_default(),
        skew,
        memory_bytes: positive(info.mem_total),
        cpus: positive(info.ncpu),
        events_denied: None,
        clear: None,
    }
}

fn positive(number: Option<i64>) -> u64 {
    number
        .and_then(|it| u64::try_from(it).ok())
        .unwrap_or_default()
}

/// The daemon's own answer is a version with distributions, a commit with Docker's own packages; those
/// tell the version among the components.
fn runc(
    commit: String,
    components: &Option<Vec<bollard::models::SystemVersionComponents>>,
) -> String {
    if commit.contains('.') {
        return commit;
    }
    let all = components.as_deref().unwrap_or_default();
    let runc = all.iter().find(|it| it.name == "runc");
    runc.map_or(commit, |it| it.version.clone())
}
