//! The registry as a process, and as a part of standalone.

use std::sync::Arc;
use std::time::Duration;

use auth::internal::{Audience, Verifier, VerifyKeys};
use bootstrap::config::{CatalogConfig, GRPC_LISTENER, PolicyConfig, RegistryConfig};
use bootstrap::{App, CheckReport, OnFailure, Socket, StartError};
use rpc::server::{Incoming, Server};
use tokio::sync::watch;

use crate::{Registry, Settings, SqliteStore, StorePaths};

/// How often the store is asked whether it answers.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// Starts the `registry` program: [`open`], then gRPC on its listener.
///
/// # Errors
/// The store cannot be opened or imported into, or the keys are not keys.
pub async fn start(config: RegistryConfig, mut app: App) -> Result<(), StartError> {
    let registry = Arc::new(open(&config.catalog, &config.policy, &app).await?);
    let pem = config
        .verify
        .keys
        .ok_or("MCP_INTERNAL_VERIFY_KEYS must be set")?;
    let keys = VerifyKeys::from_pem(&pem.0)?;
    let verifier = Arc::new(Verifier::new(keys, Audience::Registry));
    let server = Server::new(verifier)
        .with_metrics(Arc::clone(&app.metrics))
        .catalog(registry.clone())
        .fleet(registry.clone());
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

/// Opens the store, takes over what the Node server left, and watches that the store answers.
///
/// # Errors
/// A sentence that names the file and what to do.
pub async fn open(
    catalog: &CatalogConfig,
    policy: &PolicyConfig,
    app: &App,
) -> Result<Registry, StartError> {
    let paths = StorePaths::of(&catalog.store);
    let store = SqliteStore::open(&paths.database).await?;
    let settings = Settings {
        max_tools: catalog.max_tools,
        max_revisions: catalog.max_revisions,
        read_only: catalog.read_only,
        policy: policy.rules(),
        ..Settings::default()
    };
    let registry = Registry::new(Arc::new(store), settings, Arc::clone(&app.metrics));
    if let Some(report) = registry.import_node_store(&paths.import).await? {
        let source = report.source.display();
        tracing::info!(%source, tools = report.imported, "imported the Node server's tools");
        for record in &report.invalid {
            tracing::warn!(
                %source,
                position = record.position,
                name = record.name.as_deref(),
                reason = %record.reason,
                "a tool was not imported; it stays in its file"
            );
        }
    }
    watch_store(&registry, app);
    Ok(registry)
}

fn watch_store(registry: &Registry, app: &App) {
    let (tell, seen) = watch::channel(None::<String>);
    app.health.require("store", move || match &*seen.borrow() {
        None => CheckReport::up(),
        Some(why) => CheckReport::down(why.clone()),
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
