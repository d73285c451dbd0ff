//! The hardened profile: how every container is made. Pure: from typed settings to the body of the
//! create request, and nothing that a caller says gets into it. Each line has a reason in the design
//! notes; the golden tests compare all of it, as sent and as the daemon reports it.

mod purpose;

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig,
    Mount, MountBindOptions, MountBindOptionsPropagationEnum, MountTmpfsOptions, MountType,
    MountVolumeOptions, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use domain::DataMount;
use domain::tool::Runtime;

pub(crate) use self::purpose::{Bounds, Mounted, Network, Purpose, VolumeName};

use super::images::ImageId;
use super::reaper::Labels;
use super::seccomp;

/// Who runs in it, whatever the image says. By number: a name would be looked up in the image.
const USER: u32 = 65_532;
/// Where the code may write, and where it starts.
pub(crate) const WORKSPACE: &str = "/workspace";
/// Where dependencies are, by the language that they are for. Node.js finds its modules there from
/// `/workspace` by going up.
pub(crate) const fn dependencies_at(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Node => "/node_modules",
        Runtime::Python => "/site-packages",
    }
}
/// `/dev/shm`, which stays writable under a read-only root.
const SHM_BYTES: i64 = 4 << 20;
/// Length of the scheduler's period, in microseconds.
const CPU_PERIOD: i64 = 100_000;
/// Weight against other containers, whose default is 1024.
const CPU_SHARES: i64 = 128;
/// Among the first that the kernel ends when the machine has no memory left.
const OOM_SCORE: i64 = 900;

/// How one container is made.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    /// Its image, by ID.
    pub(crate) image: ImageId,
    /// The daemon's runtime, for example `runsc`; its default one if none is named.
    pub(crate) runtime: Option<String>,
    /// All the memory that it has, in bytes: there is no swap, and files count.
    pub(crate) memory_bytes: u64,
    /// CPU, in thousandths of a core.
    pub(crate) cpu_millis: u32,
    /// What it is for.
    pub(crate) purpose: Purpose,
    /// Its network.
    pub(crate) network: Network,
    /// The one volume that it has, if any.
    pub(crate) volume: Option<Mounted>,
    /// The cgroup that it is put under; the daemon's own choice when there is none.
    pub(crate) cgroup_parent: Option<String>,
    /// Folders of the machine that it may read.
    pub(crate) data_mounts: Vec<DataMount>,
    /// Labels besides those of the reaper, which win.
    pub(crate) labels: BTreeMap<String, String>,
}

impl Profile {
    /// The variables that it sets, as `NAME=value`.
    pub(crate) fn env(&self) -> Vec<String> {
        let cores = self.cpu_millis.div_ceil(1_000).clamp(1, 64);
        let mut env = vec![
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            format!("HOME={WORKSPACE}"),
            "TMPDIR=/tmp".to_owned(),
            "LANG=C.UTF-8".to_owned(),
            "TZ=UTC".to_owned(),
            // Slow file work must not keep everything else from its turn.
            format!("UV_THREADPOOL_SIZE={}", cores.clamp(2, 16)),
        ];
        // Numeric libraries start a thread for each core of the machine unless told otherwise.
        let threads = [
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS",
            "NUMEXPR_NUM_THREADS",
            "VECLIB_MAXIMUM_THREADS",
            "RAYON_NUM_THREADS",
            "GOMAXPROCS",
        ];
        env.extend(threads.map(|name| format!("{name}={cores}")));
        env
    }

    /// The body of the create request: `command` runs, and no entrypoint of the image.
    pub(crate) fn body(&self, command: Vec<String>, labels: &Labels) -> ContainerCreateBody {
        let facts = self.image.facts();
        let mut env = self.env();
        // A name without a value takes the image's variable away (NODE_OPTIONS, LD_PRELOAD, ...).
        let ours = |name: &String| env.iter().any(|it| it.split('=').next() == Some(name));
        let theirs: Vec<String> = facts.env.iter().filter(|it| !ours(it)).cloned().collect();
        env.extend(theirs);
        let mut all_labels: HashMap<String, String> = self.labels.clone().into_iter().collect();
        all_labels.extend(labels.map());
        ContainerCreateBody {
            hostname: Some("sandbox".to_owned()),
            domainname: Some(String::new()),
            user: Some(format!("{USER}:{USER}")),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(false),
            open_stdin: Some(true),
            // When our connection ends, so does its stdin: the agent then ends itself.
            stdin_once: Some(true),
            env: Some(env),
            entrypoint: Some(command),
            cmd: Some(Vec::new()),
            healthcheck: Some(HealthConfig {
                test: Some(vec!["NONE".to_owned()]),
                ..HealthConfig::default()
            }),
            image: Some(self.image.as_str().to_owned()),
            working_dir: Some(WORKSPACE.to_owned()),
            network_disabled: Some(self.network == Network::None),
            labels: Some(all_labels),
            stop_signal: Some("SIGKILL".to_owned()),
            stop_timeout: Some(1),
            host_config: Some(self.host(&facts.volumes, labels)),
            ..ContainerCreateBody::default()
        }
    }

    fn host(&self, volumes: &[String], labels: &Labels) -> HostConfig {
        let memory = signed(self.memory_bytes);
        let bounds = self.purpose.bounds();
        let network = match self.network {
            Network::None => "none",
            Network::Bridge => "bridge",
        };
        // With a network the daemon's own servers answer; without one nothing is to look like it.
        let nowhere = |what: &str| match self.network {
            Network::None => vec![what.to_owned()],
            Network::Bridge => Vec::new(),
        };
        let mut mounts: Vec<Mount> = self.volume.iter().map(mount).collect();
        mounts.extend(self.data_mounts.iter().map(data));
        mounts.extend(self.closed_volumes(volumes));
        HostConfig {
            // Who it is on the machine
            privileged: Some(false),
            cap_add: Some(Vec::new()),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec![
                "no-new-privileges:true".to_owned(),
                format!("seccomp={}", seccomp::profile()),
            ]),
            group_add: Some(Vec::new()),
            runtime: self.runtime.clone(),
            init: Some(true),
            // What it sees
            network_mode: Some(network.to_owned()),
            dns: Some(nowhere("127.0.0.1")),
            dns_options: Some(Vec::new()),
            dns_search: Some(nowhere(".")),
            extra_hosts: Some(Vec::new()),
            links: Some(Vec::new()),
            port_bindings: Some(HashMap::new()),
            publish_all_ports: Some(false),
            ipc_mode: Some("private".to_owned()),
            cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
            pid_mode: Some(String::new()),
            uts_mode: Some(String::new()),
            userns_mode: Some(String::new()),
            devices: Some(Vec::new()),
            device_cgroup_rules: Some(Vec::new()),
            device_requests: Some(Vec::new()),
            // Where it writes
            readonly_rootfs: Some(true),
            tmpfs: Some(self.tmpfs().into_iter().collect()),
            shm_size: Some(SHM_BYTES),
            binds: Some(Vec::new()),
            mounts: Some(mounts),
            volumes_from: Some(Vec::new()),
            storage_opt: Some(HashMap::new()),
            log_config: Some(HostConfigLogConfig {
                typ: Some("none".to_owned()),
                config: Some(HashMap::new()),
            }),
            // How much it gets
            memory: Some(memory),
            memory_swap: Some(memory),
            memory_reservation: Some(memory / 2),
            oom_score_adj: Some(OOM_SCORE),
            cpu_period: Some(CPU_PERIOD),
            cpu_quota: Some((i64::from(self.cpu_millis) * CPU_PERIOD / 1_000).max(1_000)),
            cpu_shares: Some(CPU_SHARES),
            pids_limit: Some(bounds.pids),
            ulimits: Some(ulimits(bounds, self.cpu_seconds(labels))),
            cgroup_parent: self.cgroup_parent.clone(),
            // How long it stays
            auto_remove: Some(false),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                maximum_retry_count: Some(0),
            }),
            ..HostConfig::default()
        }
    }

    /// The CPU time after which the kernel ends a process: what it can have used at most when its
    /// container's time is over. So code that never lets the agent's own timer run ends too, when
    /// nobody else is left to end it.
    fn cpu_seconds(&self, labels: &Labels) -> i64 {
        let cores = u64::from(self.cpu_millis.div_ceil(1_000).max(1));
        signed(labels.max_age.as_secs().max(1).saturating_mul(cores))
    }

    /// The places that it can write to. Owned by its user: a tmpfs is root's otherwise.
    fn tmpfs(&self) -> BTreeMap<String, String> {
        let Bounds {
            tmpfs_bytes,
            tmpfs_inodes,
            ..
        } = self.purpose.bounds();
        let size = tmpfs_bytes.min(self.memory_bytes / 2);
        let options = format!(
            "rw,nosuid,nodev,size={size},nr_inodes={tmpfs_inodes},mode=0700,uid={USER},gid={USER}"
        );
        let mut places = BTreeMap::from([
            ("/tmp".to_owned(), format!("{options},noexec")),
            // Native modules are mapped as code from here.
            (WORKSPACE.to_owned(), format!("{options},exec")),
        ]);
        if let Some(mounted) = &self.volume {
            places.remove(mounted.target);
        }
        places
    }

    /// An image's volumes would be writable directories on the daemon's disk, without any limit: each
    /// gets an empty place instead, of one page, that cannot be written to.
    fn closed_volumes(&self, paths: &[String]) -> Vec<Mount> {
        let mounted = self.volume.as_ref().map(|mounted| mounted.target);
        let ours = |path: &&String| {
            let path = path.trim_end_matches('/');
            let data = self
                .data_mounts
                .iter()
                .any(|folder| folder.target() == path);
            !matches!(path, "/tmp" | WORKSPACE) && Some(path) != mounted && !data
        };
        let closed = |path: &String| Mount {
            target: Some(path.clone()),
            typ: Some(MountType::TMPFS),
            read_only: Some(true),
            tmpfs_options: Some(MountTmpfsOptions {
                size_bytes: Some(4_096),
                mode: Some(0o555),
                ..MountTmpfsOptions::default()
            }),
            ..Mount::default()
        };
        let mut mounts: Vec<Mount> = paths.iter().filter(ours).map(closed).collect();
        mounts.sort_by(|a, b| a.target.cmp(&b.target));
        mounts
    }
}

fn mount(mounted: &Mounted) -> Mount {
    Mount {
        target: Some(mounted.target.to_owned()),
        source: Some(mounted.volume.as_str().to_owned()),
        typ: Some(MountType::VOLUME),
        read_only: Some(!mounted.writable),
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(!mounted.writable),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    }
}

/// For reading only, and without what is mounted below it: that would be writable where the machine has
/// it so.
fn data(folder: &DataMount) -> Mount {
    Mount {
        target: Some(folder.target()),
        source: Some(folder.path().to_owned()),
        typ: Some(MountType::BIND),
        read_only: Some(true),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            non_recursive: Some(true),
            ..MountBindOptions::default()
        }),
        ..Mount::default()
    }
}

/// No limit of processes (they are counted by user, whose number all sandboxes share; there is
/// `pids_limit`) and none of address space (compilers of JavaScript reserve a lot).
fn ulimits(bounds: Bounds, cpu_seconds: i64) -> Vec<ResourcesUlimits> {
    let limit = |(name, most): (&str, i64)| ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(most),
        hard: Some(most),
    };
    [
        ("core", 0),
        ("cpu", cpu_seconds),
        ("fsize", signed(bounds.file_bytes)),
        ("memlock", 0),
        ("msgqueue", 0),
        ("nofile", bounds.open_files),
    ]
    .map(limit)
    .into()
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
