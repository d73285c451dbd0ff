//! The walls that the host may not allow: namespaces, and another user than root.

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::thread::CapabilitySet;

/// The user of a sandbox whose engine is root: nobody's, and not the `nobody` of other programs.
const NOBODY: u32 = 65_532;

/// What a child leaves, by the names in `/proc/self/ns`.
const OTHERS: [(&str, CloneFlags); 5] = [
    ("net", CloneFlags::CLONE_NEWNET),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("mnt", CloneFlags::CLONE_NEWNS),
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
];

fn holds(wanted: CapabilitySet) -> bool {
    rustix::thread::capabilities(None).is_ok_and(|held| held.effective.contains(wanted))
}

/// Leaves every namespace of the engine's but that of processes. Who may not is given the right by a
/// user namespace of his own.
pub(super) fn leave_the_engines() -> Result<(), String> {
    let all = OTHERS
        .iter()
        .fold(CloneFlags::empty(), |all, (_, one)| all | *one);
    let own_user = !holds(CapabilitySet::SYS_ADMIN);
    let user = if own_user {
        CloneFlags::CLONE_NEWUSER
    } else {
        CloneFlags::empty()
    };
    if unshare(all | user).is_ok() {
        return Ok(());
    }
    // As many as there may be.
    let mut missing = Vec::new();
    if own_user && let Err(error) = unshare(CloneFlags::CLONE_NEWUSER) {
        missing.push(format!("user ({error})"));
    }
    for (name, flag) in OTHERS {
        if let Err(error) = unshare(flag) {
            missing.push(format!("{name} ({error})"));
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("unshare: {}", missing.join(", ")))
    }
}

/// Whether the engine has put this process into a PID namespace of its own.
pub(super) fn alone() -> Result<(), String> {
    match rustix::process::getppid() {
        None => Ok(()),
        Some(_) => Err("the engine has no right to make a PID namespace".to_owned()),
    }
}

/// Stops being root. The capabilities are the next wall's matter, and the engine needs one of its own
/// to kill another user's process.
pub(super) fn be_nobody() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() && !rustix::process::getuid().is_root() {
        return Ok(());
    }
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::KILL;
    if !holds(needed) {
        return Err("the engine is root and has no right to change its children's user".to_owned());
    }
    rustix::thread::set_keep_capabilities(true).map_err(|error| format!("keepcaps: {error}"))?;
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    setgroups(&[])
        .and_then(|()| setresgid(group, group, group))
        .and_then(|()| setresuid(user, user, user))
        .map_err(|error| format!("change of user: {error}"))
}

/// The namespaces of this process as the kernel names them, for the probe.
pub(super) fn names() -> Vec<(&'static str, Option<std::path::PathBuf>)> {
    OTHERS
        .iter()
        .map(|(name, _)| {
            (
                *name,
                std::fs::read_link(format!("/proc/self/ns/{name}")).ok(),
            )
        })
        .collect()
}
