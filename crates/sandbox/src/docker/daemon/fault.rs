//! What can go wrong between us and the daemon.

use std::time::Duration;

use bollard::errors::Error as Cause;
use domain::error::{Error, ErrorCode};

/// Longest text of the daemon that is kept, in characters.
const TEXT: usize = 500;

/// Why the daemon did not do what it was asked. `Display` is for the log.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Fault {
    /// It did not answer before; it was not asked. Holds why it is taken for away.
    #[error("the Docker daemon is away: {0}")]
    Down(String),
    /// It did not answer in time. It may have done it.
    #[error("the Docker daemon did not answer within {0:?}")]
    Late(Duration),
    /// There is no connection to it.
    #[error("no connection to the Docker daemon: {0}")]
    Connect(String),
    /// The connection ended before the answer. It may have done it.
    #[error("the connection to the Docker daemon was lost: {0}")]
    Lost(String),
    /// It answered with an error.
    #[error("the Docker daemon answered {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its sentence, cut.
        message: String,
    },
    /// Its answer makes no sense, or says that it would ignore what we need.
    #[error("the Docker daemon's answer cannot be used: {0}")]
    Answer(String),
}

impl Fault {
    /// Its label in `docker_request_duration`.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Down(_) => "down",
            Self::Late(_) => "timeout",
            Self::Connect(_) => "unreachable",
            Self::Lost(_) => "lost",
            Self::Refused { status: 404, .. } => "not_found",
            Self::Refused { status: 409, .. } => "conflict",
            Self::Refused { status, .. } if *status < 500 => "refused",
            Self::Refused { .. } => "failed",
            Self::Answer(_) => "unusable",
        }
    }

    /// Whether the daemon said that there is no such thing.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether it may be the daemon that is away, and not only this request that failed.
    pub(super) fn is_suspect(&self) -> bool {
        matches!(self, Self::Late(_) | Self::Connect(_) | Self::Lost(_))
    }

    /// The error for callers: what they may know in the sentence, the rest as the cause.
    pub(super) fn of(self, operation: &'static str) -> Error {
        let error = match &self {
            Self::Down(_) | Self::Late(_) | Self::Connect(_) | Self::Lost(_) => {
                Error::unavailable("Docker daemon")
            }
            Self::Refused { .. } | Self::Answer(_) => Error::new(
                ErrorCode::Unavailable,
                "the Docker daemon refused to run the sandbox",
            )
            .with_fix("the executor's log says why"),
        };
        error.with_cause(format!("{operation}: {self}"))
    }
}

impl From<Cause> for Fault {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::DockerResponseServerError {
                status_code,
                message,
            } => Self::Refused {
                status: status_code,
                message: cut(&message),
            },
            // An error in the middle of a stream has no status.
            Cause::DockerStreamError { error } => Self::Refused {
                status: 500,
                message: cut(&error),
            },
            Cause::RequestTimeoutError => Self::Late(super::LONGEST),
            Cause::JsonDataError { .. }
            | Cause::JsonSerdeError { .. }
            | Cause::APIVersionParseError {} => Self::Answer(cut(&chain(&cause))),
            other => Self::Lost(cut(&chain(&other))),
        }
    }
}

/// An error and what it came from, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = inner.source();
    }
    text
}

/// Control characters and everything beyond [`TEXT`] dropped: it goes into logs and messages.
pub(super) fn cut(text: &str) -> String {
    let line = text.chars().filter(|c| !c.is_control());
    line.take(TEXT).collect()
}
