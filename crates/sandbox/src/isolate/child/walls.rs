//! The walls, in the order in which they are raised. Each is raised on its own, so that the probe
//! can try to break each where it alone stands.

use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{namespaces, seccomp};

/// What a child needs besides the call's memory: the program, the runtime, frames on their way.
pub(super) const MEMORY_OVERHEAD: u64 = 96 << 20;

/// Open files of a child, its three streams included; landlock needs one while it is set up.
pub(super) const OPEN_FILES: u64 = 8;

/// Stack of the child's one thread, in bytes.
const STACK_BYTES: u64 = 8 << 20;

/// CPU time of a child before it knows its call, in seconds.
const IDLE_CPU_SECONDS: u64 = 3_600;

/// One wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wall {
    /// Own network, IPC, host name, mount and cgroup namespaces, and an own user namespace where
    /// the engine needs one to make the others.
    Namespaces,
    /// An own PID namespace: there is no other process. The engine makes it, because a process
    /// cannot move itself into one.
    Processes,
    /// Another user than the engine's, where that is root.
    User,
    /// No capability, not even inside the own user namespace.
    Capabilities,
    /// Nothing that is executed can gain a right.
    NoNewPrivileges,
    /// Memory, files, processes, core dumps, CPU.
    Limits,
    /// No file of the parent's; nobody else of the same user may look in; it dies with its parent.
    Isolation,
    /// No file, no TCP port, no signal or abstract socket to the outside.
    Landlock,
    /// Only the system calls that running JavaScript takes.
    Seccomp,
}

impl Wall {
    /// In the order of raising.
    pub(crate) const ALL: [Wall; 9] = [
        Wall::Namespaces,
        Wall::Processes,
        Wall::User,
        Wall::Capabilities,
        Wall::NoNewPrivileges,
        Wall::Limits,
        Wall::Isolation,
        Wall::Landlock,
        Wall::Seccomp,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Wall::Namespaces => "namespaces",
            Wall::Processes => "processes",
            Wall::User => "user",
            Wall::Capabilities => "capabilities",
            Wall::NoNewPrivileges => "no_new_privileges",
            Wall::Limits => "limits",
            Wall::Isolation => "isolation",
            Wall::Landlock => "landlock",
            Wall::Seccomp => "seccomp",
        }
    }

    /// Whether the engine refuses to run without it. Namespaces and another user are what many
    /// hosts and containers do not allow, and the other walls cover what they cover.
    pub(crate) const fn required(self) -> bool {
        !matches!(self, Wall::Namespaces | Wall::Processes | Wall::User)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|wall| wall.name() == text)
    }
}

/// What the walls are built from.
#[derive(Debug)]
pub(super) struct Walls {
    /// The engine's process.
    pub(super) parent: i32,
    /// The most memory that any call may have.
    pub(super) memory_bytes: u64,
}

impl Walls {
    pub(super) fn raise(&self, wall: Wall) -> Result<(), String> {
        match wall {
            Wall::Namespaces => namespaces::leave_the_engines(),
            Wall::Processes => namespaces::alone(),
            Wall::User => namespaces::be_nobody(),
            Wall::Capabilities => capabilities(),
            Wall::NoNewPrivileges => {
                rustix::thread::set_no_new_privs(true).map_err(|error| error.to_string())
            }
            Wall::Limits => limits(self.memory_bytes),
            Wall::Isolation => isolation(self.parent),
            Wall::Landlock => landlock(),
            Wall::Seccomp => seccomp::install(),
        }
    }
}

fn capabilities() -> Result<(), String> {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).map_err(|error| format!("capset: {error}"))
}

fn limits(memory_bytes: u64) -> Result<(), String> {
    let set = |resource, value: u64| {
        let limit = Rlimit {
            current: Some(value),
            maximum: Some(value),
        };
        setrlimit(resource, limit).map_err(|error| format!("setrlimit {resource:?}: {error}"))
    };
    set(
        Resource::As,
        address_space()?
            .saturating_add(memory_bytes)
            .saturating_add(MEMORY_OVERHEAD),
    )?;
    set(Resource::Nofile, OPEN_FILES)?;
    set(Resource::Fsize, 0)?;
    set(Resource::Core, 0)?;
    set(Resource::Nproc, 0)?;
    set(Resource::Memlock, 0)?;
    set(Resource::Msgqueue, 0)?;
    set(Resource::Stack, STACK_BYTES)?;
    set(Resource::Cpu, IDLE_CPU_SECONDS)
}

/// Bytes of address space in use now.
fn address_space() -> Result<u64, String> {
    let status = std::fs::read_to_string("/proc/self/status")
        .map_err(|error| format!("/proc/self/status: {error}"))?;
    status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmSize:")?
                .trim()
                .strip_suffix(" kB")?
                .parse()
                .ok()
        })
        .map(|kilobytes: u64| kilobytes * 1_024)
        .ok_or_else(|| "/proc/self/status has no VmSize".to_owned())
}

/// The kernel's rank of a process that it kills first when the machine has no memory left.
pub(super) const KILLED_FIRST: &str = "1000";

/// Ranks this process before its engine for that. To be done first: later there is no file to
/// write. Anybody may rank himself higher, so that a failure means a machine without `/proc`.
pub(super) fn be_killed_first() -> Result<(), String> {
    std::fs::write("/proc/self/oom_score_adj", KILLED_FIRST)
        .map_err(|error| format!("/proc/self/oom_score_adj: {error}"))
}

/// Lowers memory and CPU to what one call may use. Lowering cannot fail. The kernel kills at the end
/// of the CPU time, without a warning: the first process of a PID namespace would not get one.
pub(super) fn lower_limits(walls: &Walls, memory_bytes: u64, cpu_seconds: u64) {
    let asked = memory_bytes.min(walls.memory_bytes);
    let mut memory = rustix::process::getrlimit(Resource::As);
    memory.current = memory
        .current
        .map(|now| now.saturating_sub(walls.memory_bytes - asked));
    let cpu = Rlimit {
        current: Some(cpu_seconds),
        maximum: Some(cpu_seconds),
    };
    for (resource, limit) in [(Resource::As, memory), (Resource::Cpu, cpu)] {
        if setrlimit(resource, limit).is_err() {
            super::leave(5);
        }
    }
}

fn isolation(parent: i32) -> Result<(), String> {
    close_inherited()?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| format!("dumpable: {error}"))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("death signal: {error}"))?;
    // The parent may have died before the line above. From inside a PID namespace it cannot be
    // seen; there the end of the input, which is read next, tells the same.
    let still = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if still.is_none_or(|pid| pid == parent) {
        Ok(())
    } else {
        super::leave(0)
    }
}

/// Closes what the engine's process was itself started with and left open for its children.
fn close_inherited() -> Result<(), String> {
    let listed = std::fs::read_dir("/proc/self/fd")
        .map_err(|error| format!("/proc/self/fd: {error}"))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let files: Vec<i32> = listed.filter(|file| *file > 2).collect();
    for file in files {
        match nix::unistd::close(file) {
            // One of them was the listing itself and is closed already.
            Ok(()) | Err(nix::Error::EBADF) => {}
            Err(error) => return Err(format!("close {file}: {error}")),
        }
    }
    Ok(())
}

fn landlock() -> Result<(), String> {
    use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};

    let apply = || {
        Ruleset::default()
            .handle_access(AccessFs::from_all(ABI::V9))?
            .handle_access(AccessNet::from_all(ABI::V9))?
            .scope(Scope::from_all(ABI::V9))?
            .create()?
            .restrict_self()
    };
    let status = apply().map_err(|error| format!("landlock: {error}"))?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err("the kernel has no landlock".to_owned()),
        // An older kernel enforces what it knows; files are what every version knows.
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
    }
}
