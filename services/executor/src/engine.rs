//! Which engine runs the tools, and why.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bootstrap::config::{EngineChoice, EngineConfig, InstallConfig, PolicyConfig};
use bootstrap::{Secret, StartError};
use domain::error::{Error, ErrorCode};
use sandbox::Engine;
use sandbox::docker::{DockerEngine, DockerEngineSettings, DockerSettings, InstallSettings};
use sandbox::isolate::{IsolateEngine, IsolateSettings};
use telemetry::Metrics;

use crate::service::SandboxConfig;

/// How often a start looks for a daemon that is configured and does not answer: the two often
/// start together.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);

/// How long `auto` waits for a daemon to say whether it can be used.
const PATIENCE: Duration = Duration::from_secs(5);

/// Largest file of certificates, in bytes.
const MAX_CERTIFICATES: u64 = 4 << 20;

/// What runs, and the sentence that says why.
pub(crate) struct Chosen {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) why: String,
}

/// Starts the engine that the configuration names. With `auto` Docker, where its daemon answers and
/// an allowed image is there or can be pulled; else the isolate engine.
///
/// # Errors
/// A sentence that says what is missing.
pub(crate) async fn start(
    sandbox: &SandboxConfig<'_>,
    owner: &str,
    metrics: &Arc<Metrics>,
) -> Result<Chosen, StartError> {
    let settings = docker_settings(sandbox, owner)?;
    let config = sandbox.engine;
    match config.engine {
        EngineChoice::Isolate | EngineChoice::Node => {
            isolate(config, metrics, "MCP_EXECUTION_ENGINE names it".to_owned()).await
        }
        EngineChoice::Docker => {
            let engine = launch_docker(settings, metrics).await?;
            Ok(in_docker(engine, "MCP_EXECUTION_ENGINE names it"))
        }
        EngineChoice::Auto => match probe(&settings, metrics).await {
            Ok(()) => {
                let engine = DockerEngine::launch(settings, Arc::clone(metrics)).await?;
                let why = "MCP_EXECUTION_ENGINE=auto, and a Docker daemon has or gets the images";
                Ok(in_docker(engine, why))
            }
            Err(error) => {
                tracing::warn!(
                    %error,
                    cause = ?error.cause(),
                    "Docker cannot be used: tools run in the isolate engine, without Node's modules"
                );
                let why = format!("MCP_EXECUTION_ENGINE=auto, and Docker cannot be used: {error}");
                isolate(config, metrics, why).await
            }
        },
    }
}

async fn isolate(
    config: &EngineConfig,
    metrics: &Arc<Metrics>,
    why: String,
) -> Result<Chosen, StartError> {
    // Tools would run without the data that the operator promises them.
    if !config.data_mounts.is_empty() {
        let reason =
            "MCP_SANDBOX_DATA_MOUNTS needs the Docker engine: the isolate engine sees no files";
        let fix = "set MCP_EXECUTION_ENGINE=docker, or unset MCP_SANDBOX_DATA_MOUNTS";
        return Err(format!("{reason} ({why}); {fix}").into());
    }
    let engine = IsolateEngine::launch(isolate_settings(config), Arc::clone(metrics)).await?;
    tracing::info!(
        engine = "isolate",
        why,
        "tools run in QuickJS sandboxes without Node's modules, dependencies and network"
    );
    let engine = Arc::new(engine);
    Ok(Chosen { engine, why })
}

fn in_docker(engine: DockerEngine, why: &str) -> Chosen {
    tracing::info!(
        engine = "docker",
        why,
        "tools run in containers, one for each call"
    );
    Chosen {
        engine: Arc::new(engine),
        why: why.to_owned(),
    }
}

async fn probe(settings: &DockerEngineSettings, metrics: &Arc<Metrics>) -> Result<(), Error> {
    DockerEngine::probe(settings, Arc::clone(metrics), PATIENCE).await
}

async fn launch_docker(
    settings: DockerEngineSettings,
    metrics: &Arc<Metrics>,
) -> Result<DockerEngine, Error> {
    for _ in 1..TRIES {
        match DockerEngine::launch(settings.clone(), Arc::clone(metrics)).await {
            Err(error) if error.code() == ErrorCode::Unavailable => {
                tracing::warn!(%error, cause = ?error.cause(), "waiting for the Docker daemon");
                tokio::time::sleep(PAUSE).await;
            }
            launched => return launched,
        }
    }
    DockerEngine::launch(settings, Arc::clone(metrics)).await
}

pub(crate) fn isolate_settings(config: &EngineConfig) -> IsolateSettings {
    IsolateSettings {
        pool_size: config.pool_size,
        memory_bytes: config.memory_limit.0,
        allow_weaker: config.allow_weaker_isolate,
        pool_memory_bytes: config.pool_memory.0,
        ..IsolateSettings::default()
    }
}

/// How the Docker engine is set up.
///
/// # Errors
/// The file of certificates cannot be read, or is none.
pub(crate) fn docker_settings(
    sandbox: &SandboxConfig<'_>,
    owner: &str,
) -> Result<DockerEngineSettings, StartError> {
    let SandboxConfig {
        engine: config,
        docker,
        policy,
        sessions,
        install,
    } = sandbox;
    Ok(DockerEngineSettings {
        docker: DockerSettings {
            host: docker.host.clone(),
            tls_verify: docker.tls_verify.is_some(),
            cert_path: docker.cert_path.clone(),
        },
        owner: owner.to_owned(),
        runtime: docker.runtime.clone(),
        require_patched_runc: config.require_patched_runc,
        pool_size: config.pool_size,
        // One is enough: a session is opened now and then, and replaced at once.
        session_pool_size: usize::from(config.pool_size > 0 && sessions.max_sessions > 0),
        pool_memory_bytes: config.pool_memory.0,
        memory_bytes: config.memory_limit.0,
        cpu_millis: config.cpu_millis(),
        cgroup_parent: config.cgroup_parent.clone(),
        data_mounts: config.data_mounts.clone(),
        max_timeout: policy.max_timeout,
        max_session: sessions.lifetime,
        allowed_images: policy.allowed_images.clone(),
        shared_tools: policy.shared_tools.clone(),
        load_ahead: install.load_ahead,
        install: install_settings(install, policy)?,
        ..DockerEngineSettings::default()
    })
}

fn install_settings(
    install: &InstallConfig,
    policy: &PolicyConfig,
) -> Result<InstallSettings, StartError> {
    let text = |secret: &Option<Secret>| secret.as_ref().map(|it| it.expose().to_owned());
    let extra_ca = install.extra_ca_certs.as_deref().map(certificates);
    Ok(InstallSettings {
        extra_ca: extra_ca.transpose()?,
        npm_registry: text(&install.npm_registry),
        pip_index: text(&install.pip_index),
        timeout: install.timeout,
        max_bytes: install.max_bytes.0,
        max_files: install.max_files,
        cache_bytes: install.cache_bytes.0,
        cache_age: install.cache_age,
        allow_native: install.allow_native,
        blocked: policy.blocked_packages.clone(),
    })
}

fn certificates(path: &Path) -> Result<String, StartError> {
    let fault = |why: &str| {
        let path = path.display();
        format!("MCP_SANDBOX_EXTRA_CA_CERTS: {path} {why}; name a file with certificates in PEM")
    };
    let size = std::fs::metadata(path).map(|it| it.len());
    if size.is_ok_and(|size| size > MAX_CERTIFICATES) {
        return Err(fault("is larger than 4 MiB").into());
    }
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| fault(&format!("cannot be read: {error}")))?;
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err(fault("holds no certificate").into());
    }
    Ok(text)
}
