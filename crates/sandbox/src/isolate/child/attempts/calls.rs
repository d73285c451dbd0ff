//! What only the allow-list of system calls stops: each way out, and each way to change a wall,
//! that can be tried from safe code. All of them fail as calls that are not on the list do.

use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;

use nix::libc::EPERM;
use nix::sched::{CloneFlags, setns, unshare};
use rustix::net::{AddressFamily, SocketType};

use super::super::walls::Walls;
use super::{Attempt, fails, own, signal};

/// Kinds of sockets that have been a way out before, by their numbers: netlink, packet, the kernel's
/// cryptography, virtual machines' hosts.
const SOCKETS: [(&str, u16); 4] = [
    ("make a netlink socket", 16),
    ("make a packet socket", 17),
    ("make a socket of the kernel's cryptography", 38),
    ("make a socket to a machine's host", 40),
];

pub(super) fn attempts(walls: &Walls) -> Vec<Attempt<'_>> {
    let mut all = files(walls);
    all.extend(sockets());
    all.extend(processes(walls));
    all.extend(changes());
    // Last, because a process that is traced stops at its next signal.
    all.push(attempt("be traced", || {
        nix::sys::ptrace::traceme().map_err(own)
    }));
    all
}

fn attempt<'a, T>(name: &'static str, act: impl Fn() -> io::Result<T> + 'a) -> Attempt<'a> {
    (name, Box::new(move || fails(&[EPERM], act())))
}

fn files(walls: &Walls) -> Vec<Attempt<'_>> {
    let environ = format!("/proc/{}/environ", walls.parent);
    vec![
        attempt("open a file", || File::open("/")),
        attempt("list processes", || std::fs::read_dir("/proc")),
        attempt("read the engine's environment", move || {
            File::open(&environ)
        }),
        attempt("make a file in memory", || {
            Ok(rustix::fs::memfd_create(
                c"x",
                rustix::fs::MemfdFlags::empty(),
            )?)
        }),
        attempt("make a pipe", || Ok(rustix::pipe::pipe()?)),
        attempt("mount", || {
            let flags = nix::mount::MsFlags::empty();
            nix::mount::mount(None::<&str>, "/", Some("tmpfs"), flags, None::<&str>).map_err(own)
        }),
    ]
}

fn sockets() -> Vec<Attempt<'static>> {
    let mut all = vec![
        attempt("make a socket", || UdpSocket::bind("0.0.0.0:0")),
        attempt("make a socket pair", UnixStream::pair),
    ];
    all.extend(SOCKETS.map(|(name, family)| {
        attempt(name, move || {
            let family = AddressFamily::from_raw(family);
            Ok(rustix::net::socket(family, SocketType::RAW, None)?)
        })
    }));
    all
}

fn processes(walls: &Walls) -> Vec<Attempt<'_>> {
    let engine = nix::unistd::Pid::from_raw(walls.parent);
    vec![
        attempt("start a program", || Command::new("/proc/self/exe").spawn()),
        attempt("start a thread", || thread::Builder::new().spawn(|| ())),
        attempt("signal itself", || {
            signal(rustix::process::getpid().as_raw_nonzero().get())
        }),
        attempt("signal the engine", || signal(walls.parent)),
        attempt("signal all processes", || signal(-1)),
        attempt("trace the engine", move || {
            nix::sys::ptrace::attach(engine).map_err(own)
        }),
        attempt("get a handle of a process", || {
            let flags = rustix::process::PidfdFlags::empty();
            Ok(rustix::process::pidfd_open(
                rustix::process::getpid(),
                flags,
            )?)
        }),
        attempt("begin a session", || Ok(rustix::process::setsid()?)),
    ]
}

fn changes() -> Vec<Attempt<'static>> {
    use rustix::process::{DumpableBehavior, Signal};
    vec![
        attempt("leave a namespace", || {
            unshare(CloneFlags::CLONE_FILES).map_err(own)
        }),
        attempt("make a user namespace", || {
            unshare(CloneFlags::CLONE_NEWUSER).map_err(own)
        }),
        attempt("enter a namespace", || {
            setns(rustix::stdio::stdin(), CloneFlags::empty()).map_err(own)
        }),
        attempt("let itself be looked into", || {
            Ok(rustix::process::set_dumpable_behavior(
                DumpableBehavior::Dumpable,
            )?)
        }),
        attempt("outlive the engine", || {
            Ok(rustix::process::set_parent_process_death_signal(
                None::<Signal>,
            )?)
        }),
        attempt("change its user", || {
            let root = nix::unistd::Uid::from_raw(0);
            nix::unistd::setresuid(root, root, root).map_err(own)
        }),
        attempt("make memory executable", || {
            memmap2::MmapMut::map_anon(4_096).and_then(memmap2::MmapMut::make_exec)
        }),
    ]
}
