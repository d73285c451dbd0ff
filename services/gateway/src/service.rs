//! The gateway as a process, and as a part of standalone.

mod admission;
mod internal;

use std::sync::Arc;
use std::time::Duration;

use auth::internal::Audience;
use bootstrap::config::{
    GatewayConfig, HTTP_LISTENER, PolicyConfig, Profile as ProfileChoice, PublicConfig,
};
use bootstrap::tls::ServerTls;
use bootstrap::{App, OnFailure, Secret, Socket, StartError};
use domain::audit::Archive;
use domain::fleet::ExecutorInfo;
use domain::keys::Keys;
use domain::limits::RunLimits;
use domain::runner::EngineKind;
use domain::{Catalog, Runner, Sessions, ToolName, ToolSpec};
use rpc::client::{
    ArchiveClient, CatalogClient, FleetClient, KeysClient, RunnerClient, SessionsClient,
};
use serde_json::{Value, json};

use self::internal::Internal;
use crate::Gateway;
use crate::audit;
use crate::cache::{CacheSettings, RedisSettings};
use crate::fleet;
use crate::http::{AddressRules, HostRules, HttpSettings, Lifecycle, ServeSettings, router, serve};
use crate::limits::{CallLimits, LimitSettings, Limits};
use crate::mcp::McpSettings;
use crate::placement::{Client, Placement};
use crate::settings::{GuardLimits, Parts, Profile, Settings};

/// How long a start waits for the first look at the catalogue. Without it the gateway starts all
/// the same, not ready until the registry has answered.
const FIRST_SYNC: Duration = Duration::from_secs(5);

/// Starts the `gateway` program.
///
/// # Errors
/// The key is no key, or an address cannot be used.
pub async fn start(config: GatewayConfig, app: App) -> Result<(), StartError> {
    let internal = Internal::start(&config, &app)?;
    let registry = config.registry.url.to_string();
    let link = internal.link("MCP_REGISTRY_URL", &registry, Audience::Registry)?;
    let link = link.patient();
    let placement = Arc::new(Placement::new(Box::new(move |executor: &ExecutorInfo| {
        let link = internal.link("executor", &executor.address, Audience::Executor)?;
        Ok(Client {
            runner: Arc::new(RunnerClient::new(link.clone())),
            sessions: Arc::new(SessionsClient::new(link)),
        })
    })));
    let follow = fleet::Follow {
        fixed: config.fleet.executors.clone(),
        fleet: Arc::new(FleetClient::new(link.clone())),
        placement: Arc::clone(&placement),
    };
    app.tasks.spawn("fleet", OnFailure::Essential, follow.run());
    let gateway = assemble(
        &config.public,
        &config.policy,
        Arc::new(CatalogClient::new(link.clone())),
        (placement.clone(), placement.clone()),
        Some(Arc::clone(&placement)),
        &app,
    )?;
    ship_audit_log(&gateway, Arc::new(ArchiveClient::new(link.clone())), &app);
    serve_http(
        &gateway,
        &config.public,
        config.process.telemetry.metrics,
        Arc::new(KeysClient::new(link)),
        placement.first_look(FIRST_SYNC),
        app,
    )
    .await
}

/// Puts the core together from its configuration and its ports: the catalogue, and what runs calls and
/// keeps sessions.
///
/// # Errors
/// The audit log cannot be opened, or a built-in's definition is broken.
pub fn assemble(
    public: &PublicConfig,
    policy: &PolicyConfig,
    catalog: Arc<dyn Catalog>,
    (runner, sessions): (Arc<dyn Runner>, Arc<dyn Sessions>),
    placement: Option<Arc<Placement>>,
    app: &App,
) -> Result<Gateway, StartError> {
    let defaults = Settings::default();
    let audit = audit::service::start(public, app)?;
    let settings = Settings {
        version: bootstrap::VERSION,
        profile: match public.profile {
            ProfileChoice::Mvp => Profile::Mvp,
            ProfileChoice::Enterprise => Profile::Enterprise,
        },
        admin_token: public.access.token.clone().map(Secret::into_inner),
        guard: GuardLimits {
            max_concurrency: public.guard.max_concurrency,
            max_calls_per_window: public.guard.max_calls,
            window: public.guard.window,
        },
        calls: CallLimits::new(&public.guard, &public.limits),
        // Memory, CPU and output are the executor's to bound: the gateway asks for the most that
        // any executor can be configured to give.
        run: RunLimits {
            timeout: policy.max_timeout,
            memory_bytes: 64 << 30,
            cpu_millis: 256_000,
            max_output_bytes: 10_000_000,
        },
        policy: policy.rules(),
        runtime_config: as_clients_know_it(&app.view, public, audit.is_on()),
        code_cache_bytes: defaults.code_cache_bytes,
        cache: CacheSettings {
            enabled: public.cache.enabled,
            longest: public.cache.ttl,
            max_bytes: public.cache.max_size.0,
            tools: public.cache.tools.0.clone(),
            redis: public.redis.url.clone().map(|url| RedisSettings {
                url: url.into_inner(),
                authorities: public.redis.tls_ca.clone(),
            }),
        },
    };
    let metrics = Arc::clone(&app.metrics);
    Ok(Gateway::new(Parts {
        settings,
        catalog,
        runner,
        sessions,
        placement,
        metrics,
        audit,
    })?)
}

/// Begins to ship the audit log to where the registry keeps it.
pub fn ship_audit_log(gateway: &Gateway, archive: Arc<dyn Archive>, app: &App) {
    audit::service::ship(gateway.audit(), archive, app);
}

/// The configuration as a client sees it: the keys that are set, and what clients of the Node
/// server look for. The parts that this version has not got are off: it refuses to start with
/// their keys on.
fn as_clients_know_it(view: &Value, public: &PublicConfig, audited: bool) -> Value {
    let mut view = view.clone();
    view["transports"] = match view.get("transport") {
        Some(_) => json!(["stdio", "http"]),
        None => json!(["http"]),
    };
    admission::as_clients_know_it(public, &mut view["auth"]);
    view["dynamic"]["adminTokenConfigured"] = view["dynamic"]["adminTokenSet"].clone();
    for (list, count) in [
        ("allowedImages", "allowedImagesCount"),
        ("blockedPackages", "blockedPackagesCount"),
    ] {
        let length = view["sandbox"][list].as_array().map_or(0, Vec::len);
        view["sandbox"][count] = json!(length);
    }
    view["audit"]["enabled"] = json!(audited);
    view["experimental"]["upstreamMcpAttach"] = json!(false);
    view["experimental"]["absentTools"] = json!(["upstream.mcp.attach", "upstream.mcp.detach"]);
    view
}

/// Serves MCP over HTTP on the listener of that name, once there has been a first look at what it serves
/// and `ready` has completed. `keys` are the registry's API keys, which are followed where they let
/// callers in.
///
/// # Errors
/// A rule for hosts or origins cannot be read.
pub async fn serve_http(
    gateway: &Gateway,
    public: &PublicConfig,
    metrics: bool,
    keys: Arc<dyn Keys>,
    ready: impl Future<Output = ()>,
    mut app: App,
) -> Result<(), StartError> {
    let listener = app.listener(HTTP_LISTENER).ok_or("no HTTP listener")?;
    let address = listener.address().clone();
    let Socket::Tcp(socket) = listener.into_socket() else {
        return Err("MCP over HTTP needs a TCP address".into());
    };
    let http = &public.http;
    let tls = http.tls_files();
    let tls = tls
        .map(|files| ServerTls::public(files, &app))
        .transpose()?;
    let addresses = AddressRules::new(&http.trusted_proxies, &http.allowed_ips);
    let serving = ServeSettings {
        max_connections: http.max_connections,
        max_connections_per_address: http.max_connections_per_address,
        addresses: addresses.clone(),
        tls: tls.clone(),
        draining: app.health.draining(),
        ..ServeSettings::default()
    };
    let limits = Arc::new(Limits::new(LimitSettings::from(&public.limits)));
    app.tasks
        .spawn("load", OnFailure::Essential, Arc::clone(&limits).watch());
    let auth = admission::of(public, keys, &app)?;
    let settings = HttpSettings {
        audit: gateway.audit().clone(),
        mcp_path: http.path.as_str().to_owned(),
        health_path: http.health_path.as_str().to_owned(),
        metrics: metrics && http.metrics_port.is_none(),
        request_timeout: public.request_timeout,
        addresses,
        https: tls.is_some(),
        hosts: HostRules::new(
            address.is_local(),
            &http.allowed_hosts,
            &http.allowed_origins,
        )?,
        limits: Arc::clone(&limits),
        auth: auth.clone(),
        mcp: McpSettings {
            max_request_bytes: usize::try_from(http.max_request.0)?,
            ..McpSettings::default()
        },
    };
    let lifecycle = Lifecycle {
        closing: app.tasks.stopping(),
        ..Lifecycle::default()
    };
    let router = router(
        settings,
        Arc::new(gateway.clone()),
        app.health.clone(),
        Arc::clone(&app.metrics),
        lifecycle,
    );
    tokio::join!(first_look(gateway), admission::first_keys(&auth), ready);
    let (health, metrics) = (app.health.clone(), Arc::clone(&app.metrics));
    app.tasks.serve("MCP over HTTP", |stop| async move {
        tokio::select! {
            () = health.until_started() => {}
            () = stop.cancelled() => {}
        }
        serve(socket, router, serving, metrics, stop).await;
        Ok::<(), std::convert::Infallible>(())
    });
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{address}{}", http.path.as_str());
    // The line that a person copies into a client's configuration.
    let paste = json!({"mcpServers": {"dynamic-mcp": {"type": "http", "url": url}}});
    tracing::info!(%url, "for an MCP client: {paste}");
    Ok(())
}

/// Most names that one log line holds.
const NAMED: usize = 20;

/// Says which stored tools the one engine of this program will refuse.
pub fn name_what_the_engine_lacks(gateway: &Gateway, engine: EngineKind) {
    if engine == EngineKind::Docker {
        return;
    }
    let refused = gateway.catalogue().names(ToolSpec::needs_docker);
    if refused.is_empty() {
        return;
    }
    let named: Vec<&str> = refused.iter().take(NAMED).map(ToolName::as_str).collect();
    tracing::warn!(
        tools = named.join(", "),
        count = refused.len(),
        engine = engine.as_str(),
        "stored tools that this engine does not run: their calls answer policy_denied"
    );
}

/// Waits until the catalogue is known, but not for ever.
pub async fn first_look(gateway: &Gateway) {
    if !gateway.synced(FIRST_SYNC).await {
        tracing::warn!("the registry has not answered yet: not ready until it does");
    }
}
