//! The checks: each a pure function from the facts to verdicts, with the reason why anybody should
//! care. `docs/doctor.md` lists them, and a test compares.

mod access;
mod daemon;
mod engine;
mod host;
mod images;

use super::facts::Facts;
use super::finding::{Finding, Verdict};

pub(super) use self::access::is_loopback;

/// One check.
pub(super) struct Check {
    pub(super) id: &'static str,
    pub(super) why: &'static str,
    pub(super) run: fn(&Facts) -> Vec<Verdict>,
}

/// In the order of the report.
pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "engine",
        why: "the engine of the configuration runs the tools; when it cannot, nothing runs",
        run: engine::engine,
    },
    Check {
        id: "docker-access",
        why: "whoever may talk to the daemon is root on its machine",
        run: access::access,
    },
    Check {
        id: "docker-version",
        why: "faults of the daemon are ways out of a container, and only newer versions get fixes",
        run: daemon::version,
    },
    Check {
        id: "runc",
        why: "runc starts containers as root: CVE-2024-21626, CVE-2025-31133, CVE-2025-52565 and \
              CVE-2025-52881 let a container out through it",
        run: daemon::runc,
    },
    Check {
        id: "runtime",
        why: "the configured runtime starts every sandbox; one with a kernel of its own is a second wall",
        run: daemon::runtime,
    },
    Check {
        id: "limits",
        why: "memory, swap, processes and CPU of a sandbox are bounded by these; without one a tool can \
              take the machine down",
        run: daemon::limits,
    },
    Check {
        id: "cgroup",
        why: "version 2 tells for certain when memory ran out, and lets rootless daemons set limits",
        run: daemon::cgroup,
    },
    Check {
        id: "memory-events",
        why: "with them memory that ran out is told for certain; Docker 20.10 on cgroup version 1 loses it now \
              and then from what it says of a container afterwards",
        run: daemon::memory_events,
    },
    Check {
        id: "docker-seccomp",
        why: "the list of system calls keeps code from most of the kernel's faults",
        run: daemon::seccomp,
    },
    Check {
        id: "user-namespace",
        why: "with it, root of a container is nobody outside: a way out is worth much less",
        run: daemon::user_namespace,
    },
    Check {
        id: "mandatory-access",
        why: "AppArmor or SELinux stops what got past the other walls",
        run: daemon::mandatory_access,
    },
    Check {
        id: "storage",
        why: "dependencies are kept on the daemon's disk, and only some drivers can bound them there",
        run: daemon::storage,
    },
    Check {
        id: "disk",
        why: "a full disk stops the daemon, and with it every call",
        run: daemon::disk,
    },
    Check {
        id: "log-driver",
        why: "output of a sandbox is held by the executor and must not be written to the daemon's disk",
        run: daemon::log_driver,
    },
    Check {
        id: "live-restore",
        why: "without it a restart of the daemon ends every call and session that runs",
        run: daemon::live_restore,
    },
    Check {
        id: "daemon-clock",
        why: "what an executor left behind is removed by age, which the daemon's clock tells",
        run: daemon::clock,
    },
    Check {
        id: "insecure-registries",
        why: "an image that comes without verified TLS may be anybody's",
        run: daemon::insecure_registries,
    },
    Check {
        id: "allowed-images",
        why: "an image brings programs along; those that nobody looked at should not run",
        run: images::allowed,
    },
    Check {
        id: "image",
        why: "an image that is missing makes its tools unavailable, and a tag may mean another image \
              tomorrow",
        run: images::each,
    },
    Check {
        id: "capacity",
        why: "sandboxes that together want more memory than the machine has end each other",
        run: daemon::capacity,
    },
    Check {
        id: "kernel",
        why: "containers share it: its faults are ways out, and walls need a version that has them",
        run: host::kernel,
    },
    Check {
        id: "kernel-seccomp",
        why: "the isolate engine builds its list of system calls from this",
        run: host::seccomp,
    },
    Check {
        id: "kernel-user-namespaces",
        why: "the isolate engine takes the network and the mounts away with them where it may",
        run: host::user_namespaces,
    },
    Check {
        id: "landlock",
        why: "it takes files, TCP ports and signals away from the isolate engine's processes",
        run: host::landlock,
    },
    Check {
        id: "isolate-walls",
        why: "each wall was tried from inside by a process of the isolate engine",
        run: engine::walls,
    },
    Check {
        id: "kernel-hardening",
        why: "these settings keep code that got out of one wall from the next",
        run: host::hardening,
    },
    Check {
        id: "clock-source",
        why: "deadlines are kept by the monotonic clock, which a bad source makes slow or uneven",
        run: host::clock_source,
    },
    Check {
        id: "open-files",
        why: "each sandbox holds a few open files of the executor",
        run: host::open_files,
    },
    Check {
        id: "process-user",
        why: "what takes over the executor gets its rights",
        run: host::user,
    },
    Check {
        id: "install-sources",
        why: "packages come from there, through TLS that these certificates verify",
        run: images::install,
    },
];

/// Every verdict on these facts.
pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    let of = |check: &Check| {
        let (id, why) = (check.id, check.why);
        let found = (check.run)(facts).into_iter();
        found.map(move |verdict| Finding {
            check: id,
            subject: verdict.subject,
            state: verdict.state,
            found: verdict.found,
            why,
            fix: verdict.fix,
        })
    };
    CHECKS.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests;
