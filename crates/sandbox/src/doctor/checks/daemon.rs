//! The Docker daemon, as it says itself.

use crate::docker::is_safe_runc;
use crate::doctor::facts::{DaemonFacts, Facts};
use crate::doctor::finding::{State, Verdict};

/// The oldest Docker that still got fixes when this was written.
const MAINTAINED: u32 = 25;
/// Free space below which an install of usual size may fail.
const LITTLE_DISK: u64 = 5 << 30;
const NO_DISK: u64 = 1 << 30;
/// Seconds by which clocks may differ before ages are told wrongly.
const SKEW: f64 = 5.0;

/// Looks at the daemon; where there is none a check has nothing to say.
pub(super) fn of(facts: &Facts, judge: impl FnOnce(&DaemonFacts) -> Verdict) -> Vec<Verdict> {
    vec![match &facts.daemon {
        None => Verdict::skipped("Docker is not configured"),
        Some(Err(_)) => Verdict::skipped("no Docker daemon to ask"),
        Some(Ok(daemon)) => judge(daemon),
    }]
}

pub(super) fn version(facts: &Facts) -> Vec<Verdict> {
    of(facts, |daemon| {
        let found = format!("{} (API {})", daemon.version, daemon.api);
        let major = daemon.version.split('.').next();
        match major.and_then(|text| text.parse::<u32>().ok()) {
            Some(major) if major < MAINTAINED => Verdict::bad(
                State::Advice,
                format!("{found}: gets fixes from its distribution only, if at all"),
                format!("Docker {MAINTAINED} or newer"),
            ),
            _ => Verdict::ok(found),
        }
    })
}

pub(super) fn runc(facts: &Facts) -> Vec<Verdict> {
    of(facts, |daemon| {
        let state = match facts.wanted.require_patched_runc {
            true => State::Fail,
            false => State::Weak,
        };
        let found = &daemon.runc;
        match is_safe_runc(found) {
            Some(true) => Verdict::ok(found.clone()),
            Some(false) if leaks_files(found) => Verdict::bad(
                state,
                format!("{found} is older than the fixes of all four"),
                "1.2.8, 1.3.3 or newer; a distribution may have put fixes into this version: its \
                 changelog says so",
            ),
            Some(false) => Verdict::bad(
                state,
                format!("{found} is older than the fixes of the three of 2025"),
                "1.2.8, 1.3.3 or newer; a distribution may have put fixes into this version: its \
                 changelog says so",
            ),
            None => Verdict::bad(
                match facts.wanted.require_patched_runc {
                    true => State::Fail,
                    false => State::Advice,
                },
                format!("it does not tell its version (`{found}`)"),
                "see that it is 1.2.8, 1.3.3 or newer: runc --version",
            ),
        }
    })
}

/// Before 1.1.12: CVE-2024-21626 too.
fn leaks_files(runc: &str) -> bool {
    let mut parts = runc.trim_start_matches('v').split(['.', '-', '+', '~']);
    let mut next = || parts.next().and_then(|part| part.parse::<u32>().ok());
    let (Some(major), Some(minor), Some(patch)) = (next(), next(), next()) else {
        return false;
    };
    (major, minor, patch) < (1, 1, 12)
}

pub(super) fn runtime(facts: &Facts) -> Vec<Verdict> {
    of(facts, |daemon| match &facts.wanted.runtime {
        None => Verdict::ok(format!("{}, the daemon's default", daemon.default_runtime)),
        Some(name) if daemon.runtimes.contains(name) => Verdict::ok(name.clone()),
        Some(name) => Verdict::bad(
            State::Fail,
            format!("the daemon has no runtime {name}"),
            format!(
                "MCP_SANDBOX_RUNTIME is one of {}",
                daemon.runtimes.join(", ")
            ),
        ),
    })
}

pub(super) fn limits(facts: &Facts) -> Vec<Verdict> {
    of(facts, |daemon| {
        let missing = daemon.limits.iter().filter(|(_, there)| !there);
        let missing: Vec<&str> = missing.map(|(name, _)| *name).collect();
        let all: Vec<&str> = daemon.limits.iter().map(|(name, _)| *name).collect();
        match missing.as_slice() {
            [] => Verdict::ok(all.join(", ")),
            missing => Verdict::bad(
                State::Fail,
                format!("no {}", missing.join(", no ")),
                "`docker info` says what the kernel lacks; swap limits may need swapaccount=1 on its \
                 command line, rootless daemons cgroup v2 with delegated controllers",
            ),
        }
    })
}

pub(super) fn cgroup(facts: &Facts) -> Vec<Verdict> {
    of(facts, |daemon| {
        let driver = daemon.cgroup_driver.as_deref().unwrap_or("unknown driver");
        match daemon.cgroup_version.as_deref() {
            Some("2") => Verdict::ok(format!("version 2, {driver}")),
            Some(version) => Verdict::bad(
                State::Advice,
                format!("version {version}, {driver}"),
                "boot with systemd.unified_cgroup_hierarchy=1 (the default since Debian 11)",
            ),
            None => Verdict::skipped("the daemon does not say"),
        }
    })
}

pub(super) fn memory_events(facts: &Facts) -> Vec<Verdict> {
    of(facts, |daemon| match &daemon.events_denied {
        None => Verdict::ok("told while it happens"),
        Some(why) => Verdict::bad(
            State::Advice,
            format!("not told: {why}"),
            "let what stands before the daemon pass GET /events in the form that deploy/compose/docker-filter passes",
        ),
    })
}

pub(super) fn seccomp(facts: &Facts) -> Vec<Verdict> {
    of(facts, |daemon| match daemon.has("seccomp") {
        true => Verdict::ok("there; every sandbox gets a list of its own"),
        false => Verdict::bad(
            State::Fail,
            "the daemon has none",
            "a kernel with CONFIG_SECCOMP_FILTER and a daemon that was built with seccomp",
        ),
    })
}

pub(super) fn user_namespace(facts: &Facts) -> Vec<Verdict> {
    of(facts, |daemon| {
        if daemon.has("rootless") {
            Verdict::ok("the daemon is rootless")
        } else if daemon.has("userns") {
            Verdict::ok("the daemon remaps users")
        } else {
            Verdict::bad(
                State::Weak,
                "neither rootless nor userns-remap",
                "rootless Docker, or \"userns-remap\": \"default\" in daemon.json",
            )
        }
    })
}

pub(super) fn mandatory_access(facts: &Facts) -> Vec<Verdict> {
    of(facts, |daemon| {
        if daemon.has("apparmor") {
            return Verdict::ok("AppArmor");
        }
        if daemon.has("selinux") {
            return Verdict::ok("SELinux");
        }
        let lsm = facts.host.lsm.as_deref().unwrap_or_default();
        let known = ["apparmor", "selinux"];
        let idle = known
            .iter()
            .find(|name| lsm.split(',').any(|it| it == **name));
        match idle.filter(|_| facts.daemon_is_here()) {
            Some(name) => Verdict::bad(
                State::Weak,
                format!("the kernel has {name} and the daemon does not use it"),
                "install apparmor (apparmor_parser), or \"selinux-enabled\": true in daemon.json",
            ),
            None => Verdict::bad(
                State::Weak,
                "neither AppArmor nor SELinux",
                "a kernel with one of them (lsm= on its command line)",
            ),
        }
    })
}

pub(super) fn storage(facts: &Facts) -> Vec<Verdict> {
    of(facts, |daemon| {
        let value = |name: &str| {
            let found = daemon.storage.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str())
        };
        let driver = &daemon.storage_driver;
        let below = value("Backing Filesystem").unwrap_or("unknown");
        let found = format!("{driver} on {below}");
        match driver.as_str() {
            "vfs" => Verdict::bad(
                State::Weak,
                format!("{found}: every container is a whole copy of its image"),
                "overlay2",
            ),
            "overlay2" | "overlayfs" if below == "xfs" => {
                Verdict::ok(format!("{found}, where quotas are possible"))
            }
            "btrfs" | "zfs" => Verdict::ok(format!("{found}, where quotas are possible")),
            _ => Verdict::bad(
                State::Advice,
                format!(
                    "{found}: no quotas, sizes of dependencies are watched while they are installed"
                ),
                "xfs with pquota below overlay2 if installs are not to be trusted with the disk",
            ),
        }
    })
}

pub(super) fn disk(facts: &Facts) -> Vec<Verdict> {
    of(facts, |daemon| {
        let root = daemon.root_dir.as_deref().unwrap_or("its folder");
        let fix = "docker system df says what takes it; MCP_SANDBOX_INSTALL_CACHE_BYTES bounds dependencies";
        match facts.host.disk {
            None => Verdict::skipped(format!("{root} cannot be read from here")),
            Some((free, all)) => {
                let found = format!("{root}: {} of {} free", bytes(free), bytes(all));
                match free {
                    ..NO_DISK => Verdict::bad(State::Fail, found, fix),
                    NO_DISK..LITTLE_DISK => Verdict::bad(State::Weak, found, fix),
                    _ => Verdict::ok(found),
                }
            }
        }
    })
}

pub(super) fn log_driver(facts: &Facts) -> Vec<Verdict> {
    of(facts, |daemon| {
        Verdict::ok(format!(
            "none for sandboxes; {} is the daemon's default for others",
            daemon.log_driver
        ))
    })
}

pub(super) fn live_restore(facts: &Facts) -> Vec<Verdict> {
    of(facts, |daemon| match daemon.live_restore {
        true => Verdict::ok("on"),
        false => Verdict::bad(
            State::Advice,
            "off",
            "\"live-restore\": true in daemon.json, if restarts of the daemon are to be survived",
        ),
    })
}

pub(super) fn clock(facts: &Facts) -> Vec<Verdict> {
    of(facts, |daemon| match daemon.skew {
        None => Verdict::skipped("the daemon does not say its time"),
        Some((ahead, within)) if ahead.abs() > SKEW + within => Verdict::bad(
            State::Weak,
            format!("{ahead:+.1} s from this machine's"),
            "keep both by NTP",
        ),
        Some(_) => Verdict::ok("the same as this machine's"),
    })
}

pub(super) fn insecure_registries(facts: &Facts) -> Vec<Verdict> {
    of(facts, |daemon| {
        let loopback = |it: &&String| !it.starts_with("127.") && !it.starts_with("::1");
        let others: Vec<&str> = daemon
            .insecure_registries
            .iter()
            .filter(loopback)
            .map(String::as_str)
            .collect();
        match others.as_slice() {
            [] => Verdict::ok("none"),
            others => Verdict::bad(
                State::Weak,
                others.join(", "),
                "take them out of \"insecure-registries\" in daemon.json, and pin images by digest",
            ),
        }
    })
}

pub(super) fn capacity(facts: &Facts) -> Vec<Verdict> {
    of(facts, |daemon| {
        let each = facts.wanted.memory_bytes;
        let found = format!(
            "{} and {} cores; a sandbox may have {}",
            bytes(daemon.memory_bytes),
            daemon.cpus,
            bytes(each)
        );
        let kept = u64::try_from(facts.wanted.pool_size).unwrap_or(u64::MAX);
        match each.saturating_mul(kept.saturating_add(1)) > daemon.memory_bytes {
            true => Verdict::bad(
                State::Weak,
                format!("{found}, and {kept} wait"),
                "lower MCP_SANDBOX_MEMORY_LIMIT or MCP_SANDBOX_POOL_SIZE, or bound all together with \
                 MCP_SANDBOX_CGROUP_PARENT",
            ),
            false => Verdict::ok(found),
        }
    })
}

/// For people.
fn bytes(count: u64) -> String {
    match count {
        ..1_048_576 => format!("{count} bytes"),
        1_048_576..1_073_741_824 => format!("{} MiB", count >> 20),
        _ => format!("{:.1} GiB", count as f64 / (1u64 << 30) as f64),
    }
}
