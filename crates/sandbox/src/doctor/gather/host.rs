//! This machine and this process, by what every process may read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use landlock::{AccessFs, LandlockStatus, Ruleset, RulesetAttr};
use rustix::process::Resource;
use tokio::time::timeout;

use crate::doctor::facts::Host;

const PATIENCE: Duration = Duration::from_secs(5);
const SOCKET: &str = "/var/run/docker.sock";

/// Reads what there is; what takes too long counts as not known.
pub(super) async fn host(docker_host: Option<String>) -> Host {
    let read = tokio::task::spawn_blocking(move || read(docker_host.as_deref()));
    match timeout(PATIENCE, read).await {
        Ok(Ok(host)) => host,
        _ => Host {
            uid: rustix::process::geteuid().as_raw(),
            ..Host::default()
        },
    }
}

fn read(docker_host: Option<&str>) -> Host {
    let files = rustix::process::getrlimit(Resource::Nofile);
    let limit = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
    // Debian's switch is off at 0, Ubuntu's restriction on at 1.
    let allowed = number("/proc/sys/kernel/unprivileged_userns_clone").map(|it| it == 0);
    let restricted =
        number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").map(|it| it == 1);
    Host {
        kernel: text("/proc/sys/kernel/osrelease"),
        seccomp_actions: text("/proc/sys/kernel/seccomp/actions_avail"),
        max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
        userns_restricted: match (allowed, restricted) {
            (None, None) => None,
            (one, other) => Some(one == Some(true) || other == Some(true)),
        },
        lsm: text("/sys/kernel/security/lsm"),
        landlock_abi: landlock_abi(),
        clock_source: text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        ptrace_scope: number("/proc/sys/kernel/yama/ptrace_scope"),
        unprivileged_bpf_disabled: number("/proc/sys/kernel/unprivileged_bpf_disabled"),
        open_files: Some((limit(files.current), limit(files.maximum))),
        uid: rustix::process::geteuid().as_raw(),
        socket_for_all: socket_for_all(docker_host),
        disk: None,
    }
}

/// One line of a small file of the kernel's.
fn text(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

fn number(path: &str) -> Option<u64> {
    text(path)?.parse().ok()
}

fn socket_for_all(docker_host: Option<&str>) -> Option<bool> {
    let path = match docker_host {
        None | Some("") => SOCKET,
        Some(host) => host.strip_prefix("unix://")?,
    };
    let mode = fs::metadata(path).ok()?.permissions().mode();
    Some(mode & 0o002 != 0)
}

/// The library says it only of a thread that it has locked up: one of its own, which then ends.
fn landlock_abi() -> Option<i32> {
    let asked = std::thread::Builder::new().spawn(|| {
        let rules = Ruleset::default().handle_access(AccessFs::Execute).ok()?;
        let status = rules.create().ok()?.restrict_self().ok()?;
        Some(match status.landlock {
            LandlockStatus::Available {
                effective_abi,
                kernel_abi,
            } => kernel_abi.unwrap_or(effective_abi as i32),
            LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
        })
    });
    asked.ok()?.join().ok()?
}
