//! The executor as a process, and as a part of standalone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bootstrap::config::{
    DockerConfig, EngineConfig, ExecutorConfig, GRPC_LISTENER, InstallConfig, PolicyConfig,
    SessionConfig, SessionNetwork,
};
use bootstrap::{App, CheckReport, ListenAddress, OnFailure, Socket, StartError, authority};
use domain::id::RequestId;
use domain::limits::RunLimits;
use domain::session::Network;
use rpc::Endpoint;
use rpc::client::{FleetClient, Link};
use rpc::server::{Incoming, Server};
use serde_json::json;

use crate::{Executor, Membership, SessionSettings, Settings, Stop, engine, internal, join};

/// How long sandboxes may take to end once the drain is over.
const SHUTDOWN_TIME: Duration = Duration::from_secs(2);

/// Starts the `executor` program: [`open`], then gRPC on its listener, then the fleet.
///
/// # Errors
/// The engine does not start, or the keys are not keys.
pub async fn start(config: ExecutorConfig, mut app: App) -> Result<(), StartError> {
    let name = name();
    let executor = open(
        &name,
        &config.server.listen.to_string(),
        config.server.capacity,
        SandboxConfig {
            engine: &config.engine,
            docker: &config.docker,
            policy: &config.policy,
            sessions: &config.sessions,
            install: &config.install,
        },
        &app,
    )
    .await?;
    let tls = internal::tls(&config.internal, &app)?;
    let server = Server::new(internal::verifier(&config.verify, &app)?)
        .with_metrics(Arc::clone(&app.metrics))
        .with_tls(tls.clone())
        .runner(Arc::new(executor.clone()))
        .sessions(Arc::new(executor.clone()));
    let listener = app.listener(GRPC_LISTENER).ok_or("no gRPC listener")?;
    let own = own_address(listener.address(), tls.is_some());
    // `_file` removes a Unix socket's file once the server has ended.
    let (incoming, _file) = match listener.into_socket() {
        Socket::Tcp(listener) => (Incoming::Tcp(listener), None),
        Socket::Unix { listener, file } => (Incoming::Unix(listener), Some(file)),
    };
    let served = executor.clone();
    app.tasks.serve("gRPC server", |stop| async move {
        let result = server.serve(incoming, stop.cancelled_owned()).await;
        close(&served).await;
        drop(_file);
        result
    });
    let Some(signer) = internal::signer(&config.signing, &app)? else {
        tracing::info!(
            "no MCP_INTERNAL_SIGNING_KEY: gateways reach this executor by MCP_EXECUTOR_URLS only"
        );
        return Ok(());
    };
    let registry = Endpoint::parse("MCP_REGISTRY_URL", &config.registry.url.to_string())?;
    let link = Link::over_tls(&registry, signer, tls)?;
    let fleet = Arc::new(FleetClient::new(
        link.patient().with_metrics(Arc::clone(&app.metrics)),
    ));
    let membership = Membership {
        address: config.server.advertise.map_or(own, |url| url.to_string()),
        labels: labels(&config.server.labels)?,
        version: bootstrap::VERSION.to_owned(),
    };
    let stop = Stop {
        draining: app.health.draining(),
        stopping: app.tasks.stopping(),
    };
    let joining = join(executor, fleet, membership, stop);
    app.tasks.finish("fleet membership", joining);
    Ok(())
}

/// What the configuration says of sandboxes.
#[derive(Debug, Clone, Copy)]
pub struct SandboxConfig<'a> {
    /// The engine and the limits of one sandbox.
    pub engine: &'a EngineConfig,
    /// The Docker daemon.
    pub docker: &'a DockerConfig,
    /// What code may ask for.
    pub policy: &'a PolicyConfig,
    /// Sessions.
    pub sessions: &'a SessionConfig,
    /// Dependencies.
    pub install: &'a InstallConfig,
}

/// Starts the engine that the configuration names, says which one runs and why, and makes the
/// executor with its health check. From the start of a drain it takes no new calls. `place` tells
/// this executor from others on the same machine and stays the same over restarts.
///
/// # Errors
/// A sentence that names the wall that is missing, or why no sandbox starts.
pub async fn open(
    name: &str,
    place: &str,
    capacity: Option<u32>,
    sandbox: SandboxConfig<'_>,
    app: &App,
) -> Result<Executor, StartError> {
    // The same after a restart, and another one for whoever shares the daemon: host names may be
    // shared by containers that share the machine's network, but then not the place.
    let owner = format!("{}/{place}", host_or("local"));
    let chosen = engine::start(&sandbox, &owner, &app.metrics).await?;
    let SandboxConfig {
        engine: config,
        policy,
        sessions,
        ..
    } = sandbox;
    let ceiling = RunLimits {
        timeout: policy.max_timeout,
        memory_bytes: config.memory_limit.0,
        cpu_millis: config.cpu_millis(),
        max_output_bytes: config.max_output.0,
    };
    let mut settings = Settings::new(name, ceiling);
    if let Some(capacity) = capacity {
        settings = settings.with_capacity(capacity);
    }
    settings.sessions = session_settings(sessions, policy);
    let executor = Executor::new(chosen.engine, settings, Arc::clone(&app.metrics));
    let (seen, why) = (executor.clone(), chosen.why);
    app.health.inform("executor", move || report(&seen, &why));
    let kept = executor.clone();
    app.tasks
        .spawn("sandbox sessions", OnFailure::Essential, async move {
            kept.keep_sessions().await;
            Ok::<(), std::convert::Infallible>(())
        });
    let (drained, stopping) = (executor.clone(), app.tasks.stopping());
    app.tasks
        .spawn("executor drain", OnFailure::Log, async move {
            stopping.cancelled().await;
            drained.drain();
            Ok::<(), std::convert::Infallible>(())
        });
    Ok(executor)
}

fn session_settings(config: &SessionConfig, policy: &PolicyConfig) -> SessionSettings {
    SessionSettings {
        idle: config.idle,
        lifetime: config.lifetime,
        max_sessions: config.max_sessions,
        network: match config.network {
            SessionNetwork::None => Network::None,
            SessionNetwork::Bridge => Network::Bridge,
        },
        policy: policy.rules(),
    }
}

/// Destroys the sandboxes: to be called when no call can come in any more.
pub async fn close(executor: &Executor) {
    if tokio::time::timeout(SHUTDOWN_TIME, executor.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some sandboxes did not end in time; they die with this process");
    }
}

fn report(executor: &Executor, why: &str) -> CheckReport {
    let status = executor.status();
    let missing: Vec<&str> = status
        .engine
        .walls
        .iter()
        .filter(|wall| !wall.held)
        .map(|wall| wall.name)
        .collect();
    let kinds = status.engine.pool.kinds.iter().map(|kind| {
        json!({
            "name": kind.name,
            "size": kind.size,
            "idle": kind.idle,
            "making": kind.making,
            "waiting": kind.waiting,
            "memoryBytesEach": kind.memory_each,
        })
    });
    let kinds: Vec<_> = kinds.collect();
    CheckReport::up().with(json!({
        "name": status.name,
        "engine": status.engine.kind.as_str(),
        "why": why,
        "capacity": status.capacity,
        "inFlight": status.in_flight,
        "waiting": status.waiting,
        "sessions": status.sessions,
        "draining": status.draining,
        "poolSize": status.engine.pool_size,
        "poolIdle": status.engine.pool_idle,
        "poolWaiting": status.engine.pool.waiting,
        "poolMemoryBytes": status.engine.pool.memory_bytes,
        "poolKinds": kinds,
        "wallsMissing": missing,
    }))
}

/// Unique while it lives: the host and this start of it.
fn name() -> String {
    let start = RequestId::random();
    let start = start
        .as_str()
        .split('-')
        .next()
        .unwrap_or_default()
        .to_owned();
    format!(
        "executor-{}-{start}",
        host().unwrap_or_else(|| "local".to_owned())
    )
}

fn host() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// The address that gateways are told when none is configured.
fn own_address(listener: &ListenAddress, tls: bool) -> String {
    match listener {
        ListenAddress::Unix(path) => format!("unix:{}", path.display()),
        ListenAddress::Tcp { host, port } => {
            let any = matches!(host.as_str(), "0.0.0.0" | "::");
            let host = if any { host_or(host) } else { host.clone() };
            let scheme = if tls { "https" } else { "http" };
            format!("{scheme}://{}", authority(&host, *port))
        }
    }
}

/// An address that means every interface reaches nobody; the host's name may.
fn host_or(fallback: &str) -> String {
    host().unwrap_or_else(|| fallback.to_owned())
}

fn labels(pairs: &[String]) -> Result<BTreeMap<String, String>, StartError> {
    let mut labels = BTreeMap::new();
    for pair in pairs {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("MCP_EXECUTOR_LABELS: `{pair}` is not name=value"))?;
        labels.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    Ok(labels)
}
