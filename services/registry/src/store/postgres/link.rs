//! Connections, and whether they can still be trusted.
//!
//! A pool hands out connections that died unseen. So after one was lost, every connection that is
//! as old is closed before its next use, and what had not reached a commit is done again on a new
//! one. A connection that is left in the middle of something is closed, never handed on.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::pool::{PoolConnection, PoolConnectionMetadata};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Postgres};
use tokio::time::{Instant, timeout};

use domain::Result;

use super::failure::{Failure, failed, no_answer};
use super::settings::PostgresSettings;

/// A connection that was idle for longer is asked whether it lives before it is used.
const ASKED_AFTER: Duration = Duration::from_secs(1);
/// How long it may take to say so.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// How long the network may take besides the time that a statement has.
const GRACE: Duration = Duration::from_secs(1);
/// How often an operation is begun again on a new connection.
const MAX_LOST: u32 = 2;

/// Connections to the database.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) pool: PgPool,
    trusted_since: Arc<Mutex<Instant>>,
    /// How long a statement may take until nobody waits for its answer any more.
    patience: Duration,
}

impl Link {
    pub(super) fn new(options: PgConnectOptions, settings: &PostgresSettings) -> Self {
        let trusted_since = Arc::new(Mutex::new(Instant::now()));
        let trust = Arc::clone(&trusted_since);
        // The one that listens is not of the pool.
        let pool = pool_options(settings)
            .max_connections(settings.max_connections.saturating_sub(1).max(1))
            .acquire_timeout(settings.acquire_timeout)
            .idle_timeout(settings.idle_timeout)
            .test_before_acquire(false)
            .before_acquire(move |connection, known| {
                let trusted = is_trusted(&trust, &known);
                Box::pin(async move {
                    if !trusted || known.idle_for < ASKED_AFTER {
                        return Ok(trusted);
                    }
                    let answer = timeout(ANSWERS_WITHIN, connection.ping()).await;
                    Ok(matches!(answer, Ok(Ok(()))))
                })
            })
            .connect_lazy_with(options);
        Self {
            pool,
            trusted_since,
            patience: settings.statement_timeout + GRACE,
        }
    }

    /// Closes every connection that exists now before its next use.
    pub(super) fn distrust(&self) {
        *lock(&self.trusted_since) = Instant::now();
    }

    pub(super) async fn session(&self) -> Result<Session, Failure> {
        let connection = self.pool.acquire().await?;
        Ok(Session {
            connection: Some(connection),
            sound: true,
            patience: self.patience,
        })
    }

    /// Does `work`, and again on another connection when one is lost before anything was done.
    pub(super) async fn attempt<T, F>(&self, work: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut lost = 0;
        loop {
            match work().await {
                Ok(value) => return Ok(value),
                Err(Failure::Lost(error)) => {
                    self.distrust();
                    lost += 1;
                    if lost > MAX_LOST {
                        return Err(failed(error));
                    }
                    tracing::debug!(%error, "a connection to the database was lost; trying another");
                }
                Err(Failure::Failed(error)) => return Err(error),
            }
        }
    }

    /// The rows of a statement that changes nothing.
    pub(super) async fn read(
        &self,
        statement: &'static str,
        arguments: PgArguments,
    ) -> Result<Vec<PgRow>> {
        let arguments = &arguments;
        self.attempt(|| async move {
            let mut session = self.session().await?;
            session.rows(statement, arguments.clone()).await
        })
        .await
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The pool would show its connection options.
        out.debug_struct("Link").finish_non_exhaustive()
    }
}

fn lock(trusted_since: &Mutex<Instant>) -> std::sync::MutexGuard<'_, Instant> {
    // One plain value, whole at every moment.
    trusted_since.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_trusted(trusted_since: &Mutex<Instant>, known: &PoolConnectionMetadata) -> bool {
    lock(trusted_since).elapsed() >= known.age
}

/// Options of a pool whose connections are prepared for this store.
pub(super) fn pool_options(settings: &PostgresSettings) -> PgPoolOptions {
    let session = settings.session();
    PgPoolOptions::new().after_connect(move |connection, _| {
        let session = session.clone();
        Box::pin(async move {
            connection
                .execute(sqlx::raw_sql(AssertSqlSafe(session)))
                .await
                .map(|_| ())
        })
    })
}

/// A connection in use. Dropped while a statement runs or a transaction is open, it is closed, and
/// the server rolls back.
pub(super) struct Session {
    connection: Option<PoolConnection<Postgres>>,
    /// Whether another may use it.
    sound: bool,
    patience: Duration,
}

impl Session {
    /// The rows of a statement. After an error the connection is not used again.
    pub(super) async fn rows(
        &mut self,
        statement: &'static str,
        arguments: PgArguments,
    ) -> Result<Vec<PgRow>, Failure> {
        Ok(self.query(statement, arguments).await?)
    }

    pub(super) async fn query(
        &mut self,
        statement: &'static str,
        arguments: PgArguments,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        let was_sound = std::mem::replace(&mut self.sound, false);
        let (connection, patience) = self.parts()?;
        let query = sqlx::query_with(statement, arguments).fetch_all(connection);
        let rows = timeout(patience, query).await.map_err(|_| no_answer())??;
        self.sound = was_sound;
        Ok(rows)
    }

    /// Runs statements without arguments; `sound`: whether another may use the connection then.
    pub(super) async fn run(
        &mut self,
        statements: &'static str,
        sound: bool,
    ) -> Result<(), sqlx::Error> {
        self.sound = false;
        let (connection, patience) = self.parts()?;
        let run = connection.execute(sqlx::raw_sql(statements));
        timeout(patience, run).await.map_err(|_| no_answer())??;
        self.sound = sound;
        Ok(())
    }

    fn parts(&mut self) -> Result<(&mut PgConnection, Duration), sqlx::Error> {
        let connection = self
            .connection
            .as_deref_mut()
            .ok_or(sqlx::Error::PoolClosed)?;
        Ok((connection, self.patience))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && !self.sound
        {
            // Returned to the pool it would be waited for; dropped it is closed at once.
            drop(connection.detach());
        }
    }
}
