//! The stream to a session's agent: what it is told, and what it says.
//!
//! ```text
//! to the agent:   u32 length | u8 kind | u32 operation | payload   (the length counts all but itself)
//! from the agent: 16 nonce | u32 length | u8 10 | u8 kind | u32 operation | payload
//! ```
//!
//! The nonce is the session's. What runs in the session could find it out or write into the agent's
//! stream, which is its own: it can spoil its own results and nothing else. So whatever comes is
//! bounded here, and what is not the agent's is thrown away.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::docker::daemon::{Output, Printed};
use crate::docker::frames::{Frames, Piece};
use crate::output::broken;
use crate::wire::{FromChild, Nonce};

/// Largest message of an agent, in bytes; it sends pieces of 64 KiB.
const MAX_MESSAGE: usize = 128 << 10;

/// Largest piece that is sent, in bytes.
pub(super) const PIECE: usize = 128 << 10;

/// Bytes on the stream that are not the agent's, over the life of a session.
const MAX_STRAY: usize = 1 << 20;

/// The end of what the agent wrote to stderr that is kept, in bytes.
const LAST_WORDS: usize = 2_048;

/// What the agent is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tell {
    /// The session begins: JSON.
    Open = 1,
    /// Commands: JSON.
    Exec = 2,
    /// Code: JSON; what its process reads follows as data.
    Run = 3,
    /// A file is written: JSON; its content follows.
    Write = 4,
    /// A file is read: JSON.
    Read = 5,
    /// A directory is listed: JSON.
    List = 6,
    /// Packages come: JSON; a tar follows.
    Unpack = 7,
    /// More of an operation.
    Data = 8,
    /// An operation is to stop, with all that it started.
    Cancel = 9,
    /// Nothing more of an operation follows.
    End = 10,
}

/// What the agent says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// The operation is over: JSON.
    Done,
    /// A piece of standard output, of a file or of a listing.
    Out,
    /// A piece of standard error.
    Err,
    /// A command ended; what it wrote came before: JSON.
    Command,
    /// Code has a process: JSON.
    Started,
}

/// One message of the agent.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) said: Said,
    pub(super) operation: u32,
    pub(super) payload: Bytes,
}

/// What waiting for the agent came to.
#[derive(Debug)]
pub(super) enum Next {
    /// It said something.
    Message(Message),
    /// So much was written that there is room for more.
    Room,
    /// The stream has ended.
    End,
}

/// The stream.
pub(super) struct Line {
    input: Pin<Box<dyn AsyncWrite + Send>>,
    frames: Frames<Output>,
    nonce: Nonce,
    /// What is still to be written. Operations put in what they hold anyway.
    outgoing: VecDeque<Bytes>,
    unflushed: bool,
    stray: usize,
    last_words: Vec<u8>,
}

impl Line {
    pub(super) fn new(
        input: Pin<Box<dyn AsyncWrite + Send>>,
        frames: Frames<Output>,
        nonce: Nonce,
    ) -> Self {
        Self {
            input,
            frames,
            nonce,
            outgoing: VecDeque::new(),
            unflushed: false,
            stray: 0,
            last_words: Vec::new(),
        }
    }

    /// Queues a frame. It is written while [`next`](Self::next) is waited for.
    pub(super) fn tell(&mut self, tell: Tell, operation: u32, payload: Bytes) {
        let mut head = BytesMut::with_capacity(9 + payload.len().min(256));
        // Payloads are pieces of at most PIECE bytes, or JSON that was bounded before.
        let length = u32::try_from(payload.len() + 5).unwrap_or(u32::MAX);
        head.extend_from_slice(&length.to_le_bytes());
        head.extend_from_slice(&[tell as u8]);
        head.extend_from_slice(&operation.to_le_bytes());
        if payload.len() <= 256 {
            head.extend_from_slice(&payload);
            self.outgoing.push_back(head.freeze());
        } else {
            self.outgoing.push_back(head.freeze());
            self.outgoing.push_back(payload);
        }
    }

    /// Queues bytes as data of an operation.
    pub(super) fn data(&mut self, operation: u32, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE));
            self.tell(Tell::Data, operation, piece);
        }
    }

    /// How many bytes wait to be written.
    pub(super) fn pending(&self) -> usize {
        self.outgoing.iter().map(Bytes::len).sum()
    }

    /// The next message. Writes meanwhile, and comes back without one as soon as less than `low` bytes
    /// wait to be written: who feeds the line has to go on then, for the agent may say nothing before
    /// it has all. Giving up the future loses nothing.
    ///
    /// # Errors
    /// The stream broke, or what comes is not an agent's.
    pub(super) async fn next(&mut self, low: Option<usize>) -> io::Result<Next> {
        loop {
            if low.is_some_and(|low| self.pending() < low) {
                return Ok(Next::Room);
            }
            let piece = tokio::select! {
                piece = self.frames.next(&self.nonce, MAX_MESSAGE) => piece?,
                written = write(&mut self.input, &mut self.outgoing, &mut self.unflushed),
                    if self.unflushed || !self.outgoing.is_empty() =>
                {
                    written?;
                    continue;
                }
            };
            match piece {
                None => return Ok(Next::End),
                Some(Piece::Frame(FromChild::Session, payload)) => {
                    return message(payload).map(Next::Message);
                }
                Some(Piece::Frame(..)) => return Err(broken("a frame that is not of a session")),
                Some(Piece::Text(from, text)) => {
                    self.stray = self.stray.saturating_add(text.len());
                    if self.stray > MAX_STRAY {
                        return Err(broken("the agent's stream is written to by others"));
                    }
                    if from == Printed::Err {
                        self.last_words
                            .extend(text.iter().rev().take(LAST_WORDS).rev());
                        let old = self.last_words.len().saturating_sub(LAST_WORDS);
                        self.last_words.drain(..old);
                    }
                }
            }
        }
    }

    /// The last that the agent wrote to stderr.
    pub(super) fn last_words(&self) -> String {
        String::from_utf8_lossy(&self.last_words).into_owned()
    }
}

/// Writes a part of what waits, then flushes. Cancel-safe: a part is either written and gone from the
/// queue or neither.
async fn write(
    input: &mut Pin<Box<dyn AsyncWrite + Send>>,
    outgoing: &mut VecDeque<Bytes>,
    unflushed: &mut bool,
) -> io::Result<()> {
    let Some(first) = outgoing.front_mut() else {
        input.flush().await?;
        *unflushed = false;
        return Ok(());
    };
    let written = input.write(first).await?;
    if written == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    first.advance(written);
    if first.is_empty() {
        outgoing.pop_front();
    }
    *unflushed = true;
    Ok(())
}

fn message(mut payload: Bytes) -> io::Result<Message> {
    if payload.len() < 5 {
        return Err(broken("a message without a head"));
    }
    let said = match payload.get_u8() {
        1 => Said::Done,
        2 => Said::Out,
        3 => Said::Err,
        4 => Said::Command,
        5 => Said::Started,
        _ => return Err(broken("an unknown message")),
    };
    Ok(Message {
        said,
        operation: payload.get_u32_le(),
        payload,
    })
}

impl fmt::Debug for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Line({} bytes to write)", self.pending())
    }
}
