//! The registry as a process, and as a part of standalone.

use std::sync::Arc;
use std::time::Duration;

use bootstrap::config::{
    AuditKeepConfig, Backend, CatalogConfig, Declared, GRPC_LISTENER, PolicyConfig, PostgresConfig,
    RegistryConfig,
};
use bootstrap::{App, CheckReport, OnFailure, Socket, StartError};
use rpc::server::{Incoming, Server};
use serde_json::json;
use telemetry::Metrics;
use tokio::sync::watch;

use crate::{
    ImportReport, PostgresSettings, PostgresStore, Registry, Settings, SqliteStore, Store,
    StorePaths, SynchronousCommit,
};
use crate::{declared, internal};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How often the store is asked whether it answers.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// Starts the `registry` program: [`open`], then gRPC on its listener.
///
/// # Errors
/// The store cannot be opened or imported into, or the keys are not keys.
pub async fn start(config: RegistryConfig, mut app: App) -> Result<(), StartError> {
    let registry = Arc::new(open(parts(&config), &app).await?);
    let server = Server::new(internal::verifier(&config.verify, &app)?)
        .with_metrics(Arc::clone(&app.metrics))
        .with_tls(internal::tls(&config.internal, &app)?)
        .catalog(registry.clone())
        .fleet(registry.clone())
        .archive(registry.clone())
        .keys(registry.clone());
    let listener = app.listener(GRPC_LISTENER).ok_or("no gRPC listener")?;
    // `_file` removes a Unix socket's file once the server has ended.
    let (incoming, _file) = match listener.into_socket() {
        Socket::Tcp(listener) => (Incoming::Tcp(listener), None),
        Socket::Unix { listener, file } => (Incoming::Unix(listener), Some(file)),
    };
    app.tasks.serve("gRPC server", |stop| async move {
        let served = server.serve(incoming, stop.cancelled_owned()).await;
        registry.close().await;
        drop(_file);
        served
    });
    Ok(())
}

/// What `--check-config` adds: what the declared tools would change.
pub async fn check_config(config: RegistryConfig) -> String {
    declared::what_would_change(parts(&config)).await
}

fn parts(config: &RegistryConfig) -> RegistryParts<'_> {
    RegistryParts {
        catalog: &config.catalog,
        postgres: &config.postgres,
        policy: &config.policy,
        audit: &config.audit_keep,
        declared: &config.declared,
    }
}

/// What a registry is made of.
#[derive(Debug, Clone, Copy)]
pub struct RegistryParts<'a> {
    /// Where tools are kept.
    pub catalog: &'a CatalogConfig,
    /// The database of backend `postgres`.
    pub postgres: &'a PostgresConfig,
    /// What a tool may ask for.
    pub policy: &'a PolicyConfig,
    /// What is kept of audit logs.
    pub audit: &'a AuditKeepConfig,
    /// Tools of the configuration.
    pub declared: &'a Declared,
}

/// Opens the store that is configured and nothing else: for commands that look into it.
///
/// # Errors
/// A sentence that names the file or the database and what to do.
pub async fn open_store(
    catalog: &CatalogConfig,
    postgres: &PostgresConfig,
    metrics: Arc<Metrics>,
) -> Result<(Arc<dyn Store>, &'static str), StartError> {
    Ok(match catalog.backend {
        Backend::Sqlite | Backend::File => {
            let database = StorePaths::of(&catalog.store).database;
            (Arc::new(SqliteStore::open(&database).await?), "sqlite")
        }
        Backend::Postgres => {
            let store = PostgresStore::open(database(postgres)?, metrics).await?;
            tracing::info!(
                database = store.place(),
                schema = postgres.schema,
                "opened the store"
            );
            (Arc::new(store), "postgres")
        }
    })
}

/// The settings of a registry.
#[must_use]
pub fn settings(parts: RegistryParts<'_>) -> Settings {
    Settings {
        max_tools: parts.catalog.max_tools,
        max_revisions: parts.catalog.max_revisions,
        read_only: parts.catalog.read_only,
        policy: parts.policy.rules(),
        audit_rows: parts.audit.rows,
        audit_bytes: parts.audit.bytes.0,
        audit_age: DAY * parts.audit.days,
        ..Settings::default()
    }
}

/// Opens the store that is configured, takes over what the Node server left, applies what the
/// configuration declares, and watches that the store answers.
///
/// # Errors
/// A sentence that names the file or the database and what to do.
pub async fn open(parts: RegistryParts<'_>, app: &App) -> Result<Registry, StartError> {
    let metrics = Arc::clone(&app.metrics);
    let (store, backend) = open_store(parts.catalog, parts.postgres, metrics).await?;
    let registry = Registry::new(store, settings(parts), Arc::clone(&app.metrics));
    let paths = StorePaths::of(&parts.catalog.store);
    // Whoever ran on Postgres has the tools there, and in the file at most older ones.
    if let Some(report) = registry.import_node_table().await? {
        tell(&report);
    }
    if let Some(report) = registry.import_node_store(&paths.import).await? {
        tell(&report);
    }
    declared::follow(&registry, parts.declared, app).await?;
    watch_store(&registry, backend, app);
    Ok(registry)
}

fn tell(report: &ImportReport) {
    let source = &report.source;
    tracing::info!(
        source,
        tools = report.imported,
        "imported the Node server's tools"
    );
    for record in &report.invalid {
        tracing::warn!(
            source,
            position = record.position,
            name = record.name.as_deref(),
            reason = %record.reason,
            "a tool was not imported; it stays where it was"
        );
    }
}

pub(crate) fn database(config: &PostgresConfig) -> Result<PostgresSettings, StartError> {
    use bootstrap::config::SynchronousCommit as Configured;
    let url = config
        .url
        .as_ref()
        .ok_or("MCP_DYNAMIC_PG_URL must be set")?;
    Ok(PostgresSettings {
        schema: config.schema.clone(),
        init_max_attempts: config.init_max_attempts,
        init_backoff: config.init_backoff,
        max_connections: config.max_connections,
        statement_timeout: config.statement_timeout,
        synchronous_commit: match config.synchronous_commit {
            Configured::On => SynchronousCommit::On,
            Configured::RemoteApply => SynchronousCommit::RemoteApply,
            Configured::RemoteWrite => SynchronousCommit::RemoteWrite,
            Configured::Local => SynchronousCommit::Local,
        },
        ..PostgresSettings::of(url.expose())
    })
}

fn watch_store(registry: &Registry, backend: &'static str, app: &App) {
    let (tell, seen) = watch::channel(None::<String>);
    app.health.require("store", move || {
        let report = match &*seen.borrow() {
            None => CheckReport::up(),
            Some(why) => CheckReport::down(why.clone()),
        };
        report.with(json!({ "backend": backend }))
    });
    app.tasks.spawn(
        "store check",
        OnFailure::Essential,
        check(registry.clone(), tell),
    );
}

async fn check(
    registry: Registry,
    tell: watch::Sender<Option<String>>,
) -> Result<(), std::convert::Infallible> {
    loop {
        tokio::time::sleep(CHECK_EVERY).await;
        tell.send_replace(registry.check().await.err().map(|error| error.to_string()));
    }
}
