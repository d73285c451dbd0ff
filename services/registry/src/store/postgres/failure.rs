//! What a failing Postgres means to a caller.

use std::io;

use domain::{Error, ErrorCode};
use sqlx::error::DatabaseError;

const BACKEND: &str = "registry's store";

/// An error of a statement or of a connection. Before a commit was sent, nothing was done.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection is gone, and with it what it had begun: the same may succeed on another.
    Lost(sqlx::Error),
    /// Anything else, as the caller sees it.
    Failed(Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        if is_lost(&error) {
            Failure::Lost(error)
        } else {
            Failure::Failed(failed(error))
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Failed(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Lost(error) => failed(error),
            Failure::Failed(error) => error,
        }
    }
}

/// The error of a statement that the server never answered.
pub(super) fn no_answer() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(
        io::ErrorKind::TimedOut,
        "the database did not answer in time",
    ))
}

/// Whether the connection is gone: cut, or ended by the server. What only took too long is not
/// tried again.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() != io::ErrorKind::TimedOut,
        sqlx::Error::Database(error) => is_goodbye(&**error),
        _ => false,
    }
}

/// Whether the server has closed the connection with this answer: connection exceptions, and an
/// administrator, a crash or an idle limit that ended it.
fn is_goodbye(error: &dyn DatabaseError) -> bool {
    error.code().is_some_and(|code| {
        code.starts_with("08")
            || matches!(
                &*code,
                "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03"
            )
    })
}

/// Whether a connection can go on after this error, once its transaction is rolled back.
pub(super) fn leaves_connection(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if !is_goodbye(&**error))
}

/// Whether the state of the server and not the statement is at fault: waiting or an administrator
/// makes it go away.
fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            let Some(code) = error.code() else {
                return false;
            };
            is_goodbye(&**error)
                // Invalid authorization, transaction rollbacks, insufficient resources, not in
                // the prerequisite state (a lock timeout), cancelled, a failing system.
                || ["28", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class))
                || matches!(
                    &*code,
                    // The server only reads: a standby, or set so.
                    "25006"
                    // The tables, the schema, the database or the right to use them went away.
                    | "42P01" | "42703" | "42883" | "3D000" | "3F000" | "42501"
                )
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        _ => false,
    }
}

/// An error before or instead of a change: nothing was done.
pub(super) fn failed(error: sqlx::Error) -> Error {
    if is_outage(&error) {
        Error::unavailable(BACKEND).with_cause(error)
    } else {
        Error::internal(error)
    }
}

/// A commit that nobody could tell the end of.
pub(super) fn commit_unknown(error: sqlx::Error) -> Error {
    Error::new(
        ErrorCode::Unavailable,
        format!("the {BACKEND} went away while it saved; the change may have been made"),
    )
    .with_may_have_run(true)
    .with_fix("read the tool before you try again")
    .with_cause(error)
}
