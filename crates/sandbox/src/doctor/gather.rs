//! Finding the facts out. Every part has its own deadline, and one that hangs is left behind.

mod clear;
mod host;
mod install;

use std::sync::Arc;
use std::time::Duration;

use domain::error::Error;
use telemetry::Metrics;
use tokio::time::timeout;

use super::DoctorSettings;
use super::facts::{DaemonFacts, Facts, Host, ImageFact, Wanted};
use crate::docker::{Daemon, DockerSettings};
use crate::isolate::probe_walls;

/// How long a part may take.
const PART: Duration = Duration::from_secs(12);
/// How many images are looked at.
const IMAGES: usize = 64;

/// Everything that can be found out, together.
pub(super) async fn gather(settings: &DoctorSettings, metrics: &Arc<Metrics>) -> Facts {
    let daemon = async {
        match settings.wants_docker() {
            true => Some(look(settings, metrics).await),
            false => None,
        }
    };
    let walls = async {
        let probed = timeout(PART, probe_walls(settings.isolate.program.clone(), None));
        match probed.await {
            Ok(probed) => probed.map_err(|error| error.to_string()),
            Err(_) => Err(format!("nothing after {PART:?}")),
        }
    };
    let (daemon, walls, mut host, install) = tokio::join!(
        daemon,
        walls,
        host::host(settings.docker.docker.host.clone()),
        install::install(&settings.install),
    );
    let (daemon, images) = match daemon {
        None => (None, Vec::new()),
        Some(Err(why)) => (Some(Err(why)), named(settings)),
        Some(Ok((daemon, images))) => {
            host.disk = disk(&daemon, &host).await;
            (Some(Ok(daemon)), images)
        }
    };
    Facts {
        wanted: Wanted {
            engine: settings.engine,
            runtime: settings.docker.runtime.clone(),
            require_patched_runc: settings.docker.require_patched_runc,
            allow_weaker_isolate: settings.isolate.allow_weaker,
            any_image: settings.docker.allowed_images.is_empty(),
            memory_bytes: settings.docker.memory_bytes,
            pool_size: settings.docker.pool_size,
        },
        host,
        daemon,
        images,
        walls: Some(walls),
        install,
    }
}

/// The configured images, not looked at.
fn named(settings: &DoctorSettings) -> Vec<ImageFact> {
    let names = settings.docker.allowed_images.iter().take(IMAGES);
    let named = names.map(|name| ImageFact {
        name: name.clone(),
        ..ImageFact::default()
    });
    named.collect()
}

type Looked = Result<(DaemonFacts, Vec<ImageFact>), String>;

async fn look(settings: &DoctorSettings, metrics: &Arc<Metrics>) -> Looked {
    let looking = async {
        let daemon = connect(&settings.docker.docker, metrics).await?;
        let mut facts = daemon.survey().await.map_err(|fault| fault.to_string())?;
        let events = daemon.tells_of_kills().await;
        facts.events_denied = events.err().map(|fault| fault.to_string());
        facts.clear = clear::clear(&daemon).await;
        let mut images = named(settings);
        for image in &mut images {
            match daemon.image_there(&image.name).await {
                Ok(there) => image.there = there,
                Err(fault) => image.error = Some(fault.to_string()),
            }
        }
        Ok((facts, images))
    };
    let late = |_| Err(format!("it did not answer within {PART:?}"));
    timeout(PART, looking).await.unwrap_or_else(late)
}

/// The daemon of these settings.
pub(super) async fn connect(
    settings: &DockerSettings,
    metrics: &Arc<Metrics>,
) -> Result<Daemon, String> {
    let told = |error: Error| match error.cause() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    let daemon = Daemon::connect(settings, Arc::clone(metrics)).await;
    daemon.map_err(told)
}

/// Where the daemon is on this machine and its folder can be read, how full it is.
async fn disk(daemon: &DaemonFacts, host: &Host) -> Option<(u64, u64)> {
    let root = daemon.root_dir.clone()?;
    let here = daemon.address.starts_with("unix://") && daemon.kernel == host.kernel;
    if !here {
        return None;
    }
    let asked = tokio::task::spawn_blocking(move || rustix::fs::statvfs(root.as_str()));
    // A file system that hangs keeps its thread, and nobody else.
    let found = timeout(PART, asked).await.ok()?.ok()?.ok()?;
    Some((
        found.f_bavail.saturating_mul(found.f_frsize),
        found.f_blocks.saturating_mul(found.f_frsize),
    ))
}
