//! Opening a store: the file, its rights, its tables.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection, SqlitePool};
use tokio::time::Instant;

use super::SqliteStore;
use super::failure::primary_code;
use super::presence::Presence;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// "dmcp", set by the first migration.
const APPLICATION_ID: i64 = 1_684_890_480;

const SQLITE_BUSY: u32 = 5;

/// How long a statement waits for another process that holds the file.
const BUSY: Duration = Duration::from_secs(2);
/// How long a call waits for a connection of ours.
const ACQUIRE: Duration = Duration::from_secs(5);
const READERS: u32 = 3;

/// Why a store could not be opened. Each names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or the file cannot be made or read.
    #[error("the registry's store {} cannot be used: {source}; check the path and its rights, or set MCP_DYNAMIC_STORE", path.display())]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{} is not a registry of dynamic-mcp; set MCP_DYNAMIC_STORE to another path", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a later version.
    #[error("the registry's store {} was written by a newer version of dynamic-mcp (step {step} of its tables is unknown here); run that version, or restore an older copy", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The first step that is not known.
        step: i64,
    },
    /// The file is damaged.
    #[error("the registry's store {} is damaged; restore a copy, or move it away to start empty", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// SQLite failed otherwise.
    #[error("the registry's store {} cannot be opened: {source}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// Its tables could not be brought up to date.
    #[error("the tables of the registry's store {} cannot be brought up to date: {source}", path.display())]
    Migration {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: MigrateError,
    },
}

pub(super) async fn open(path: &Path) -> Result<SqliteStore, OpenError> {
    let path = prepare_file(path)?;
    let unusable = |source| OpenError::Unusable {
        path: path.clone(),
        source,
    };
    let presence = Arc::new(Presence::of(&path).map_err(unusable)?);
    let writer = pool(&path, &presence, 1, "2048", |options| {
        options
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
    });
    let readers = pool(&path, &presence, READERS, "1024", |options| {
        options.pragma("query_only", "ON")
    });
    bring_up_to_date(&path, &readers, &writer).await?;
    Ok(SqliteStore {
        path,
        writer,
        readers,
        presence,
        hints: Arc::default(),
    })
}

/// A store whose connections all only read.
pub(super) fn look(path: &Path) -> Result<Option<SqliteStore>, OpenError> {
    let unusable = |source| OpenError::Unusable {
        path: path.to_owned(),
        source,
    };
    let path = match path.canonicalize() {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(error)),
    };
    let presence = Arc::new(Presence::of(&path).map_err(unusable)?);
    let readers = pool(&path, &presence, READERS, "1024", |options| {
        options.pragma("query_only", "ON")
    });
    Ok(Some(SqliteStore {
        path,
        writer: readers.clone(),
        readers,
        presence,
        hints: Arc::default(),
    }))
}

/// Makes directory and file with no rights for others; SQLite gives its side files the rights of
/// the main one.
fn prepare_file(path: &Path) -> Result<PathBuf, OpenError> {
    let unusable = |path: &Path, source| OpenError::Unusable {
        path: path.to_owned(),
        source,
    };
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(|source| {
                let what = format!(
                    "its directory {} cannot be made: {source}",
                    parent.display()
                );
                unusable(path, io::Error::new(source.kind(), what))
            })?;
    }
    // Only a new file is opened here: closing a file drops every lock that this process holds on
    // it, also those of a store that is open.
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match created {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(unusable(path, error)),
    }
    let file = fs::metadata(path).map_err(|source| unusable(path, source))?;
    if !file.is_file() {
        return Err(unusable(path, io::Error::other("it is not a file")));
    }
    path.canonicalize().map_err(|source| unusable(path, source))
}

/// Takes the rights of others away, from a file that is known to be ours.
fn close_to_others(path: &Path) -> Result<(), OpenError> {
    for side in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(side);
        let file = PathBuf::from(file);
        let tighten = || match fs::metadata(&file) {
            Err(error) if !side.is_empty() && error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(found) if found.permissions().mode() & 0o077 == 0 => Ok(()),
            Ok(_) => {
                tracing::warn!(path = %file.display(), "others could read the registry's store; now they cannot");
                fs::set_permissions(&file, Permissions::from_mode(0o600))
            }
        };
        tighten().map_err(|source| OpenError::Unusable {
            path: file.clone(),
            source,
        })?;
    }
    Ok(())
}

fn pool(
    path: &Path,
    presence: &Arc<Presence>,
    connections: u32,
    cache_kib: &'static str,
    set: impl FnOnce(SqliteConnectOptions) -> SqliteConnectOptions,
) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        .pragma("cache_size", format!("-{cache_kib}"))
        .pragma("journal_size_limit", "8388608")
        .pragma("trusted_schema", "OFF")
        .statement_cache_capacity(32)
        .thread_name(|id| format!("sqlite-{id}"))
        .disable_statement_logging();
    let presence = Arc::clone(presence);
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .before_acquire(move |_, connection| {
            let holds = presence.holds(&connection).map_err(sqlx::Error::Io);
            Box::pin(async move { holds })
        })
        .connect_lazy_with(set(options))
}

/// Several processes may start at once on a new file; switching to WAL cannot wait for a lock, so
/// the first steps are tried again.
async fn bring_up_to_date(
    path: &Path,
    readers: &SqlitePool,
    writer: &SqlitePool,
) -> Result<(), OpenError> {
    let deadline = Instant::now() + BUSY;
    let steps = async || {
        // By a connection that changes nothing: the writer's own would turn a foreign file to WAL.
        // In a transaction: the file must not become ours between two looks at it.
        let mut reader = readers.begin().await.map_err(|e| classify(path, e))?;
        check_owner(path, &mut reader).await?;
        reader.rollback().await.map_err(|e| classify(path, e))?;
        close_to_others(path)?;
        migrate(path, writer).await
    };
    loop {
        match steps().await {
            Err(OpenError::Failed { source, .. })
                if primary_code(&source) == Some(SQLITE_BUSY) && Instant::now() < deadline =>
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            result => return result,
        }
    }
}

/// Refuses a file of somebody else's.
async fn check_owner(path: &Path, connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let failed = |source| classify(path, source);
    let owner: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if owner != APPLICATION_ID && (owner != 0 || tables > 0) {
        return Err(OpenError::Foreign {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// Checks whose file it is and makes the tables, in one transaction.
async fn migrate(path: &Path, writer: &SqlitePool) -> Result<(), OpenError> {
    let failed = |source| classify(path, source);
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    check_owner(path, &mut transaction).await?;
    // `run` wants a connection of its own; this is what it calls with one.
    match MIGRATIONS.run_direct(None, &mut *transaction, false).await {
        Ok(()) => transaction.commit().await.map_err(failed),
        Err(MigrateError::VersionMissing(step)) => Err(OpenError::Newer {
            path: path.to_owned(),
            step,
        }),
        Err(MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)) => {
            Err(classify(path, source))
        }
        Err(source) => Err(OpenError::Migration {
            path: path.to_owned(),
            source,
        }),
    }
}

fn classify(path: &Path, source: sqlx::Error) -> OpenError {
    let path = path.to_owned();
    match primary_code(&source) {
        Some(26) => OpenError::Foreign { path },
        Some(11) => OpenError::Damaged { path, source },
        _ => OpenError::Failed { path, source },
    }
}
