//! Which engine runs the tools, and why.

use std::sync::Arc;
use std::time::Duration;

use bootstrap::StartError;
use bootstrap::config::{DockerConfig, EngineChoice, EngineConfig, PolicyConfig};
use domain::error::{Error, ErrorCode};
use sandbox::Engine;
use sandbox::docker::{DockerEngine, DockerEngineSettings, DockerSettings};
use sandbox::isolate::{IsolateEngine, IsolateSettings};
use telemetry::Metrics;

/// How often a start looks for a daemon that is configured and does not answer: the two often
/// start together.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);

/// How long `auto` waits for a daemon to say whether it can be used.
const PATIENCE: Duration = Duration::from_secs(5);

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
    config: &EngineConfig,
    docker: &DockerConfig,
    policy: &PolicyConfig,
    owner: &str,
    metrics: &Arc<Metrics>,
) -> Result<Chosen, StartError> {
    let settings = docker_settings(config, docker, policy, owner);
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
    let settings = IsolateSettings {
        pool_size: config.pool_size,
        memory_bytes: config.memory_limit.0,
        allow_weaker: config.allow_weaker_isolate,
        ..IsolateSettings::default()
    };
    let engine = IsolateEngine::launch(settings, Arc::clone(metrics)).await?;
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

fn docker_settings(
    config: &EngineConfig,
    docker: &DockerConfig,
    policy: &PolicyConfig,
    owner: &str,
) -> DockerEngineSettings {
    DockerEngineSettings {
        docker: DockerSettings {
            host: docker.host.clone(),
            tls_verify: docker.tls_verify.is_some(),
            cert_path: docker.cert_path.clone(),
        },
        owner: owner.to_owned(),
        runtime: docker.runtime.clone(),
        pool_size: config.pool_size,
        memory_bytes: config.memory_limit.0,
        cpu_millis: config.cpu_millis(),
        max_timeout: policy.max_timeout,
        allowed_images: policy.allowed_images.clone(),
        ..DockerEngineSettings::default()
    }
}
