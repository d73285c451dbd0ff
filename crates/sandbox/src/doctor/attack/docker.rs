//! Attacks from containers.

use std::sync::Arc;
use std::time::Duration;

use domain::error::Error;
use domain::runner::{EngineKind, RunEvent};
use futures::StreamExt;
use serde_json::json;
use telemetry::Metrics;
use tokio::time::{Instant, timeout};

use super::canary::Canary;
use super::cases;
use super::leftovers::Before;
use super::run::Target;
use super::{Attack, Attacks, Held};
use crate::Engine;
use crate::docker::{DockerEngine, DockerEngineSettings};
use crate::doctor::DoctorSettings;
use crate::doctor::facts::Facts;
use crate::doctor::gather::connect;

/// Memory of the sandboxes under attack: so little that bombs go off soon.
const MEMORY: u64 = 128 << 20;
/// How long the engine may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);
/// The variables that a sandbox has.
const ENVIRONMENT: &[&str] = &[
    "PATH",
    "HOME",
    "HOSTNAME",
    "TMPDIR",
    "LANG",
    "TZ",
    "UV_THREADPOOL_SIZE",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
    "GOMAXPROCS",
];

pub(super) async fn attack(
    settings: &DoctorSettings,
    facts: &Facts,
    metrics: &Arc<Metrics>,
) -> Attacks {
    match attacked(settings, facts, metrics).await {
        Ok(attacks) => attacks,
        Err(why) => Attacks::none(EngineKind::Docker, why),
    }
}

async fn attacked(
    settings: &DoctorSettings,
    facts: &Facts,
    metrics: &Arc<Metrics>,
) -> Result<Attacks, String> {
    let owner = format!("doctor-{}", uuid::Uuid::new_v4().simple());
    let canary = Canary::sing().await.map_err(|error| error.to_string())?;
    let daemon = connect(&settings.docker.docker, metrics).await?;
    let here = facts.daemon_is_here();
    let before = Before::look(&daemon, &owner, here).await?;
    let there = facts.images.iter().filter(|image| image.there.is_some());
    let images: Vec<String> = there.map(|image| image.name.clone()).collect();
    let mut why = "no allowed image is on the daemon".to_owned();
    for image in images {
        let docker = DockerEngineSettings {
            owner: owner.clone(),
            pool_size: 2,
            session_pool_size: 0,
            memory_bytes: settings.docker.memory_bytes.min(MEMORY),
            allowed_images: vec![image.clone()],
            ..settings.docker.clone()
        };
        let (memory_bytes, cpu_millis) = (docker.memory_bytes, docker.cpu_millis);
        let launched = timeout(PATIENCE, DockerEngine::launch(docker, Arc::clone(metrics))).await;
        let engine = match launched {
            Ok(launched) => Arc::new(launched.map_err(|error: Error| error.to_string())?),
            Err(_) => return Err(format!("the engine did not start within {PATIENCE:?}")),
        };
        let target = Target {
            engine: Arc::clone(&engine) as Arc<dyn Engine>,
            image: image.clone(),
            memory_bytes,
            cpu_millis,
            args: json!({
                "port": canary.port,
                "hosts": canary.hosts,
                "abstract": canary.name,
                "environment": ENVIRONMENT,
            }),
        };
        // A positive control: attacks that fail in a sandbox where nothing works prove nothing.
        let works = target.works().await;
        let mut attacks = Vec::new();
        if works.is_ok() {
            for case in cases::DOCKER {
                attacks.extend(target.attempt(case).await);
            }
            attacks.extend(neighbours(&target).await);
            attacks.push(told(
                "afterwards",
                "break the engine for the next call",
                target.works().await,
            ));
        }
        let stopped = timeout(PATIENCE, engine.shutdown()).await;
        if let Err(failed) = works {
            // An image for another language, perhaps: the next one may do.
            why = format!("{image}: {failed}");
            continue;
        }
        attacks.push(match canary.heard() {
            0 => Attack::new(
                "canary",
                "be heard on any address of this machine",
                Held::Yes,
                "nobody came",
            ),
            came => Attack::new(
                "canary",
                "be heard on any address of this machine",
                Held::No,
                format!("{came} connections came"),
            ),
        });
        attacks.extend(before.left(&daemon, &owner).await);
        if stopped.is_err() {
            attacks.push(Attack::new(
                "stop",
                "keep the engine from stopping",
                Held::No,
                format!("it did not stop within {PATIENCE:?}"),
            ));
        }
        return Ok(Attacks {
            engine: EngineKind::Docker.as_str(),
            place: image,
            attacks,
        });
    }
    Err(why)
}

fn told(name: &str, tried: &str, result: Result<(), String>) -> Attack {
    match result {
        Ok(()) => Attack::new(name, tried, Held::Yes, ""),
        Err(why) => Attack::new(name, tried, Held::No, why),
    }
}

/// Says on a log line that it is there, and stays.
const HOST: &str = "const fs = require('fs'); \
    require('net').createServer().listen(45678, '0.0.0.0'); \
    require('net').createServer().listen('\\0dynamic-mcp-neighbour'); \
    for (const dir of ['/tmp', '/dev/shm', '/workspace']) fs.writeFileSync(dir + '/neighbour', 'x'); \
    await new Promise((done) => setTimeout(done, 200)); \
    await ctx.log('info', 'ready'); await new Promise((done) => setTimeout(done, 25000))";

/// Looks for it from a sandbox of its own.
const GUEST: &str = include_str!("neighbour.js");

/// Two sandboxes at the same time: the second looks for the first.
async fn neighbours(target: &Target) -> Vec<Attack> {
    let untried = |why: String| {
        vec![Attack::new(
            "neighbours",
            "reach another sandbox",
            Held::Untried,
            why,
        )]
    };
    let mut host = match target.start(HOST, Duration::from_secs(30)).await {
        Ok(host) => host,
        Err(why) => return untried(why),
    };
    let ready = async {
        while let Some(event) = host.next().await {
            match event {
                RunEvent::Log { .. } => return Ok(()),
                RunEvent::Finished(outcome) => {
                    return Err(format!("the first ended: {:?}", outcome.result));
                }
                _ => {}
            }
        }
        Err("the first ended".to_owned())
    };
    let asked = Instant::now();
    match timeout(PATIENCE, ready).await {
        Ok(Ok(())) => {}
        Ok(Err(why)) => return untried(why),
        Err(_) => return untried(format!("nothing after {:?}", asked.elapsed())),
    }
    let case = cases::Case {
        name: "neighbours",
        tried: "reach another sandbox",
        code: GUEST,
        millis: 10_000,
        ends: &[],
    };
    // Dropping the first ends it.
    target.attempt(&case).await
}
