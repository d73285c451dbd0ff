//! The child process: it makes the JavaScript runtime, raises the walls around itself, and only
//! then reads the code. One thread, one call, then the end.

mod attempts;
mod fault;
mod guest;
mod host;
mod namespaces;
mod outbox;
mod prelude;
mod seccomp;
mod timers;
mod urls;
mod walls;

use std::rc::Rc;

use self::guest::Guest;
use self::outbox::{Outbox, read_frame};
pub(super) use self::prelude::compile as compile_prelude;
pub(super) use self::walls::Wall;
use self::walls::Walls;
use crate::wire::{FromChild, Ready, Spent, ToChild, decode_job};

/// First argument of a child.
pub(super) const CHILD_ARGUMENT: &str = "--isolate-child";
/// Second argument of a child that the probe starts.
pub(super) const PROBE_MODE: &str = "probe";
/// Second argument of a child that runs a call.
pub(super) const CALL_MODE: &str = "call";

/// Runs the child when this process was started as one, and says with which code to exit. To be
/// called first in `main`, before any thread, runtime or configuration.
#[must_use]
#[allow(
    clippy::disallowed_methods,
    reason = "the guest's arguments are no configuration, and it must run before bootstrap"
)]
pub fn run_child_if_asked() -> Option<i32> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(CHILD_ARGUMENT) {
        return None;
    }
    let mode = arguments.next()?;
    let parent: i32 = arguments.next()?.parse().ok()?;
    let memory_bytes: u64 = arguments.next()?.parse().ok()?;
    let walls = Walls {
        parent,
        memory_bytes,
    };
    match mode.as_str() {
        CALL_MODE => call(&walls),
        PROBE_MODE => {
            let without = arguments.next().as_deref().and_then(Wall::parse);
            attempts::run(&walls, without);
        }
        _ => return Some(2),
    }
    Some(0)
}

/// Ends the process at once: nothing of a sandbox is worth an orderly end.
fn leave(code: i32) -> ! {
    std::process::exit(code)
}

fn call(walls: &Walls) {
    let outbox = Rc::new(Outbox::default());
    let first = walls::be_killed_first().map_err(|reason| (Wall::Limits.name().to_owned(), reason));
    let Ok(Some((ToChild::Prelude, bytecode))) = read_frame() else {
        leave(0)
    };
    let Ok(guest) = Guest::new(Rc::clone(&outbox), bytecode) else {
        leave(3)
    };
    let missing = Wall::ALL
        .into_iter()
        .filter_map(|wall| Some((wall.name().to_owned(), walls.raise(wall).err()?)))
        .chain(first.err())
        .collect();
    outbox.send_json(FromChild::Ready, &Ready { missing });

    let Ok(Some((ToChild::Job, payload))) = read_frame() else {
        leave(0)
    };
    let Some((head, args, code)) = decode_job(&payload) else {
        leave(4)
    };
    walls::lower_limits(walls, head.memory_bytes, head.cpu_seconds);
    outbox.open(&head);
    outbox.send(FromChild::Started, &[]);
    guest.run(&head, args, code);
    outbox.send_json(FromChild::Spent, &spent(&outbox));
    leave(0)
}

fn spent(outbox: &Outbox) -> Spent {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;

    let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
    let micros = usage.map_or(0, |usage| {
        usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
    });
    let kilobytes = usage.map_or(0, |usage| usage.max_rss());
    Spent {
        cpu_micros: u64::try_from(micros).unwrap_or(0),
        peak_bytes: u64::try_from(kilobytes).unwrap_or(0).saturating_mul(1024),
        truncated: outbox.truncated(),
        ..Spent::default()
    }
}
