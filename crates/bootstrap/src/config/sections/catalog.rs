//! Where tools are kept.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::choice::choice;
use crate::config::declared::DeclaredList;
use crate::config::key::{Key, Kind};
use crate::config::section::section;
use crate::secret::Secret;
use crate::units::DurationUnit;

choice! {
    /// What keeps the tools.
    pub enum Backend {
        /// One SQLite file.
        Sqlite = "sqlite",
        /// The Node server's word: its JSON store is imported once, then SQLite keeps the tools.
        File = "file",
        /// A Postgres database, which several registries may share.
        Postgres = "postgres",
    }
}

choice! {
    /// How durable a write is before it is answered: Postgres's `synchronous_commit`. `off`, which
    /// can lose answered writes, is not among them.
    pub enum SynchronousCommit {
        /// On disk here, and on a synchronous standby where there is one.
        On = "on",
        /// Also visible on the standby.
        RemoteApply = "remote_apply",
        /// Received by the standby's operating system.
        RemoteWrite = "remote_write",
        /// On disk here.
        Local = "local",
    }
}

section! {
    /// The tools and their revisions.
    pub struct CatalogConfig for CATALOG {
        /// What keeps the tools. `file` imports the Node server's JSON store once and then means
        /// `sqlite`; `postgres` needs MCP_DYNAMIC_PG_URL.
        pub backend: Backend = Key::kept("MCP_DYNAMIC_BACKEND", "dynamic.backend")
            .kind(Kind::Choice(Backend::CHOICES)).default("sqlite");
        /// The database file; its directory is made. A `.json` path is a store of the Node server to
        /// import: the database then lies beside it, and the store stays as it is.
        pub store: PathBuf = Key::kept("MCP_DYNAMIC_STORE", "dynamic.storeFilePath")
            .kind(Kind::Path).default(".dynamic-mcp/registry.db");
        /// Tools per tenant.
        pub max_tools: u32 = Key::kept("MCP_DYNAMIC_MAX_TOOLS", "dynamic.maxTools")
            .kind(Kind::Integer(1, 100_000)).default("256");
        /// Revisions kept per tool; the oldest go first.
        pub max_revisions: u32 = Key::added("MCP_DYNAMIC_MAX_REVISIONS", "dynamic.maxRevisions")
            .kind(Kind::Integer(1, 100_000)).default("100");
        /// Refuses every change of tools.
        pub read_only: bool = Key::kept("MCP_DYNAMIC_READ_ONLY", "dynamic.readOnly")
            .kind(Kind::Bool).default("false");
    }
}

section! {
    /// Tools that stand in the configuration.
    pub struct DeclaredConfig for CATALOG {
        /// Tools that are made, changed and deleted by this list alone, at the start and on SIGHUP, as
        /// revisions by the actor `config`. A `handler` is the file of the code, relative to the
        /// configuration file. See docs/declared-tools.md.
        pub tools: DeclaredList = Key::added("MCP_DECLARED_TOOLS", "tools")
            .kind(Kind::Tools).default_note("nothing is declared, and what was declared stays");
    }
}

section! {
    /// The Postgres database of `MCP_DYNAMIC_BACKEND=postgres`.
    pub struct PostgresConfig for CATALOG {
        /// `postgres://user:password@host:port/database`, with `?sslmode=verify-full` and the like.
        pub url: Option<Secret> = Key::kept("MCP_DYNAMIC_PG_URL", "dynamic.pgUrl").secret();
        /// The schema that holds our tables; it is made when it is not there.
        pub schema: String = Key::kept("MCP_DYNAMIC_PG_SCHEMA", "dynamic.pgSchema")
            .default("dynamic_mcp");
        /// How often a start tries to reach the database.
        pub init_max_attempts: u32 =
            Key::kept("MCP_DYNAMIC_PG_INIT_MAX_ATTEMPTS", "dynamic.pgInitMaxAttempts")
            .kind(Kind::Integer(1, 100)).default("10");
        /// Pause after the first try; each further one is twice as long, up to ten seconds.
        pub init_backoff: Duration =
            Key::kept("MCP_DYNAMIC_PG_INIT_BACKOFF_MS", "dynamic.pgInitBackoffMs")
            .kind(Kind::Duration(DurationUnit::Milliseconds, 1, 60_000)).default("1000");
        /// Connections of one registry at most.
        pub max_connections: u32 =
            Key::added("MCP_DYNAMIC_PG_MAX_CONNECTIONS", "dynamic.pgMaxConnections")
            .kind(Kind::Integer(2, 1_000)).default("20");
        /// How long the database may work on one statement.
        pub statement_timeout: Duration =
            Key::added("MCP_DYNAMIC_PG_STATEMENT_TIMEOUT_MS", "dynamic.pgStatementTimeoutMs")
            .kind(Kind::Duration(DurationUnit::Milliseconds, 100, 60_000)).default("5000");
        /// How durable a write is before it is answered.
        pub synchronous_commit: SynchronousCommit =
            Key::added("MCP_DYNAMIC_PG_SYNCHRONOUS_COMMIT", "dynamic.pgSynchronousCommit")
            .kind(Kind::Choice(SynchronousCommit::CHOICES)).default("on");
    }
}
