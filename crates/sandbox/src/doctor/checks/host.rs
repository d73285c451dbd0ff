//! This machine's kernel and this process.

use crate::doctor::facts::Facts;
use crate::doctor::finding::{State, Verdict};

/// The oldest kernel with Landlock.
const ADVISED_KERNEL: (u32, u32) = (5, 13);
/// What is open at most by a pool, sessions and calls of one executor in the defaults, with room.
const ADVISED_FILES: u64 = 4_096;

/// Major and minor of `6.1.0-25-amd64`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(['.', '-', '+']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

pub(super) fn kernel(facts: &Facts) -> Vec<Verdict> {
    let judge = |text: &str| match version(text) {
        None => Verdict::bad(
            State::Advice,
            format!("{text}: the version cannot be read"),
            "make sure that it is 5.13 or newer",
        ),
        Some(found) if found < ADVISED_KERNEL => Verdict::bad(
            State::Weak,
            text,
            "5.13 or newer, with the fixes of its distribution",
        ),
        Some(_) => Verdict::ok(text),
    };
    let unknown = || Verdict::skipped("it could not be read");
    let mut verdicts = vec![match &facts.host.kernel {
        Some(here) => judge(here),
        None => unknown(),
    }];
    if let Some(daemon) = facts.docker()
        && !facts.daemon_is_here()
    {
        let there = daemon.kernel.as_deref().map_or_else(unknown, judge);
        verdicts.push(there.about("the daemon's machine"));
    }
    verdicts
}

pub(super) fn seccomp(facts: &Facts) -> Vec<Verdict> {
    vec![match facts.host.seccomp_actions.as_deref() {
        Some(actions) if actions.split_whitespace().any(|it| it == "kill_process") => {
            Verdict::ok("there, with kill_process")
        }
        Some(actions) => Verdict::bad(
            State::Weak,
            format!("old: it knows {actions}"),
            "a kernel of 4.14 or newer",
        ),
        None => Verdict::bad(
            State::Weak,
            "the kernel does not say that it has it",
            "a kernel with CONFIG_SECCOMP_FILTER",
        ),
    }]
}

pub(super) fn user_namespaces(facts: &Facts) -> Vec<Verdict> {
    let host = &facts.host;
    let root = host.uid == 0;
    vec![match (host.max_user_namespaces, host.userns_restricted) {
        (None, _) => Verdict::skipped("the kernel does not say"),
        (Some(0), _) => Verdict::bad(
            State::Advice,
            "none may be made",
            "set user.max_user_namespaces, for example to 10000",
        ),
        (Some(_), Some(true)) if !root => Verdict::bad(
            State::Advice,
            "only root may make them",
            "kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0, \
             or an AppArmor profile with `userns` for this program",
        ),
        (Some(most), _) => Verdict::ok(format!("up to {most}")),
    }]
}

pub(super) fn landlock(facts: &Facts) -> Vec<Verdict> {
    vec![match facts.host.landlock_abi {
        None => Verdict::skipped("it could not be asked"),
        Some(0) => Verdict::bad(
            State::Weak,
            "the kernel has none, or it is off",
            "a kernel of 5.13 or newer with landlock in the list of lsm= on its command line",
        ),
        Some(abi) if abi < 4 => Verdict::bad(
            State::Advice,
            format!("ABI {abi}: files only"),
            "a kernel of 6.12 (ABI 6) also closes TCP ports, signals and abstract sockets",
        ),
        Some(abi) if abi < 6 => Verdict::bad(
            State::Advice,
            format!("ABI {abi}: files and TCP ports"),
            "a kernel of 6.12 (ABI 6) also closes signals and abstract sockets",
        ),
        Some(abi) => Verdict::ok(format!("ABI {abi}")),
    }]
}

pub(super) fn hardening(facts: &Facts) -> Vec<Verdict> {
    let host = &facts.host;
    let mut verdicts = Vec::new();
    if host.unprivileged_bpf_disabled == Some(0) {
        verdicts.push(
            Verdict::bad(
                State::Advice,
                "ordinary users may load eBPF programs",
                "kernel.unprivileged_bpf_disabled=2",
            )
            .about("bpf"),
        );
    }
    if host.ptrace_scope == Some(0) {
        verdicts.push(
            Verdict::bad(
                State::Advice,
                "processes of a user may look into each other",
                "kernel.yama.ptrace_scope=1",
            )
            .about("ptrace"),
        );
    }
    if verdicts.is_empty() {
        verdicts.push(Verdict::ok("nothing is open that could be closed"));
    }
    verdicts
}

pub(super) fn clock_source(facts: &Facts) -> Vec<Verdict> {
    vec![match facts.host.clock_source.as_deref() {
        None => Verdict::skipped("the kernel does not say"),
        Some(source @ ("jiffies" | "refined-jiffies" | "pit")) => Verdict::bad(
            State::Weak,
            format!("{source} is too coarse"),
            "look in the kernel's log why tsc, kvm-clock or the like was given up",
        ),
        Some(source) => Verdict::ok(source),
    }]
}

pub(super) fn open_files(facts: &Facts) -> Vec<Verdict> {
    vec![match facts.host.open_files {
        None => Verdict::skipped("they could not be asked"),
        Some((soft, hard)) if soft < ADVISED_FILES => Verdict::bad(
            State::Advice,
            format!("{soft} (could be {hard})"),
            format!("ulimit -n {ADVISED_FILES}, or LimitNOFILE={ADVISED_FILES} of systemd"),
        ),
        Some((soft, _)) => Verdict::ok(soft.to_string()),
    }]
}

pub(super) fn user(facts: &Facts) -> Vec<Verdict> {
    vec![match facts.host.uid {
        0 => Verdict::bad(
            State::Advice,
            "root",
            "run it as a user of its own, in the group of the daemon's socket",
        ),
        uid => Verdict::ok(format!("user {uid}")),
    }]
}
