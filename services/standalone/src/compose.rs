//! The three services put together: by plain calls, or over gRPC on pipes within the process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use auth::internal::{Audience, Signer, SigningKey, Verifier, VerifyKeys};
use bootstrap::config::{Admission, Profile, StandaloneConfig, Wiring};
use bootstrap::{App, StartError, StopReason, Tasks};
use domain::audit::Archive;
use domain::keys::Keys;
use domain::{Catalog, Runner, Sessions};
use executor::service::SandboxConfig;
use gateway::Gateway;
use gateway::http::anonymous;
use gateway::stdio::{StdioSettings, serve_stdio};
use registry::StorePaths;
use registry::service::RegistryParts;
use rpc::Endpoint;
use rpc::client::{ArchiveClient, CatalogClient, KeysClient, Link, RunnerClient, SessionsClient};
use rpc::server::{Incoming, Server};
use telemetry::Metrics;

use crate::first_key;

/// Starts `dynamic-mcp`.
///
/// # Errors
/// The store cannot be opened, the engine does not start, or a setting cannot be used.
pub(crate) async fn start(config: StandaloneConfig, app: App) -> Result<(), StartError> {
    let place = std::path::absolute(folder_of_the_store(&config))?;
    let place = place.display().to_string();
    let mut sessions = config.sessions.clone();
    if config.public.profile == Profile::Mvp {
        // Nobody can ask for one, so that none has to wait for it either.
        sessions.max_sessions = 0;
    }
    let (registry, executor) = tokio::try_join!(
        Box::pin(registry::service::open(registry_parts(&config), &app)),
        Box::pin(executor::service::open(
            "local",
            &place,
            None,
            SandboxConfig {
                engine: &config.engine,
                docker: &config.docker,
                policy: &config.policy,
                sessions: &sessions,
                install: &config.install,
            },
            &app
        )),
    )?;
    let registry = Arc::new(registry);
    let local = Arc::new(executor.clone());
    let ports = match config.wiring {
        Wiring::Direct => Ports {
            catalog: registry.clone(),
            archive: registry.clone(),
            keys: registry.clone(),
            runner: local.clone(),
            sessions: local,
        },
        Wiring::Grpc => over_pipes(registry.clone(), local, &app)?,
    };
    let runs = (ports.runner, ports.sessions);
    let gateway = gateway::service::assemble(
        &config.public,
        &config.policy,
        ports.catalog,
        runs,
        None,
        &app,
    )?;
    gateway::service::ship_audit_log(&gateway, ports.archive, &app);
    let engine = executor.status().engine.kind;
    close_after_drain(&app.tasks, registry, executor);
    gateway::service::first_look(&gateway).await;
    gateway::service::name_what_the_engine_lacks(&gateway, engine);
    let why = config.transport.why;
    if config.transport.stdio {
        tracing::info!(why, "serving one MCP client over stdin and stdout");
        return serve_client(&gateway, &config, &app).await;
    }
    tracing::info!(why, "serving MCP over HTTP");
    let metrics = config.process.telemetry.metrics;
    if config.public.admission == Admission::FirstKey {
        first_key::make_sure(&*ports.keys, &folder_of_the_store(&config)).await?;
    }
    let ready = std::future::ready(());
    gateway::service::serve_http(&gateway, &config.public, metrics, ports.keys, ready, app).await
}

/// Where the program keeps what is its own, also when the tools are in Postgres.
fn folder_of_the_store(config: &StandaloneConfig) -> PathBuf {
    let store = StorePaths::of(&config.catalog.store).database;
    match store.parent() {
        // A file named without a folder is in the one that the program runs in.
        Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
        folder => folder.map(Path::to_owned).unwrap_or_default(),
    }
}

/// What a registry within this program is made of.
pub(crate) fn registry_parts(config: &StandaloneConfig) -> RegistryParts<'_> {
    RegistryParts {
        catalog: &config.catalog,
        postgres: &config.postgres,
        policy: &config.policy,
        audit: &config.audit_keep,
        declared: &config.declared,
    }
}

/// What the gateway needs of the registry and of the executor.
struct Ports {
    catalog: Arc<dyn Catalog>,
    archive: Arc<dyn Archive>,
    keys: Arc<dyn Keys>,
    runner: Arc<dyn Runner>,
    sessions: Arc<dyn Sessions>,
}

/// The same code as between three processes, with a key that lives as long as this one.
fn over_pipes(
    registry: Arc<registry::Registry>,
    executor: Arc<executor::Executor>,
    app: &App,
) -> Result<Ports, StartError> {
    let key = Arc::new(SigningKey::generate()?);
    let link = |audience: Audience, offer: &dyn Fn(Server) -> Server, name: &'static str| {
        let verifier = Arc::new(Verifier::new(VerifyKeys::of(&key), audience));
        let server = offer(Server::new(verifier).with_metrics(Arc::clone(&app.metrics)));
        let (dialer, listener) = rpc::pipe();
        app.tasks.serve(name, |stop| async move {
            server
                .serve(Incoming::Pipe(listener), stop.cancelled_owned())
                .await
        });
        let signer = Signer::new(Arc::clone(&key), audience);
        let metrics: Arc<Metrics> = Arc::clone(&app.metrics);
        Link::new(&Endpoint::Pipe(dialer), signer).map(|link| link.with_metrics(metrics))
    };
    let offer_catalog = |server: Server| {
        let server = server.catalog(registry.clone()).fleet(registry.clone());
        server.archive(registry.clone()).keys(registry.clone())
    };
    let catalog = link(Audience::Registry, &offer_catalog, "registry over a pipe")?;
    let offer_runner = |server: Server| server.runner(executor.clone()).sessions(executor.clone());
    let runner = link(Audience::Executor, &offer_runner, "executor over a pipe")?;
    Ok(Ports {
        catalog: Arc::new(CatalogClient::new(catalog.clone())),
        archive: Arc::new(ArchiveClient::new(catalog.clone())),
        keys: Arc::new(KeysClient::new(catalog)),
        runner: Arc::new(RunnerClient::new(runner.clone())),
        sessions: Arc::new(SessionsClient::new(runner)),
    })
}

/// Serves the program that started this one; when it closes its end, the process drains and exits.
async fn serve_client(
    gateway: &Gateway,
    config: &StandaloneConfig,
    app: &App,
) -> Result<(), StartError> {
    let settings = StdioSettings {
        principal: anonymous(config.public.access.token.is_some()),
        request_timeout: config.public.request_timeout,
    };
    gateway::service::first_look(gateway).await;
    let operations = Arc::new(gateway.clone());
    let tasks = app.tasks.clone();
    app.tasks.serve("MCP over stdio", |stop| async move {
        serve_stdio(operations, settings, stop).await?;
        let why = "the client closed its end".to_owned();
        tasks.request_stop(StopReason::Requested(why));
        Ok::<(), std::io::Error>(())
    });
    Ok(())
}

/// Ends sandboxes and closes the store when the last call is through.
fn close_after_drain(
    tasks: &Tasks,
    registry: Arc<registry::Registry>,
    executor: executor::Executor,
) {
    let stopping = tasks.stopping();
    tasks.finish("registry and executor", async move {
        stopping.cancelled().await;
        executor.drained().await;
        executor::service::close(&executor).await;
        registry.close().await;
    });
}
