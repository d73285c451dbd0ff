//! The Docker daemon: the only place that speaks its API.
//!
//! Every request has a deadline, a span and a sample in `mcp_docker_request_duration_seconds`. While the daemon
//! is away requests fail at once (see [`circuit`]), and it is found again without a restart.

mod address;
mod answers;
mod attach;
mod check;
mod circuit;
mod events;
mod fault;
mod filter;
mod kills;
mod requests;
mod survey;
mod transport;
mod volumes;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error as BollardError;
use bollard::{BollardRequest, ClientVersion};
use domain::error::{Error, Result};
use telemetry::Metrics;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

pub(crate) use self::answers::{End, Facts, ImageFacts, Ours, Progress};
pub(crate) use self::attach::{Output, Printed};
pub(crate) use self::check::is_safe_runc;
pub(crate) use self::fault::Fault;
pub(crate) use self::filter::Filtered;
pub(crate) use self::survey::Inventory;
pub(crate) use self::volumes::FoundVolume;

use self::address::Address;
use self::circuit::{Circuit, PING, Pause};
use self::kills::Kills;
use self::transport::{Transport, connect_error};

/// The oldest API that has all that the profile needs: Docker 20.10.
const FLOOR: (u16, u16) = (1, 41);
/// The newest that the client library knows.
const CEILING: (u16, u16) = (1, 53);
/// Longest that any request may take; each has its own deadline below this.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// Where the daemon is, in Docker's own variables.
#[derive(Debug, Clone, Default)]
pub struct DockerSettings {
    /// `DOCKER_HOST`: `unix://`, `tcp://`, `http://` or `https://`; none for the local socket.
    pub host: Option<String>,
    /// `DOCKER_TLS_VERIFY`: speak TLS and verify the daemon.
    pub tls_verify: bool,
    /// `DOCKER_CERT_PATH`: the folder with `ca.pem`, `cert.pem` and `key.pem`.
    pub cert_path: Option<PathBuf>,
}

/// The id that the daemon gave a container.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ContainerId(Arc<str>);

impl ContainerId {
    /// As the daemon wrote it, or a name that we gave.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for ContainerId {
    fn from(id: String) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A connection to the daemon. Cheap to clone; the last one dropped ends the pings.
#[derive(Clone)]
pub(crate) struct Daemon {
    shared: Arc<Shared>,
    _watch: Arc<DropGuard>,
}

struct Shared {
    api: bollard::Docker,
    transport: Arc<Transport>,
    circuit: Circuit,
    kills: Kills,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    closed: CancellationToken,
}

impl Daemon {
    /// Finds the daemon and agrees on a version with it.
    ///
    /// # Errors
    /// `invalid_argument` about a setting; `unavailable` with the address and the reason when it
    /// does not answer or is too old.
    pub(crate) async fn connect(settings: &DockerSettings, metrics: Arc<Metrics>) -> Result<Self> {
        let transport = Arc::new(Transport::new(Address::parse(settings)?));
        let sender = Arc::clone(&transport);
        let api = bollard::Docker::connect_with_custom_transport(
            move |request: BollardRequest| {
                let transport = Arc::clone(&sender);
                Box::pin(async move { transport.send(request).await })
            },
            Some("http://docker"),
            LONGEST.as_secs(),
            bollard::API_DEFAULT_VERSION,
        )
        .map_err(Error::internal)?;
        let shared = Arc::new(Shared {
            api,
            transport,
            circuit: Circuit::new(Arc::clone(&metrics)),
            kills: Kills::new(Arc::clone(&metrics)),
            metrics,
            tasks: TaskTracker::new(),
            closed: CancellationToken::new(),
        });
        if let Err(fault) = shared.greet().await {
            shared.metrics.docker_up.set(0);
            let message = format!(
                "no usable Docker daemon at {}: {fault}",
                shared.transport.address()
            );
            return Err(Error::new(domain::ErrorCode::Unavailable, message)
                .with_fix("start Docker 20.10 or newer, or set DOCKER_HOST"));
        }
        if let Address::Tcp { host, .. } = shared.transport.address()
            && !matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1")
        {
            let address = shared.transport.address();
            tracing::warn!(%address, "the Docker daemon is spoken to without TLS");
        }
        let (major, minor) = shared.transport.version();
        let address = shared.transport.address();
        tracing::info!(%address, api = format!("{major}.{minor}"), "the Docker daemon answers");
        shared.spawn(async |shared| shared.watch().await);
        let closed = shared.closed.clone();
        Ok(Self {
            shared,
            _watch: Arc::new(closed.drop_guard()),
        })
    }

    /// Listens from now on to what the daemon tells of the containers of `owner`: how one ended, see
    /// [`Self::end_of`], is known for certain only then. To be called once.
    pub(crate) fn listen(&self, owner: String) {
        self.shared
            .spawn(async move |shared| shared.listen(&owner).await);
    }

    /// Where it is, for messages.
    pub(crate) fn address(&self) -> String {
        self.shared.transport.address().to_string()
    }

    async fn ask<T>(
        &self,
        operation: &'static str,
        deadline: Duration,
        request: impl Future<Output = Result<T, BollardError>>,
    ) -> Result<T, Fault> {
        self.shared.ask(operation, deadline, request).await
    }
}

impl fmt::Debug for Daemon {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Daemon({})", self.shared.transport.address())
    }
}

async fn within<T>(
    deadline: Duration,
    request: impl Future<Output = Result<T, BollardError>>,
) -> Result<T, Fault> {
    match timeout(deadline, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(match connect_error(&error) {
            Some(why) => Fault::Connect(why),
            None => error.into(),
        }),
        Err(_) => Err(Fault::Late(deadline)),
    }
}

impl Shared {
    /// A task that ends with the last [`Daemon`].
    fn spawn<Task>(self: &Arc<Self>, task: impl FnOnce(Arc<Self>) -> Task)
    where
        Task: Future<Output = ()> + Send + 'static,
    {
        let (token, task) = (self.closed.clone(), task(Arc::clone(self)));
        self.tasks.spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// One request, with all that every request has.
    async fn ask<T>(
        &self,
        operation: &'static str,
        deadline: Duration,
        request: impl Future<Output = Result<T, BollardError>>,
    ) -> Result<T, Fault> {
        let started = Instant::now();
        let span = tracing::debug_span!("docker", operation);
        let answer = async {
            self.circuit.check()?;
            tokio::select! {
                // Some of the library's futures are large.
                answer = within(deadline, Box::pin(request)) => answer,
                gone = self.circuit.tripped() => Err(gone),
            }
        };
        let answer = answer.instrument(span).await;
        let outcome = answer.as_ref().err().map_or("ok", Fault::outcome);
        let labels = [operation, outcome];
        let histogram = &self.metrics.docker_request_duration;
        histogram
            .with_label_values(&labels)
            .observe(started.elapsed().as_secs_f64());
        if let Err(fault) = &answer {
            tracing::debug!(operation, %fault, "the Docker daemon did not do it");
            if fault.is_suspect() {
                self.circuit.suspect(fault);
            }
        }
        answer
    }

    /// Looks again and again whether the daemon answers.
    async fn watch(&self) {
        let mut pause = Pause::default();
        loop {
            self.circuit.rest(&pause).await;
            let answer = if self.circuit.is_up() {
                match self.raw_ping().await {
                    // One late answer is a busy machine; two are a daemon that hangs.
                    Err(Fault::Late(_) | Fault::Lost(_)) => self.raw_ping().await,
                    answer => answer,
                }
            } else {
                // It may be another version now.
                self.greet().await
            };
            self.circuit.found(answer, &mut pause);
        }
    }

    async fn raw_ping(&self) -> Result<(), Fault> {
        within(PING, async { self.api.ping().await.map(drop) }).await
    }

    /// Asks for the version and keeps the newest that both know.
    async fn greet(&self) -> Result<(), Fault> {
        let answer = within(PING, self.api.version()).await?;
        let version = |text: Option<&str>| {
            let (major, minor) = text?.split_once('.')?;
            Some((major.parse::<u16>().ok()?, minor.parse::<u16>().ok()?))
        };
        let Some(newest) = version(answer.api_version.as_deref()) else {
            return Err(Fault::Answer("its API version is not a version".to_owned()));
        };
        let oldest = version(answer.min_api_version.as_deref()).unwrap_or((1, 0));
        let named = |(major, minor): (u16, u16)| format!("{major}.{minor}");
        if newest < FLOOR || oldest > CEILING {
            return Err(Fault::Answer(format!(
                "it speaks API {} to {}, and {} to {} can be used",
                named(oldest),
                named(newest),
                named(FLOOR),
                named(CEILING)
            )));
        }
        let (major, minor) = newest.min(CEILING);
        self.transport.speak(major, minor);
        Ok(())
    }
}

/// The library's newest version is the ceiling: this fails to build when they drift apart.
const _: () = assert!(
    CEILING.0 as usize == bollard::API_DEFAULT_VERSION.major_version
        && CEILING.1 as usize == bollard::API_DEFAULT_VERSION.minor_version
);
const _: fn(ClientVersion) = drop;

#[cfg(test)]
pub(crate) mod tests;
