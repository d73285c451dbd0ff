//! Opening a store: reaching the database, its schema, its tables.

use std::str::FromStr;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};
use tokio::time::{sleep, timeout};

use super::failure::{is_lost, no_answer};
use super::settings::PostgresSettings;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// The table that notes which migrations were made; sqlx's own name may be another program's.
const NOTES: &str = "mcp_migrations";
/// The oldest server: it can be asked about the end of a transaction by an id that never repeats.
const OLDEST_SERVER: u32 = 130_000;
/// How long one try may take to connect.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long one try may take in all: another registry may be making the tables meanwhile.
const MIGRATE_WITHIN: Duration = Duration::from_secs(60);
/// Longest pause between tries, unless the configured one is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Why the database could not be used. Each says what to do; none shows the URL's password.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The URL or the schema's name cannot be used.
    #[error("{key}: {reason}")]
    Setting {
        /// The setting.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The server did not answer, or not yet, as often as it was tried.
    #[error(
        "the registry's database at {place} cannot be reached ({attempts} attempts in {waited:?}): {source}; check that it runs and MCP_DYNAMIC_PG_URL, or raise MCP_DYNAMIC_PG_INIT_MAX_ATTEMPTS"
    )]
    Unreachable {
        /// Host, port and database.
        place: String,
        /// How often it was tried.
        attempts: u32,
        /// How long that took, in whole milliseconds.
        waited: Duration,
        /// What happened the last time.
        source: sqlx::Error,
    },
    /// The server answered and refused.
    #[error(
        "the registry's database at {place} refuses: {source}; check user, password, database and rights in MCP_DYNAMIC_PG_URL"
    )]
    Refused {
        /// Host, port and database.
        place: String,
        /// What it said.
        source: sqlx::Error,
    },
    /// A server or a database that cannot hold the tables.
    #[error("the registry's database at {place} cannot be used: {reason}")]
    Unsuitable {
        /// Host, port and database.
        place: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The tables were made by a later version.
    #[error(
        "the registry's tables in schema {schema} at {place} were made by a newer version of dynamic-mcp (step {step} of them is unknown here); run that version, or set MCP_DYNAMIC_PG_SCHEMA to another schema"
    )]
    Newer {
        /// Host, port and database.
        place: String,
        /// The schema.
        schema: String,
        /// The first step that is not known.
        step: i64,
    },
    /// The tables could not be brought up to date.
    #[error(
        "the registry's tables in schema {schema} at {place} cannot be brought up to date: {source}; give the user rights on the schema, or set MCP_DYNAMIC_PG_SCHEMA to another one"
    )]
    Migration {
        /// Host, port and database.
        place: String,
        /// The schema.
        schema: String,
        /// What went wrong.
        source: Box<MigrateError>,
    },
}

/// Checks the settings and reads the URL.
pub(super) fn options(settings: &PostgresSettings) -> Result<PgConnectOptions, PostgresError> {
    if !settings.has_valid_schema() {
        let reason = format!(
            "{:?} is no name of a schema (allowed: ^[a-z_][a-z0-9_]{{0,62}}$, and not pg_*)",
            settings.schema
        );
        return Err(PostgresError::Setting {
            key: "MCP_DYNAMIC_PG_SCHEMA",
            reason,
        });
    }
    let options = PgConnectOptions::from_str(settings.url.expose_secret()).map_err(|_| {
        // The error of the parser may quote the URL, password and all.
        PostgresError::Setting {
            key: "MCP_DYNAMIC_PG_URL",
            reason: "is not of the form postgres://user:password@host:port/database".to_owned(),
        }
    })?;
    let name = options.get_application_name().unwrap_or("dynamic-mcp");
    let name = name.to_owned();
    Ok(options.application_name(&name).disable_statement_logging())
}

/// Where the database is, without its password.
pub(super) fn place(options: &PgConnectOptions) -> String {
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => options.get_host().to_owned(),
    };
    let database = options.get_database().unwrap_or(options.get_username());
    format!("{host}:{}/{database}", options.get_port())
}

/// Makes schema and tables, or brings them up to date; waits for a database that is not there yet.
pub(super) async fn prepare(
    options: &PgConnectOptions,
    settings: &PostgresSettings,
) -> Result<(), PostgresError> {
    let place = place(options);
    let attempts = settings.init_max_attempts.max(1);
    let longest = LONGEST_PAUSE.max(settings.init_backoff);
    let mut pause = settings.init_backoff;
    let mut attempt = 1;
    let began = tokio::time::Instant::now();
    loop {
        let work = bring_up_to_date(options, settings, &place);
        let source = match timeout(MIGRATE_WITHIN, work).await {
            Ok(Err(Step::Away(source))) => source,
            Ok(Err(Step::Final(error))) => return Err(error),
            Ok(Ok(())) => return Ok(()),
            Err(_) => no_answer(),
        };
        if attempt >= attempts {
            let waited = Duration::from_millis(
                u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            );
            return Err(PostgresError::Unreachable {
                place,
                attempts,
                waited,
                source,
            });
        }
        tracing::warn!(place, attempt, attempts, ?pause, error = %source,
            "the registry's database cannot be reached; trying again");
        sleep(pause).await;
        pause = (pause * 2).min(longest);
        attempt += 1;
    }
}

/// How one try failed.
enum Step {
    /// The server is away; it may come.
    Away(sqlx::Error),
    /// Trying again would not help.
    Final(PostgresError),
}

async fn bring_up_to_date(
    options: &PgConnectOptions,
    settings: &PostgresSettings,
    place: &str,
) -> Result<(), Step> {
    let failed = |source: sqlx::Error| {
        if may_pass(&source) {
            return Step::Away(source);
        }
        let place = place.to_owned();
        Step::Final(PostgresError::Refused { place, source })
    };
    let connect = timeout(CONNECT_WITHIN, options.connect()).await;
    let mut connection = connect.map_err(|_| failed(no_answer()))?.map_err(failed)?;
    check(&mut connection, place).await.map_err(|e| match e {
        Ok(error) => Step::Final(error),
        Err(error) => failed(error),
    })?;
    let mut transaction = connection.begin().await.map_err(failed)?;
    transaction
        .execute(sqlx::raw_sql(AssertSqlSafe(settings.session())))
        .await
        .map_err(failed)?;
    // Whoever comes second waits here, and then finds everything made.
    transaction
        .execute(
            "SET LOCAL statement_timeout TO 60000; SET LOCAL lock_timeout TO 60000;
             SET LOCAL idle_in_transaction_session_timeout TO 60000;
             SELECT pg_advisory_xact_lock(hashtextextended('dynamic_mcp migrations', 0))",
        )
        .await
        .map_err(failed)?;
    make_schema(&mut transaction, &settings.schema)
        .await
        .map_err(failed)?;
    let migrator = Migrator {
        migrations: MIGRATIONS.migrations.clone(),
        locking: false,
        table_name: NOTES.into(),
        ..Migrator::DEFAULT
    };
    let made = migrator.run_direct(None, &mut *transaction, false).await;
    made.map_err(|source| migration_failed(source, settings, place))?;
    transaction.commit().await.map_err(failed)?;
    // The work is done; a goodbye that fails changes nothing.
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "a connection was not closed in order");
    }
    Ok(())
}

fn migration_failed(source: MigrateError, settings: &PostgresSettings, place: &str) -> Step {
    let place = place.to_owned();
    let schema = settings.schema.clone();
    match source {
        MigrateError::VersionMissing(step) => Step::Final(PostgresError::Newer {
            place,
            schema,
            step,
        }),
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)
            if may_pass(&source) =>
        {
            Step::Away(source)
        }
        source => Step::Final(PostgresError::Migration {
            place,
            schema,
            source: Box::new(source),
        }),
    }
}

/// Whether a server that is starting, restarting, full or not there yet can be the reason.
fn may_pass(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    if let sqlx::Error::Io(error) = error {
        // A certificate that is not accepted will not be the next time.
        return error.kind() != std::io::ErrorKind::InvalidData;
    }
    is_lost(error)
        || code.is_some_and(|code| {
            // Too many connections, a lock that another start holds for long, a server that
            // is still a standby.
            matches!(&*code, "53300" | "55P03" | "57014" | "25006")
        })
}

/// The inner error of `Err` is the server's, else it cannot be used.
async fn check(
    connection: &mut PgConnection,
    place: &str,
) -> Result<(), Result<PostgresError, sqlx::Error>> {
    let (version, encoding): (String, String) = sqlx::query_as(
        "SELECT current_setting('server_version_num'), current_setting('server_encoding')",
    )
    .fetch_one(connection)
    .await
    .map_err(Err)?;
    let unsuitable = |reason: String| {
        Err(Ok(PostgresError::Unsuitable {
            place: place.to_owned(),
            reason,
        }))
    };
    let version: u32 = version.parse().unwrap_or_default();
    if version < OLDEST_SERVER {
        return unsuitable(format!(
            "its version is {}, and 13 is the oldest that works",
            version / 10_000
        ));
    }
    if encoding != "UTF8" {
        return unsuitable(format!(
            "its encoding is {encoding}; make the database with ENCODING 'UTF8'"
        ));
    }
    Ok(())
}

/// `CREATE SCHEMA IF NOT EXISTS` wants a right that is not needed where the schema exists.
async fn make_schema(connection: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
    let exists: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
            .bind(schema)
            .fetch_one(&mut *connection)
            .await?;
    if !exists {
        let create = format!("CREATE SCHEMA \"{schema}\"");
        connection
            .execute(sqlx::raw_sql(AssertSqlSafe(create)))
            .await?;
    }
    Ok(())
}
