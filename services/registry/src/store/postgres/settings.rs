//! What configuration decides about the database.

use std::time::Duration;

use secrecy::SecretString;

/// How durable a write is before it is answered: Postgres's `synchronous_commit`. `off`, which can
/// lose answered writes, is not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SynchronousCommit {
    /// On disk here, and on a synchronous standby where there is one.
    #[default]
    On,
    /// Also visible on the standby.
    RemoteApply,
    /// Received by the standby's operating system.
    RemoteWrite,
    /// On disk here.
    Local,
}

impl SynchronousCommit {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            SynchronousCommit::On => "on",
            SynchronousCommit::RemoteApply => "remote_apply",
            SynchronousCommit::RemoteWrite => "remote_write",
            SynchronousCommit::Local => "local",
        }
    }
}

/// Settings of a [`PostgresStore`](super::PostgresStore); the defaults are those of contract
/// section 5.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// `postgres://user:password@host:port/database` (`MCP_DYNAMIC_PG_URL`). A secret.
    pub url: SecretString,
    /// The schema of our tables (`MCP_DYNAMIC_PG_SCHEMA`), `^[a-z_][a-z0-9_]{0,62}$` and not
    /// `pg_*`; it is made when it is not there.
    pub schema: String,
    /// How often opening tries to reach the database, at least once.
    pub init_max_attempts: u32,
    /// Pause after the first try; each further one is twice as long, up to ten seconds or this
    /// one where it is longer.
    pub init_backoff: Duration,
    /// Connections of this process at most, at least 2: one of them listens.
    pub max_connections: u32,
    /// How long a call waits for a connection.
    pub acquire_timeout: Duration,
    /// How long a connection is kept that nobody uses.
    pub idle_timeout: Duration,
    /// How long the database may work on one statement.
    pub statement_timeout: Duration,
    /// How durable a write is before it is answered.
    pub synchronous_commit: SynchronousCommit,
}

impl PostgresSettings {
    /// The defaults for a database.
    #[must_use]
    pub fn of(url: impl Into<String>) -> Self {
        Self {
            url: SecretString::from(url.into()),
            schema: "dynamic_mcp".to_owned(),
            init_max_attempts: 10,
            init_backoff: Duration::from_secs(1),
            max_connections: 20,
            acquire_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(30),
            statement_timeout: Duration::from_secs(5),
            synchronous_commit: SynchronousCommit::On,
        }
    }

    /// Whether the schema's name is one that may stand in SQL between quotes.
    pub(super) fn has_valid_schema(&self) -> bool {
        let mut bytes = self.schema.bytes();
        let first = bytes
            .next()
            .is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let rest =
            bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        first && rest && self.schema.len() <= 63 && !self.schema.starts_with("pg_")
    }

    /// What every connection is told first. Values that the database or the role may have set
    /// otherwise are set here, so that the store's rules do not depend on them.
    pub(super) fn session(&self) -> String {
        let statement = self.statement_timeout.as_millis().max(1);
        // A registry that stops between two statements of a write must not hold up all others.
        let short = statement.min(2_000);
        format!(
            "SET search_path TO \"{}\";
             SET statement_timeout TO {statement};
             SET lock_timeout TO {short};
             SET idle_in_transaction_session_timeout TO {short};
             SET synchronous_commit TO {};
             SET tcp_keepalives_idle TO 30;
             SET tcp_keepalives_interval TO 10;
             SET tcp_keepalives_count TO 3;
             SET jit TO off",
            self.schema,
            self.synchronous_commit.as_str(),
        )
    }
}
