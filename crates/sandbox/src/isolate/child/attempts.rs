//! The probe's child: raises the walls one by one and, after each, tries what only that wall stops.
//! An attempt counts as stopped when it fails in the way in which this wall makes it fail; anything
//! else went through, or shows that something else stands there.

use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;

use nix::libc::{EACCES, EPERM};
use nix::sched::{CloneFlags, unshare};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};

use super::outbox::Outbox;
use super::walls::{MEMORY_OVERHEAD, OPEN_FILES, Wall, Walls};
use crate::wire::{Finding, FromChild};

type Attempt<'a> = (&'static str, Box<dyn Fn() -> Result<String, String> + 'a>);

pub(super) fn run(walls: &Walls, without: Option<Wall>) {
    let outbox = Outbox::default();
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
        Wall::Seccomp => seccomp(),
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

fn seccomp() -> Vec<Attempt<'static>> {
    fn own(error: nix::Error) -> io::Error {
        io::Error::from_raw_os_error(error as i32)
    }
    vec![
        ("open a file", Box::new(|| fails(&[EPERM], File::open("/")))),
        (
            "make a socket",
            Box::new(|| fails(&[EPERM], UdpSocket::bind("0.0.0.0:0"))),
        ),
        (
            "make a socket pair",
            Box::new(|| fails(&[EPERM], UnixStream::pair())),
        ),
        (
            "start a program",
            Box::new(|| fails(&[EPERM], Command::new("/proc/self/exe").spawn())),
        ),
        (
            "start a thread",
            Box::new(|| fails(&[EPERM], thread::Builder::new().spawn(|| ()))),
        ),
        (
            "signal a process",
            Box::new(|| {
                let own = rustix::process::getpid();
                fails(
                    &[EPERM],
                    rustix::process::test_kill_process(own).map_err(io::Error::from),
                )
            }),
        ),
        (
            "leave a namespace",
            Box::new(|| fails(&[EPERM], unshare(CloneFlags::CLONE_FILES).map_err(own))),
        ),
        (
            "make a file in memory",
            Box::new(|| {
                let made = rustix::fs::memfd_create(c"x", rustix::fs::MemfdFlags::empty());
                fails(&[EPERM], made.map_err(io::Error::from))
            }),
        ),
        (
            "make memory executable",
            Box::new(|| {
                fails(
                    &[EPERM],
                    memmap2::MmapMut::map_anon(4_096).and_then(memmap2::MmapMut::make_exec),
                )
            }),
        ),
        // Last, because a process that is traced stops at its next signal.
        (
            "be traced",
            Box::new(|| fails(&[EPERM], nix::sys::ptrace::traceme().map_err(own))),
        ),
    ]
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
fn fails<T>(with: &[i32], done: io::Result<T>) -> Result<String, String> {
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
