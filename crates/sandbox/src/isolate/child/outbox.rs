//! The child's end of the frames: what leaves the sandbox, counted.

use std::cell::Cell;
use std::io;

use domain::runner::LogLevel;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::stdio::{stdin, stdout};

use crate::wire::{self, FromChild, JobHead, Nonce, ToChild};

/// Most lines, log messages and progress reports of one call. Each costs more than its text.
const MAX_MESSAGES: u32 = 10_000;

/// Longest line that is printed, in bytes; the rest of it is cut.
const MAX_LINE: usize = 16_384;

/// Writes frames and keeps to the call's bounds. The engine counts again.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    nonce: Cell<Nonce>,
    bytes_left: Cell<u64>,
    messages_left: Cell<u32>,
    truncated: Cell<bool>,
    log_level: Cell<Option<LogLevel>>,
    wants_progress: Cell<bool>,
}

impl Outbox {
    /// Takes the bounds of a call over.
    pub(super) fn open(&self, head: &JobHead<'_>) {
        self.nonce.set(head.nonce);
        self.bytes_left.set(head.max_output_bytes);
        self.messages_left.set(MAX_MESSAGES);
        self.log_level.set(head.log_level);
        self.wants_progress.set(head.wants_progress);
    }

    pub(super) fn truncated(&self) -> bool {
        self.truncated.get()
    }

    /// One line of the console, cut where it is too long.
    pub(super) fn print(&self, level: LogLevel, text: &str) {
        let cut = text.floor_char_boundary(MAX_LINE);
        let fits = text.floor_char_boundary(usize::try_from(self.bytes_left.get()).unwrap_or(cut));
        let cut = cut.min(fits);
        if cut < text.len() {
            self.truncated.set(true);
        }
        if (cut > 0 || text.is_empty()) && self.admit(cut) {
            self.message(FromChild::Print, level, &text[..cut]);
        }
    }

    /// A message of `ctx.log`, when the client wants its level.
    pub(super) fn log(&self, level: LogLevel, json: &str) {
        if self.log_level.get().is_some_and(|least| level >= least) && self.admit(json.len()) {
            self.message(FromChild::Log, level, json);
        }
    }

    /// A report of `ctx.progress`, when the client wants them.
    pub(super) fn progress(&self, progress: &wire::Progress) {
        if !self.wants_progress.get() {
            return;
        }
        if let Ok(payload) = serde_json::to_vec(progress)
            && self.admit(payload.len())
        {
            self.send(FromChild::Progress, &[&payload]);
        }
    }

    fn admit(&self, bytes: usize) -> bool {
        let left = self.bytes_left.get().checked_sub(bytes as u64);
        match (left, self.messages_left.get().checked_sub(1)) {
            (Some(bytes), Some(messages)) => {
                self.bytes_left.set(bytes);
                self.messages_left.set(messages);
                true
            }
            _ => {
                self.truncated.set(true);
                false
            }
        }
    }

    fn message(&self, kind: FromChild, level: LogLevel, text: &str) {
        self.send(kind, &[&[wire::level_byte(level)], text.as_bytes()]);
    }

    /// Writes one frame. Nobody reads any more when that fails, so the child ends.
    pub(super) fn send(&self, kind: FromChild, parts: &[&[u8]]) {
        let payload = parts.iter().map(|part| part.len()).sum();
        let nonce = self.nonce.get();
        let Some(head) = wire::head_from_child(kind, &nonce, payload) else {
            super::leave(1)
        };
        let mut frame = Vec::with_capacity(head.len() + payload);
        frame.extend_from_slice(&head);
        for part in parts {
            frame.extend_from_slice(part);
        }
        let mut rest = &frame[..];
        while !rest.is_empty() {
            match rustix::io::write(stdout(), rest) {
                Ok(written) => rest = &rest[written..],
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => super::leave(1),
            }
        }
    }

    /// A frame with JSON in it.
    pub(super) fn send_json(&self, kind: FromChild, value: &impl serde::Serialize) {
        match serde_json::to_vec(value) {
            Ok(json) => self.send(kind, &[&json]),
            Err(_) => super::leave(1),
        }
    }
}

/// Reads one frame. `None` at the end of the stream.
pub(super) fn read_frame() -> io::Result<Option<(ToChild, Vec<u8>)>> {
    let mut head = [0; 5];
    if !read_full(&mut head)? {
        return Ok(None);
    }
    let [l0, l1, l2, l3, kind] = head;
    let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).map_err(io::Error::other)?;
    let kind = ToChild::from_byte(kind).filter(|_| (1..=wire::MAX_TO_CHILD).contains(&length));
    let Some(kind) = kind else {
        return Err(io::Error::other("not a frame"));
    };
    let mut payload = vec![0; length - 1];
    Ok(read_full(&mut payload)?.then_some((kind, payload)))
}

fn read_full(buffer: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::read(stdin(), &mut buffer[filled..]) {
            Ok(0) => return Ok(false),
            Ok(read) => filled += read,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Waits until the engine has something to say, at most so many milliseconds.
pub(super) fn wait_for_frame(millis: Option<u64>) -> bool {
    let timeout = millis.map(|millis| Timespec {
        tv_sec: i64::try_from(millis / 1_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(millis % 1_000 * 1_000_000).unwrap_or(0),
    });
    let input = stdin();
    let mut fds = [PollFd::new(&input, PollFlags::IN)];
    // An interrupted wait is a short one.
    poll(&mut fds, timeout.as_ref()).is_ok_and(|ready| ready > 0)
}
