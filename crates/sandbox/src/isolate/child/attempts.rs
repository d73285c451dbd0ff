//! The probe's child: raises the walls one by one and, after each, tries what only that wall stops.
//! An attempt counts as stopped when it fails in the way in which this wall makes it fail; anything
//! else went through, or shows that something else stands there.

mod calls;

use std::fs::File;
use std::io;
use std::net::UdpSocket;

use nix::libc::{EACCES, EPERM, ESRCH};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};

use super::namespaces;
use super::outbox::Outbox;
use super::walls::{KILLED_FIRST, MEMORY_OVERHEAD, OPEN_FILES, Wall, Walls, be_killed_first};
use crate::wire::{Finding, FromChild};

pub(super) type Attempt<'a> = (&'static str, Box<dyn Fn() -> Result<String, String> + 'a>);

pub(super) fn run(walls: &Walls, without: Option<Wall>) {
    let outbox = Outbox::default();
    let engines = namespaces::names();
    let first = be_killed_first();
    for wall in Wall::ALL {
        let report = |attempt: &str, outcome| {
            let finding = Finding {
                wall: wall.name().to_owned(),
                attempt: attempt.to_owned(),
                outcome,
            };
            outbox.send_json(FromChild::Finding, &finding);
        };
        if without != Some(wall)
            && let Err(reason) = walls.raise(wall)
        {
            report("raise it", Err(reason));
            continue;
        }
        if wall == Wall::Namespaces {
            report("share one of the engine's", differ(&engines));
        }
        if wall == Wall::Limits {
            report("outlive the engine when memory is short", ranked(&first));
        }
        for (name, attempt) in attempts(walls, wall) {
            report(name, attempt());
        }
    }
    super::leave(0)
}

fn attempts(walls: &Walls, wall: Wall) -> Vec<Attempt<'_>> {
    match wall {
        Wall::Namespaces => vec![(
            "reach the loopback address",
            Box::new(|| {
                fails(
                    &[],
                    UdpSocket::bind("0.0.0.0:0").and_then(|it| it.connect("127.0.0.1:9")),
                )
            }),
        )],
        Wall::Processes => vec![
            (
                "have a parent",
                Box::new(|| equals(Ok(rustix::process::getppid()), &None)),
            ),
            (
                "signal all other processes",
                Box::new(|| fails(&[ESRCH], signal(-1))),
            ),
        ],
        Wall::User => vec![(
            "be root",
            Box::new(|| equals(Ok(rustix::process::getuid().is_root()), &false)),
        )],
        Wall::Capabilities => vec![
            ("name the host", Box::new(|| fails(&[EPERM], name_host()))),
            ("hold a capability", Box::new(no_capability)),
        ],
        Wall::NoNewPrivileges => vec![(
            "gain a right",
            Box::new(|| equals(rustix::thread::no_new_privs(), &true)),
        )],
        Wall::Limits => limits(walls),
        Wall::Isolation => vec![
            ("hold a file of the engine's", Box::new(only_streams)),
            (
                "be looked into",
                Box::new(|| {
                    equals(
                        rustix::process::dumpable_behavior(),
                        &DumpableBehavior::NotDumpable,
                    )
                }),
            ),
            (
                "outlive the engine",
                Box::new(|| {
                    equals(
                        rustix::process::parent_process_death_signal(),
                        &Some(Signal::KILL),
                    )
                }),
            ),
        ],
        Wall::Landlock => vec![
            (
                "list the root directory",
                Box::new(|| fails(&[EACCES], std::fs::read_dir("/"))),
            ),
            (
                "read the program",
                Box::new(|| fails(&[EACCES], File::open("/proc/self/exe"))),
            ),
            (
                "write to a device",
                Box::new(|| fails(&[EACCES], File::options().write(true).open("/dev/null"))),
            ),
        ],
        Wall::Seccomp => calls::attempts(walls),
    }
}

fn limits(walls: &Walls) -> Vec<Attempt<'_>> {
    let mut attempts: Vec<Attempt<'_>> = vec![
        (
            "reserve more memory",
            Box::new(|| {
                let size = walls.memory_bytes.saturating_add(2 * MEMORY_OVERHEAD);
                let size = usize::try_from(size).map_err(|error| error.to_string())?;
                match Vec::<u8>::new().try_reserve_exact(size) {
                    Ok(()) => Err(format!("{size} bytes were given")),
                    Err(_) => Ok("refused".to_owned()),
                }
            }),
        ),
        (
            "open more files",
            Box::new(|| {
                let more: io::Result<Vec<_>> = (0..=OPEN_FILES)
                    .map(|_| rustix::io::dup(rustix::stdio::stdin()).map_err(io::Error::from))
                    .collect();
                fails(&[nix::libc::EMFILE], more)
            }),
        ),
        (
            "raise a limit",
            Box::new(|| {
                let more = Rlimit {
                    current: Some(1 << 50),
                    maximum: Some(1 << 50),
                };
                let raised = rustix::process::setrlimit(Resource::As, more);
                fails(&[EPERM], raised.map_err(io::Error::from))
            }),
        ),
    ];
    let zero = [
        ("write a file", Resource::Fsize),
        ("dump its core", Resource::Core),
        ("start processes", Resource::Nproc),
        ("lock memory", Resource::Memlock),
    ];
    attempts.extend(zero.map(|(name, resource)| -> Attempt<'_> {
        (
            name,
            Box::new(move || equals(Ok(rustix::process::getrlimit(resource).maximum), &Some(0))),
        )
    }));
    attempts
}

/// Signal 0: whether a process, or with -1 any other, can be reached at all.
pub(super) fn signal(process: i32) -> io::Result<()> {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(process), None).map_err(own)
}

pub(super) fn own(error: nix::Error) -> io::Error {
    io::Error::from_raw_os_error(error as i32)
}

type Names = [(&'static str, Option<std::path::PathBuf>)];

fn differ(engines: &Names) -> Result<String, String> {
    let shared = |((name, theirs), (_, mine)): (&(_, Option<_>), &(_, Option<_>))| -> Option<&str> {
        (theirs == mine || mine.is_none()).then_some(*name)
    };
    let mine = namespaces::names();
    let shared: Vec<&str> = engines.iter().zip(&mine).filter_map(shared).collect();
    if shared.is_empty() {
        Ok("none".to_owned())
    } else {
        Err(format!("shared: {}", shared.join(", ")))
    }
}

fn ranked(done: &Result<(), String>) -> Result<String, String> {
    done.clone()?;
    let rank = std::fs::read_to_string("/proc/self/oom_score_adj");
    equals(Ok(rank.unwrap_or_default().trim()), &KILLED_FIRST)
}

fn only_streams() -> Result<String, String> {
    let listed = std::fs::read_dir("/proc/self/fd").map_err(|error| error.to_string())?;
    // The listing itself is one.
    match listed.count() {
        count @ 0..=4 => Ok(format!("{} streams", count.saturating_sub(1))),
        count => Err(format!("{count} open files")),
    }
}

fn name_host() -> io::Result<()> {
    let name = rustix::system::uname().nodename().to_bytes().to_vec();
    rustix::system::sethostname(&name).map_err(io::Error::from)
}

fn no_capability() -> Result<String, String> {
    let held = rustix::thread::capabilities(None).map_err(|error| error.to_string())?;
    let all = held.effective | held.permitted | held.inheritable;
    if all.is_empty() {
        Ok("none".to_owned())
    } else {
        Err(format!("held: {all:?}"))
    }
}

/// Held when it failed, with one of these error numbers if any are given.
pub(super) fn fails<T>(with: &[i32], done: io::Result<T>) -> Result<String, String> {
    match done {
        Ok(_) => Err("it went through".to_owned()),
        Err(error)
            if with.is_empty() || error.raw_os_error().is_some_and(|it| with.contains(&it)) =>
        {
            Ok(error.to_string())
        }
        Err(error) => Err(format!("this wall did not stop it, but: {error}")),
    }
}

fn equals<T: PartialEq + std::fmt::Debug>(
    read: rustix::io::Result<T>,
    wanted: &T,
) -> Result<String, String> {
    match read {
        Ok(value) if value == *wanted => Ok(format!("{value:?}")),
        Ok(value) => Err(format!("{value:?}")),
        Err(error) => Err(error.to_string()),
    }
}
