//! Listening to the agent that runs a call, wherever its frames come from.

use std::io;

use bytes::Bytes;
use domain::runner::Failure;
use futures::Stream;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::daemon::Printed;
use super::frames::{Frames, Piece};
use super::text::Text;
use super::verdict::{self, Limits};
use crate::ExecutionSink;
use crate::failpoint;
use crate::output::{Output, broken, max_frame, parsed, value};
use crate::verdict::of_thrown;
use crate::wire::{FromChild, Nonce, Spent, Thrown};

/// Text beyond the bound of a call that is read and thrown away, in bytes, so that a result can
/// follow it; what prints more is stopped.
const FLOOD: u64 = 32 << 20;

/// The value of a call, or why there is none.
pub(super) type Value = Result<Option<Box<RawValue>>, Failure>;

/// How listening ended.
pub(super) enum Last {
    /// With a report.
    Reported(Value),
    /// The stream ended, or broke.
    Gone,
    /// The agent did what an agent never does.
    Broken(io::Error),
    /// There was no end to its output.
    Flood,
}

/// Whom to listen to, and for whom.
pub(super) struct Listener<'a> {
    pub(super) nonce: &'a Nonce,
    pub(super) max_output: u64,
    pub(super) limits: Limits,
    pub(super) sink: &'a ExecutionSink,
}

/// What came out so far.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) output: Output,
    pub(super) text: Text,
    /// All bytes, also those that were thrown away.
    pub(super) bytes: u64,
    /// What the kernel had counted before the call: those kills are not the call's.
    pub(super) before: Spent,
    /// When the code started, and when its result was there.
    pub(super) started: Option<Instant>,
    pub(super) ended: Option<Instant>,
    result: Option<Value>,
}

impl Heard {
    /// Listens until the end of the call. Giving up the future loses nothing but what it waits for.
    pub(super) async fn listen<S>(&mut self, frames: &mut Frames<S>, to: &Listener<'_>) -> Last
    where
        S: Stream<Item = io::Result<(Printed, Bytes)>> + Unpin,
    {
        let limit = max_frame(to.max_output);
        loop {
            let piece = match frames.next(to.nonce, limit).await {
                Ok(Some(piece)) => piece,
                Ok(None) => return self.result.take().map_or(Last::Gone, Last::Reported),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Last::Broken(error);
                }
                Err(_) => return Last::Gone,
            };
            match self.take(piece, to).await {
                Ok(None) => {}
                Ok(Some(last)) => return last,
                Err(error) => return Last::Broken(error),
            }
        }
    }

    /// The call has begun: whatever happens now, it may have run.
    pub(super) fn begin(&mut self) {
        self.output.started = true;
        self.started = Some(Instant::now());
        failpoint::reached(failpoint::RUN);
    }

    async fn take(&mut self, piece: Piece, to: &Listener<'_>) -> io::Result<Option<Last>> {
        let bytes = match &piece {
            Piece::Frame(_, payload) => payload.len(),
            Piece::Text(_, text) => text.len(),
        };
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.bytes > to.max_output.saturating_add(FLOOD) {
            return Ok(Some(Last::Flood));
        }
        let (kind, payload) = match piece {
            Piece::Frame(kind, payload) => (kind, payload),
            Piece::Text(from, text) => {
                self.text.add(from, &text, &mut self.output, to.max_output);
                return Ok(None);
            }
        };
        match kind {
            FromChild::Started if !self.output.started => self.begin(),
            _ if !self.output.started => return Err(broken("a frame before the call was read")),
            FromChild::Value if self.result.is_none() => {
                self.ended = Some(Instant::now());
                self.result = Some(Ok(value(&payload)?));
            }
            FromChild::Failure if self.result.is_none() => {
                self.ended = Some(Instant::now());
                self.result = Some(Err(of_thrown(parsed::<Thrown>(&payload)?)));
            }
            FromChild::Spent => {
                let mut spent: Spent = parsed(&payload)?;
                spent.oom_kills = spent.oom_kills.saturating_sub(self.before.oom_kills);
                spent.pids_refused = spent.pids_refused.saturating_sub(self.before.pids_refused);
                let result = self.result.take();
                let result = result.ok_or_else(|| broken("a report without a result"))?;
                self.output.spent = Some(spent);
                let explain = |told| verdict::explained(told, spent, to.limits);
                return Ok(Some(Last::Reported(result.map_err(explain))));
            }
            FromChild::Log | FromChild::Progress | FromChild::Print if self.result.is_none() => {
                // The agent counts too, but knows nothing of what children of the code write.
                let bytes = payload.len().saturating_sub(1);
                if !self.output.count(bytes, to.max_output) {
                    self.output.truncated = true;
                } else if let Some(event) = self.output.event(kind, &payload)? {
                    to.sink.event(event).await;
                }
            }
            _ => return Err(broken("a frame out of turn")),
        }
        Ok(None)
    }
}
