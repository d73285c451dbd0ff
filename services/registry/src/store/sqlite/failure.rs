//! What a failing SQLite means to a caller.

use domain::{Error, ErrorCode};

use super::presence::Presence;

const BACKEND: &str = "registry's store";

/// SQLite's primary result codes that say something about the file or the disk and not about the
/// statement: PERM, BUSY, LOCKED, READONLY, INTERRUPT, IOERR, CORRUPT, FULL, CANTOPEN, PROTOCOL,
/// NOLFS, AUTH, NOTADB.
const OUTAGES: &[u32] = &[3, 5, 6, 8, 9, 10, 11, 13, 14, 15, 22, 23, 26];

/// BUSY and LOCKED pass by themselves; the connection is as good as before.
const CONTENTION: &[u32] = &[5, 6];

/// The primary result code of SQLite, if the error comes from there.
pub(super) fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    Some(code.parse::<u32>().ok()? & 0xff)
}

/// An error before or instead of a change: nothing was done.
pub(super) fn failed(presence: &Presence, error: sqlx::Error) -> Error {
    let outage = match &error {
        sqlx::Error::Database(_) => {
            let code = primary_code(&error);
            if code.is_some_and(|code| OUTAGES.contains(&code) && !CONTENTION.contains(&code)) {
                presence.distrust();
            }
            // A statement that does not fit the tables: the file at the path is another one.
            code.is_some_and(|code| OUTAGES.contains(&code)) || presence.was_replaced()
        }
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        _ => false,
    };
    if outage {
        Error::unavailable(BACKEND).with_cause(error)
    } else {
        Error::internal(error)
    }
}

/// An error of the commit itself: whether the change was made is known only to the disk.
pub(super) fn commit_failed(presence: &Presence, error: sqlx::Error) -> Error {
    presence.distrust();
    Error::new(
        ErrorCode::Unavailable,
        format!("the {BACKEND} failed while it saved; the change may have been made"),
    )
    .with_may_have_run(true)
    .with_fix("read the tool before you try again")
    .with_cause(error)
}
