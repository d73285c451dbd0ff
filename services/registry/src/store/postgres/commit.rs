//! Finding out what became of a commit that was not answered.

use std::time::Duration;

use domain::Error;
use tokio::time::{Instant, sleep};

use super::arguments::arguments;
use super::failure::{Failure, commit_unknown, leaves_connection};
use super::link::Link;
use super::read::{column, one};
use super::sql;

/// How long the database is asked; whoever wrote is told earlier when its time is over.
const FOR: Duration = Duration::from_secs(10);
/// Pause between two tries.
const EVERY: Duration = Duration::from_millis(25);

/// `Ok` when the transaction was committed, [`Failure::Lost`] when it was not and never will be, and
/// an error that says so when nobody could tell.
pub(super) async fn find_out(
    link: &Link,
    transaction: &str,
    error: sqlx::Error,
) -> Result<(), Failure> {
    if leaves_connection(&error) {
        // The server answered: it did not commit.
        return Err(error.into());
    }
    link.distrust();
    let end = Instant::now() + FOR;
    loop {
        match outcome(link, transaction).await {
            Ok(Some(outcome)) if outcome == "committed" => return Ok(()),
            Ok(Some(outcome)) if outcome == "aborted" => return Err(Failure::Lost(error)),
            // It goes on, or the database is away.
            Ok(_) => {}
            Err(reason) => tracing::debug!(%reason, "the end of a commit is not known yet"),
        }
        if Instant::now() >= end {
            tracing::error!(transaction, %error, "a commit was not answered and its end is unknown");
            return Err(Failure::Failed(commit_unknown(error)));
        }
        sleep(EVERY).await;
    }
}

async fn outcome(link: &Link, transaction: &str) -> Result<Option<String>, Error> {
    let row = one(link.read(sql::OUTCOME, arguments![transaction]).await?)?;
    column(&row, "outcome")
}
