//! The task that holds a session: it serves one operation after another, and notices the end.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::error::{Error, ErrorCode, Result};
use domain::session::{CommandResult, Exec, Listing};
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::commands;
use super::end::{self, Cause};
use super::files;
use super::line::{Line, Message, Next, PIECE, Said, Tell};
use super::run::Code;
use crate::docker::daemon::Daemon;
use crate::docker::reaper::Guard;
use crate::docker::verdict::Limits;
use crate::output::broken;
use crate::{SessionEnd, Slot};

/// How much longer than its deadline an operation may take to be over: the agent sees to the deadline
/// itself, and first it has to end what runs.
pub(super) const MARGIN: Duration = Duration::from_secs(5);

/// Bytes of a stream that wait to be written.
const AHEAD: usize = 2 * PIECE;

/// Where an answer goes. Whoever gave up has closed it.
pub(super) type Reply<T> = oneshot::Sender<Result<T>>;

/// What a session is asked for.
pub(super) enum Request {
    Exec {
        exec: Exec,
        most: u64,
        until: Instant,
        reply: Reply<Vec<CommandResult>>,
    },
    Run(Box<Code>),
    Write {
        parts: Vec<String>,
        content: Vec<u8>,
        until: Instant,
        reply: Reply<()>,
    },
    Read {
        parts: Vec<String>,
        until: Instant,
        reply: Reply<Vec<u8>>,
    },
    List {
        parts: Vec<String>,
        until: Instant,
        reply: Reply<Listing>,
    },
    Unpack {
        target: &'static str,
        most: u64,
        tar: BoxStream<'static, io::Result<Bytes>>,
        until: Instant,
        reply: Reply<()>,
    },
}

/// A request whose turn it is, until the permit is dropped.
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) permit: Arc<OwnedSemaphorePermit>,
}

/// How far a session is.
#[derive(Debug, Clone)]
pub(super) enum State {
    Alive,
    /// It has ended; its container is being removed.
    Ended(SessionEnd),
    /// It is gone.
    Gone(SessionEnd),
}

/// What the agent says at the end of an operation.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Done {
    pub(super) error: Option<Told>,
    /// Of code: how its process ended, when it has not reported.
    pub(super) code: Option<i32>,
    pub(super) signal: Option<String>,
    #[serde(default)]
    pub(super) timed_out: bool,
    #[serde(default)]
    pub(super) oom_kills: u64,
}

/// A refusal of the agent's.
#[derive(Debug, Deserialize)]
pub(super) struct Told {
    pub(super) code: String,
    pub(super) message: String,
}

impl Told {
    pub(super) fn error(self) -> Error {
        let code = self.code.parse().unwrap_or(ErrorCode::Internal);
        if code == ErrorCode::Internal {
            return Error::internal(self.message);
        }
        // What a session says may be anything.
        let message: String = self.message.chars().take(1_000).collect();
        Error::new(code, message)
    }
}

/// How an operation came to its end.
pub(super) enum Ending {
    Done(Done),
    /// Nobody waits for it any more; what it had started is dead.
    GivenUp,
    /// Its time was over; what it had started is dead.
    Late,
    /// What it was fed with failed.
    Starved(io::Error),
}

/// What follows the head of an operation.
pub(super) enum Body {
    Nothing,
    Whole(Bytes),
    Stream(BoxStream<'static, io::Result<Bytes>>),
}

/// The session.
pub(super) struct Actor {
    pub(super) line: Line,
    pub(super) guard: Guard,
    pub(super) daemon: Daemon,
    pub(super) limits: Limits,
    pub(super) life_ends: Instant,
    /// Also cancelled when `closed` is.
    pub(super) stopped: CancellationToken,
    pub(super) closed: CancellationToken,
    pub(super) turn: Arc<Semaphore>,
    pub(super) state: watch::Sender<State>,
    pub(super) slot: Option<Slot>,
    /// What is used for as long as the session lives.
    pub(super) keep: Vec<Box<dyn Any + Send>>,
    pub(super) operations: u32,
    /// Whether memory ran out before.
    pub(super) killed: bool,
    pub(super) verdict: Option<SessionEnd>,
}

impl Actor {
    /// Serves until the session's end, and sees to that.
    pub(super) async fn live(mut self, mut requests: mpsc::Receiver<Asked>) {
        let cause = loop {
            let forever = self.life_ends + MARGIN;
            let asked = tokio::select! {
                asked = requests.recv() => asked,
                // Nothing is said for nobody.
                heard = self.hear(0, forever) => match heard {
                    Ok(_) => continue,
                    Err(cause) => break cause,
                },
            };
            let Some(Asked { request, permit }) = asked else {
                break Cause::Stopped;
            };
            if let Err(cause) = self.serve(request).await {
                break cause;
            }
            drop(permit);
        };
        let end = self.judge(&cause).await;
        tracing::debug!(container = %self.guard.id(), ?cause, message = end.message, "a session ended");
        self.state.send_replace(State::Ended(end.clone()));
        self.turn.close();
        drop(requests);
        // The stream first: its end is the agent's end too.
        drop(self.line);
        self.guard.destroy().await;
        drop((self.slot, self.keep));
        self.state.send_replace(State::Gone(end));
    }

    /// Why it ends, in words.
    pub(super) async fn judge(&mut self, cause: &Cause) -> SessionEnd {
        if let Some(end) = end::of_cause(cause).or_else(|| self.verdict.clone()) {
            return end;
        }
        let ended = self.daemon.end_of(self.guard.id()).await;
        let words = self.line.last_words();
        if !words.is_empty() {
            tracing::info!(container = %self.guard.id(), words, "a session's agent said at its end");
        }
        let end = end::of_container(ended, self.limits.memory_bytes, self.killed);
        self.verdict = Some(end.clone());
        end
    }

    async fn serve(&mut self, request: Request) -> Result<(), Cause> {
        match request {
            Request::Exec {
                exec,
                most,
                until,
                reply,
            } => commands::serve(self, exec, most, until, reply).await,
            Request::Run(code) => code.serve(self).await,
            Request::Write {
                parts,
                content,
                until,
                reply,
            } => files::write(self, parts, content, until, reply).await,
            Request::Read {
                parts,
                until,
                reply,
            } => files::read(self, parts, until, reply).await,
            Request::List {
                parts,
                until,
                reply,
            } => files::list(self, parts, until, reply).await,
            Request::Unpack {
                target,
                most,
                tar,
                until,
                reply,
            } => super::packages::serve(self, target, most, tar, until, reply).await,
        }
    }

    /// Begins an operation and says its number.
    pub(super) fn begin(&mut self, tell: Tell, head: &impl Serialize) -> u32 {
        // Zero is nobody's.
        self.operations = self.operations.wrapping_add(1).max(1);
        let head = serde_json::to_vec(head).unwrap_or_default();
        self.line.tell(tell, self.operations, head.into());
        self.operations
    }

    /// The next message of an operation. Giving up the future loses nothing.
    ///
    /// # Errors
    /// The session ends.
    pub(super) async fn hear(&mut self, operation: u32, limit: Instant) -> Result<Message, Cause> {
        loop {
            // Without a mark there is no coming back without a message.
            if let Some(message) = self.hear_or_write(operation, limit, None).await? {
                return Ok(message);
            }
        }
    }

    /// The same; nothing as soon as less than `low` bytes wait to be written.
    async fn hear_or_write(
        &mut self,
        operation: u32,
        limit: Instant,
        low: Option<usize>,
    ) -> Result<Option<Message>, Cause> {
        loop {
            let next = tokio::select! {
                next = self.line.next(low) => next,
                () = self.stopped.cancelled() => return Err(match self.closed.is_cancelled() {
                    true => Cause::Shutdown,
                    false => Cause::Stopped,
                }),
                () = sleep_until(self.life_ends) => return Err(Cause::Lifetime),
                () = sleep_until(limit) => return Err(Cause::Silent),
            };
            match next {
                Ok(Next::Message(message)) if message.operation == operation => {
                    return Ok(Some(message));
                }
                // Of an operation that is over.
                Ok(Next::Message(_)) => {}
                Ok(Next::Room) => return Ok(None),
                Ok(Next::End) => return Err(Cause::Gone(None)),
                Err(error) => return Err(Cause::Gone(Some(error))),
            }
        }
    }

    /// Hears an operation out that is to stop: what it had started is dead then.
    ///
    /// # Errors
    /// The session ends.
    pub(super) async fn cancel(&mut self, operation: u32) -> Result<Done, Cause> {
        self.line.tell(Tell::Cancel, operation, Bytes::new());
        let limit = Instant::now() + MARGIN;
        loop {
            let message = self.hear(operation, limit).await?;
            if message.said == Said::Done {
                return done(&message.payload);
            }
        }
    }

    /// Runs an operation to its end. `take` gets what comes before that; what it finds wrong ends the
    /// session. `late` says whether the deadline is to be seen to here.
    ///
    /// # Errors
    /// The session ends.
    pub(super) async fn operate<T>(
        &mut self,
        operation: u32,
        body: Body,
        (until, late): (Instant, bool),
        reply: &mut Reply<T>,
        mut take: impl FnMut(Message) -> io::Result<()>,
    ) -> Result<Ending, Cause> {
        let mut feed = match body {
            Body::Nothing => None,
            Body::Whole(bytes) => {
                self.line.data(operation, bytes);
                self.line.tell(Tell::End, operation, Bytes::new());
                None
            }
            Body::Stream(stream) => Some(stream),
        };
        loop {
            let hungry = self.line.pending() < AHEAD;
            let low = (feed.is_some() && !hungry).then_some(AHEAD);
            let given_up = tokio::select! {
                heard = self.hear_or_write(operation, until + MARGIN, low) => {
                    let Some(message) = heard? else { continue };
                    if message.said == Said::Done {
                        return Ok(Ending::Done(done(&message.payload)?));
                    }
                    take(message).map_err(|error| Cause::Gone(Some(error)))?;
                    continue;
                }
                piece = next(&mut feed), if feed.is_some() && hungry => match piece {
                    Some(Ok(bytes)) => {
                        self.line.data(operation, bytes);
                        continue;
                    }
                    Some(Err(error)) => Ending::Starved(error),
                    None => {
                        feed = None;
                        self.line.tell(Tell::End, operation, Bytes::new());
                        continue;
                    }
                },
                () = reply.closed() => Ending::GivenUp,
                () = sleep_until(until), if late => Ending::Late,
            };
            self.cancel(operation).await?;
            return Ok(given_up);
        }
    }
}

async fn next(
    feed: &mut Option<BoxStream<'static, io::Result<Bytes>>>,
) -> Option<io::Result<Bytes>> {
    match feed {
        Some(stream) => stream.next().await,
        None => None,
    }
}

/// The agent's last word on an operation.
pub(super) fn done(payload: &Bytes) -> Result<Done, Cause> {
    serde_json::from_slice(payload).map_err(|_| Cause::Gone(Some(broken("an end that is none"))))
}

/// Gives an answer; nobody may want it any more.
pub(super) fn answer<T>(reply: Reply<T>, answer: Result<T>) {
    drop(reply.send(answer));
}

/// The answer to an operation that has none of its own.
pub(super) fn unanswered(ending: Ending) -> Error {
    match ending {
        Ending::Done(Done {
            error: Some(told), ..
        }) => told.error(),
        Ending::Done(_) => Error::internal("an operation of a session ended without its result"),
        Ending::GivenUp => Error::new(ErrorCode::Cancelled, "the operation was cancelled"),
        Ending::Late => Error::new(
            ErrorCode::Timeout,
            "the operation took longer than its time and was stopped",
        ),
        Ending::Starved(error) => {
            Error::unavailable("store of installed packages").with_cause(error)
        }
    }
}
