//! One session: its owner, its sandbox, and the one place where it is decided that it has ended.

use std::sync::Arc;
use std::time::Duration;

use domain::error::{Error, ErrorCode};
use domain::principal::Principal;
use domain::session::{self, SessionId, SessionInfo};
use jiff::Timestamp;
use parking_lot::Mutex;
use sandbox::Session;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::handle::Number;

/// Why a session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Its owner has stopped it.
    Stopped,
    /// Nobody has used it for too long.
    Idle,
    /// It has lived as long as a session may.
    Lifetime,
    /// Its sandbox is no more.
    Died,
    /// The executor ends.
    Shutdown,
}

impl Ended {
    /// The label of the metric.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Ended::Stopped => "stopped",
            Ended::Idle => "idle",
            Ended::Lifetime => "lifetime",
            Ended::Died => "died",
            Ended::Shutdown => "shutdown",
        }
    }

    /// The answer to an operation that runs at that moment.
    pub(super) fn interrupts(self) -> Error {
        let (code, message) = match self {
            Ended::Stopped => (ErrorCode::Cancelled, "the session was stopped meanwhile"),
            Ended::Lifetime => (
                ErrorCode::Timeout,
                "the session has reached the end of its lifetime",
            ),
            Ended::Idle | Ended::Died => (ErrorCode::Unavailable, "the session's sandbox ended"),
            Ended::Shutdown => (ErrorCode::Unavailable, "the executor is shutting down"),
        };
        Error::new(code, format!("{message}; its files are gone"))
            .with_may_have_run(true)
            .with_fix("make a new session with sandbox.initialize")
    }
}

/// A session.
pub(super) struct Entry {
    pub(super) number: Number,
    pub(super) id: SessionId,
    pub(super) owner: Owner,
    pub(super) image: String,
    pub(super) idle: Duration,
    pub(super) sandbox: Box<dyn Session>,
    pub(super) created_at: Timestamp,
    /// The end of its lifetime, by the clock that nobody can set.
    pub(super) dies_at: Instant,
    state: Mutex<State>,
    /// Cancelled once it has ended: operations that run end with it.
    over: CancellationToken,
    /// Cancelled once its sandbox is gone.
    pub(super) gone: CancellationToken,
}

/// Whose a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    tenant: domain::TenantId,
    subject: String,
}

impl Owner {
    pub(super) fn of(principal: &Principal) -> Self {
        Self {
            tenant: principal.tenant.clone(),
            subject: principal.subject.clone(),
        }
    }
}

struct State {
    /// Operations that run or wait.
    using: usize,
    /// When the last one ended.
    idle_since: Instant,
    last_used_at: Timestamp,
    ended: Option<Ended>,
}

/// What an entry is made of.
pub(super) struct Opened {
    pub(super) number: Number,
    pub(super) id: SessionId,
    pub(super) owner: Owner,
    pub(super) image: String,
    pub(super) idle: Duration,
    pub(super) sandbox: Box<dyn Session>,
    pub(super) dies_at: Instant,
}

impl Entry {
    /// A session from now on.
    pub(super) fn new(opened: Opened) -> Self {
        let Opened {
            number,
            id,
            owner,
            image,
            idle,
            sandbox,
            dies_at,
        } = opened;
        let created_at = Timestamp::now();
        Self {
            number,
            id,
            owner,
            image,
            idle,
            sandbox,
            created_at,
            dies_at,
            state: Mutex::new(State {
                using: 0,
                idle_since: Instant::now(),
                last_used_at: created_at,
                ended: None,
            }),
            over: CancellationToken::new(),
            gone: CancellationToken::new(),
        }
    }

    pub(super) fn info(&self) -> SessionInfo {
        SessionInfo {
            id: self.id.clone(),
            image: self.image.clone(),
            idle: self.idle,
            created_at: self.created_at,
            last_used_at: self.state.lock().last_used_at,
        }
    }

    /// Begins an operation: from here until the guard goes the session is in use and not idle. Says
    /// the reason when it turns out that the session is over.
    ///
    /// # Errors
    /// `not_found`: it has ended, maybe just now.
    pub(super) fn enter(self: &Arc<Self>) -> std::result::Result<Using, Option<Ended>> {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return Err(None);
        }
        if let Some(reason) = self.due(&state) {
            state.ended = Some(reason);
            return Err(Some(reason));
        }
        state.using += 1;
        state.last_used_at = Timestamp::now();
        drop(state);
        Ok(Using(Arc::clone(self)))
    }

    /// Ends it when its time has come. Says why, to the one who has ended it.
    pub(super) fn expire(&self) -> Option<Ended> {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return None;
        }
        state.ended = self.due(&state);
        state.ended
    }

    /// Ends it. Says whether this was the end: a session ends once.
    pub(super) fn end(&self, reason: Ended) -> bool {
        let mut state = self.state.lock();
        let first = state.ended.is_none();
        state.ended.get_or_insert(reason);
        first
    }

    /// Tells the operations that run.
    pub(super) fn interrupt(&self) {
        self.over.cancel();
    }

    /// Waits until it has ended and gives the answer for what runs then.
    pub(super) async fn interrupted(&self) -> Error {
        self.over.cancelled().await;
        match self.sandbox.end() {
            Some(end) if self.reason() == Some(Ended::Died) => end.error(),
            _ => self
                .reason()
                .map_or_else(session::unknown, Ended::interrupts),
        }
    }

    fn reason(&self) -> Option<Ended> {
        self.state.lock().ended
    }

    fn due(&self, state: &State) -> Option<Ended> {
        let now = Instant::now();
        if self.sandbox.end().is_some() {
            Some(Ended::Died)
        } else if now >= self.dies_at {
            Some(Ended::Lifetime)
        } else if state.using == 0 && now >= state.idle_since + self.idle {
            Some(Ended::Idle)
        } else {
            None
        }
    }
}

/// An operation of a session.
pub(super) struct Using(Arc<Entry>);

impl Using {
    pub(super) fn entry(&self) -> &Arc<Entry> {
        &self.0
    }
}

impl Drop for Using {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.using -= 1;
        state.idle_since = Instant::now();
        state.last_used_at = Timestamp::now();
    }
}
