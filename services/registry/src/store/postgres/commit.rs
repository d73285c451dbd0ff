//! Finding out what became of a commit that was not answered.

use std::time::Duration;

use domain::{Error, Result};
use sqlx::postgres::PgRow;
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

/// What a write is recognised by.
#[derive(Debug)]
pub(super) struct Receipt {
    /// Id of the transaction: tells whether it goes on.
    transaction: String,
    /// What it left in the table of writes: tells whether it was made.
    mark: String,
    version: i64,
}

impl Receipt {
    /// Reads the columns that every statement of a write returns.
    pub(super) fn of(row: &PgRow) -> Result<Self> {
        Ok(Self {
            transaction: column(row, "transaction")?,
            mark: column(row, "mark")?,
            version: column(row, "version")?,
        })
    }
}

/// `Ok` when the change was made, [`Failure::Lost`] when it was not and never will be, and an error
/// that says so when nobody could tell.
pub(super) async fn find_out(
    link: &Link,
    receipt: &Receipt,
    error: sqlx::Error,
) -> Result<(), Failure> {
    if leaves_connection(&error) {
        // The server answered: it did not commit.
        return Err(error.into());
    }
    link.distrust();
    let end = Instant::now() + FOR;
    loop {
        match was_made(link, receipt).await {
            Ok(Some(true)) => return Ok(()),
            Ok(Some(false)) => return Err(Failure::Lost(error)),
            Ok(None) => {}
            Err(reason) => tracing::debug!(%reason, "the end of a commit is not known yet"),
        }
        if Instant::now() >= end {
            tracing::error!(?receipt, %error, "a commit was not answered and its end is unknown");
            return Err(Failure::Failed(commit_unknown(error)));
        }
        sleep(EVERY).await;
    }
}

/// `None` while the transaction goes on.
async fn was_made(link: &Link, receipt: &Receipt) -> Result<Option<bool>> {
    // First whether it goes on, then, in a statement that sees what ended meanwhile, its mark.
    let running = arguments![receipt.transaction.as_str()];
    let running = match link.read(sql::IS_RUNNING, running).await {
        Ok(rows) => column(&one(rows)?, "running")?,
        // A server that never heard of it: the crash took its id along.
        Err(error) if is_of_the_future(&error) => false,
        Err(error) => return Err(error),
    };
    if running {
        return Ok(None);
    }
    let mark = arguments![receipt.mark.as_str(), receipt.version];
    let row = one(link.read(sql::WAS_MADE, mark).await?)?;
    column(&row, "made").map(Some)
}

/// Postgres refuses an id that it has not given away yet with "invalid parameter value".
fn is_of_the_future(error: &Error) -> bool {
    let cause = error
        .cause()
        .and_then(|cause| cause.downcast_ref::<sqlx::Error>());
    cause
        .and_then(sqlx::Error::as_database_error)
        .is_some_and(|error| error.code().as_deref() == Some("22023"))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use sqlx::{ConnectOptions, Connection, Executor, PgConnection};
    use testkit::postgres::{Cluster, Durability};

    use super::super::link::Link;
    use super::super::{PostgresSettings, open};
    use super::*;

    fn cut() -> sqlx::Error {
        sqlx::Error::Io(io::ErrorKind::ConnectionReset.into())
    }

    /// Begins a write of version 7 and leaves its mark.
    async fn begun(connection: &mut PgConnection) -> Receipt {
        connection.execute("BEGIN").await.unwrap();
        let row = connection
            .fetch_one(
                "INSERT INTO dynamic_mcp.mcp_writes VALUES (7, gen_random_uuid())
                 ON CONFLICT (slot) DO UPDATE SET mark = excluded.mark
                 RETURNING mark::text AS mark, pg_current_xact_id()::text AS transaction,
                     65543::bigint AS version",
            )
            .await
            .unwrap();
        Receipt::of(&row).unwrap()
    }

    async fn world() -> (Cluster, Link, PgConnection) {
        let cluster = Cluster::start(Durability::Relaxed).await;
        let settings = PostgresSettings::of(cluster.url("postgres"));
        let options = open::options(&settings).unwrap();
        open::prepare(&options, &settings).await.unwrap();
        let link = Link::new(options.clone(), &settings);
        let connection = options.connect().await.unwrap();
        (cluster, link, connection)
    }

    #[tokio::test]
    async fn the_end_of_a_commit_is_found_out() {
        let (_cluster, link, mut other) = world().await;
        let made = begun(&mut other).await;
        other.execute("COMMIT").await.unwrap();
        assert!(find_out(&link, &made, cut()).await.is_ok());

        let undone = begun(&mut other).await;
        other.execute("ROLLBACK").await.unwrap();
        let found = find_out(&link, &undone, cut()).await;
        assert!(matches!(found, Err(Failure::Lost(_))), "{found:?}");

        // Still going on: it is waited for.
        let slow = begun(&mut other).await;
        let (found, ()) = tokio::join!(find_out(&link, &slow, cut()), async {
            sleep(Duration::from_millis(200)).await;
            other.execute("COMMIT").await.unwrap();
        });
        assert!(found.is_ok(), "{found:?}");

        // Its connection ends with it.
        let lost = begun(&mut other).await;
        other.close().await.unwrap();
        let found = find_out(&link, &lost, cut()).await;
        assert!(matches!(found, Err(Failure::Lost(_))), "{found:?}");
    }

    /// After a crash the server may give the id of a lost transaction to another, or has not come
    /// to it yet.
    #[tokio::test]
    async fn another_transaction_of_the_same_id_is_not_ours() {
        let (_cluster, link, mut other) = world().await;
        let theirs = begun(&mut other).await;
        other.execute("COMMIT").await.unwrap();
        let far = u64::from(u32::MAX).to_string();
        for transaction in [theirs.transaction.clone(), far] {
            let ours = Receipt {
                transaction,
                mark: "6ba7b810-9dad-11d1-80b4-00c04fd430c8".to_owned(),
                version: theirs.version,
            };
            let found = find_out(&link, &ours, cut()).await;
            assert!(matches!(found, Err(Failure::Lost(_))), "{found:?}");
        }
    }

    #[tokio::test]
    async fn an_end_that_nobody_can_tell_is_said_to_be_unknown() {
        let (mut cluster, link, mut other) = world().await;
        let receipt = begun(&mut other).await;
        cluster.stop(testkit::postgres::Stop::Fast).await;
        let Err(Failure::Failed(error)) = find_out(&link, &receipt, cut()).await else {
            panic!("it is known");
        };
        assert!(error.may_have_run() && error.message().contains("may have been made"));
    }
}
