//! The allow-list of system calls. What is not in it fails with EPERM.

use nix::libc;
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

/// Running JavaScript: memory, time, randomness, the two streams, the end.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_sched_yield,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Where the protection is in `mmap` and `mprotect`.
const PROTECTION: u8 = 2;

fn program() -> Result<seccompiler::BpfProgram, String> {
    let text = |error: seccompiler::BackendError| error.to_string();
    let compare = |index, operator, value| {
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value).map_err(text)
    };
    let when = |condition| SeccompRule::new(vec![condition]).map_err(text);

    let mut rules: std::collections::BTreeMap<libc::c_long, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // Memory is never executable: no code comes into being after this point.
    let exec = u64::from(libc::PROT_EXEC.unsigned_abs());
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let writable = when(compare(PROTECTION, SeccompCmpOp::MaskedEq(exec), 0)?)?;
        rules.insert(call, vec![writable]);
    }
    // abort() signals the own process; no other one can be named.
    let own = u64::from(std::process::id());
    rules.insert(
        libc::SYS_tgkill,
        vec![when(compare(0, SeccompCmpOp::Eq, own)?)?],
    );
    // Limits of the own process: without a capability they can only be lowered.
    rules.insert(
        libc::SYS_prlimit64,
        vec![when(compare(0, SeccompCmpOp::Eq, 0)?)?],
    );

    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(text)?;
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch)
        .and_then(TryInto::try_into)
        .map_err(text)
}

pub(super) fn install() -> Result<(), String> {
    seccompiler::apply_filter(&program()?).map_err(|error| format!("seccomp: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault 45 and more: nothing that opens, connects, starts, traces or reconfigures.
    #[test]
    fn fault_45_nothing_that_reaches_outside_is_allowed() {
        let forbidden = [
            libc::SYS_openat,
            libc::SYS_openat2,
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_connect,
            libc::SYS_sendmsg,
            libc::SYS_recvmsg,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_writev,
            libc::SYS_kill,
            libc::SYS_tkill,
            libc::SYS_pidfd_open,
            libc::SYS_pidfd_send_signal,
            libc::SYS_prctl,
            libc::SYS_seccomp,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_mount,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_io_uring_setup,
            libc::SYS_userfaultfd,
            libc::SYS_perf_event_open,
            libc::SYS_memfd_create,
            libc::SYS_dup,
            libc::SYS_fcntl,
            libc::SYS_ioctl,
            libc::SYS_shmget,
            libc::SYS_personality,
        ];
        for call in forbidden {
            assert!(!ALLOWED.contains(&call), "system call {call}");
        }
        // Those with a condition on their arguments are not allowed as such.
        for call in [
            libc::SYS_mmap,
            libc::SYS_mprotect,
            libc::SYS_tgkill,
            libc::SYS_prlimit64,
        ] {
            assert!(!ALLOWED.contains(&call), "system call {call}");
        }
        program().unwrap();
    }
}
