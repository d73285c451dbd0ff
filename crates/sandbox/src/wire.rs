//! The frames between an engine and what runs in its sandbox: a length, a kind, and from the child
//! the nonce of the call. Both sides bound what they accept before they allocate.
//!
//! ```text
//! to the child:   u32 length | u8 kind |            payload      (length counts kind and payload)
//! from the child: u32 length | u8 kind | 16 nonce | payload      (length counts all but itself)
//! ```

use std::borrow::Cow;

use domain::runner::LogLevel;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Proves that a frame belongs to this call.
pub(crate) type Nonce = [u8; 16];

/// The nonce before a call was handed in.
pub(crate) const NO_CALL: Nonce = [0; 16];

/// Largest frame that a child accepts: code, arguments and what describes them.
pub(crate) const MAX_TO_CHILD: usize = 64 << 20;

/// Bytes of a frame from the child besides its payload and its length.
pub(crate) const FRAME_HEAD: usize = 17;

macro_rules! kinds {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $byte:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum $name { $($(#[$doc])* $variant = $byte,)+ }

        impl $name {
            pub(crate) fn from_byte(byte: u8) -> Option<Self> {
                match byte { $($byte => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

kinds! {
    /// What the engine sends.
    ToChild {
        /// The call: see [`encode_job`].
        Job = 1,
        /// `ctx.signal` is to be aborted.
        Cancel = 2,
        /// Bytecode that makes the globals: the first frame, before the walls.
        Prelude = 3,
        /// Packages to be loaded before the call comes: see `docker/ahead.rs`.
        Load = 4,
    }
}

kinds! {
    /// What the child sends.
    FromChild {
        /// The walls are up: JSON of [`Ready`].
        Ready = 1,
        /// The call was read; its code runs next.
        Started = 2,
        /// `ctx.log`: a level byte, then JSON.
        Log = 3,
        /// `ctx.progress`: JSON of [`Progress`].
        Progress = 4,
        /// `console.*`: a level byte, then UTF-8.
        Print = 5,
        /// The value: JSON, or nothing for `undefined`.
        Value = 6,
        /// No value: JSON of [`Thrown`].
        Failure = 7,
        /// The last frame: JSON of [`Spent`].
        Spent = 8,
        /// A finding of the probe: JSON of [`Finding`].
        Finding = 9,
        /// What the agent of a session says: `docker/session/line.rs`.
        Session = 10,
    }
}

/// What a child reports once its walls are up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// The walls that could not be raised: name and reason.
    pub(crate) missing: Vec<(String, String)>,
}

/// One attempt of the probe to break a wall.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) wall: String,
    pub(crate) attempt: String,
    /// Why it counts as held, or what went through.
    pub(crate) outcome: Result<String, String>,
}

/// What describes a call besides its arguments and code.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct JobHead<'a> {
    pub(crate) nonce: Nonce,
    #[serde(borrow)]
    pub(crate) tool: Cow<'a, str>,
    pub(crate) revision: Option<u64>,
    #[serde(borrow)]
    pub(crate) request_id: Cow<'a, str>,
    /// Milliseconds since 1970, for `ctx.deadline`.
    pub(crate) deadline_ms: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) cpu_seconds: u64,
    pub(crate) max_output_bytes: u64,
    pub(crate) log_level: Option<LogLevel>,
    pub(crate) wants_progress: bool,
    #[serde(borrow)]
    pub(crate) client_capabilities: Option<&'a RawValue>,
}

/// The payload of [`FromChild::Progress`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) progress: f64,
    pub(crate) total: Option<f64>,
    pub(crate) message: Option<String>,
}

/// Why there is no value, as the child knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Cause {
    /// The code threw, rejected, never settled or returned what JSON cannot hold.
    Threw,
    /// The runtime refused memory.
    OutOfMemory,
    /// The value is larger than the limit.
    TooLarge,
}

/// The payload of [`FromChild::Failure`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Thrown {
    pub(crate) cause: Cause,
    pub(crate) message: String,
}

/// The payload of [`FromChild::Spent`].
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Spent {
    pub(crate) cpu_micros: u64,
    pub(crate) peak_bytes: u64,
    /// Whether printed text or messages were dropped.
    pub(crate) truncated: bool,
    /// Processes of the sandbox that the kernel killed for want of memory, where that is known.
    #[serde(default)]
    pub(crate) oom_kills: u64,
    /// Processes and threads that the kernel refused to the sandbox, where that is known.
    #[serde(default)]
    pub(crate) pids_refused: u64,
}

/// A frame to the child. `None` when it would be larger than [`MAX_TO_CHILD`].
pub(crate) fn encode_to_child(kind: ToChild, parts: &[&[u8]]) -> Option<Vec<u8>> {
    let payload: usize = parts.iter().map(|part| part.len()).sum();
    if payload >= MAX_TO_CHILD {
        return None;
    }
    let length = u32::try_from(payload + 1).ok()?;
    let mut frame = Vec::with_capacity(payload + 5);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.push(kind as u8);
    for part in parts {
        frame.extend_from_slice(part);
    }
    Some(frame)
}

/// The frame of a call for the isolate engine's child: see [`encode_sized`].
pub(crate) fn encode_job(head: &JobHead<'_>, args: &str, code: &str) -> Option<Vec<u8>> {
    encode_sized(&serde_json::to_vec(head).ok()?, args, code)
}

/// The frame of a call: the length of the head, the head as JSON, the length of the arguments, the
/// arguments as JSON, the code.
pub(crate) fn encode_sized(head: &[u8], args: &str, code: &str) -> Option<Vec<u8>> {
    let head_length = u32::try_from(head.len()).ok()?.to_le_bytes();
    let args_length = u32::try_from(args.len()).ok()?.to_le_bytes();
    let parts = [
        &head_length[..],
        head,
        &args_length,
        args.as_bytes(),
        code.as_bytes(),
    ];
    encode_to_child(ToChild::Job, &parts)
}

/// The head, arguments and code of a call.
pub(crate) fn decode_job(payload: &[u8]) -> Option<(JobHead<'_>, &str, &str)> {
    let (head, rest) = take_sized(payload)?;
    let (args, code) = take_sized(rest)?;
    Some((
        serde_json::from_slice(head).ok()?,
        std::str::from_utf8(args).ok()?,
        std::str::from_utf8(code).ok()?,
    ))
}

fn take_sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

/// The head of a frame from the child.
pub(crate) fn head_from_child(kind: FromChild, nonce: &Nonce, payload: usize) -> Option<[u8; 21]> {
    let length = u32::try_from(payload + FRAME_HEAD).ok()?;
    let mut head = [0; 21];
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4] = kind as u8;
    head[5..].copy_from_slice(nonce);
    Some(head)
}

/// The byte that stands for a level.
pub(crate) fn level_byte(level: LogLevel) -> u8 {
    level as u8
}

/// The level that a byte stands for.
pub(crate) fn level_from(byte: u8) -> Option<LogLevel> {
    LogLevel::ALL.get(usize::from(byte)).copied()
}
