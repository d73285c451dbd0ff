//! Answers in Redis, which all gateways share.
//!
//! Redis is never waited for longer than [`WITHIN`]. What does not answer in that time is taken for
//! away: the connection is dropped, every call misses at once, and one task in the background tries
//! to get Redis back. So however Redis fails, the first calls lose a tenth of a second and the
//! others nothing.

use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, TlsCertificates};
use arc_swap::ArcSwapOption;
use domain::Result;
use secrecy::ExposeSecret;
use telemetry::Metrics;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::key::Key;
use super::{RedisSettings, unusable};

/// Longest wait for an answer of Redis during a call.
const WITHIN: Duration = Duration::from_millis(100);
/// Longest wait for a new connection, its handshakes included.
const CONNECT: Duration = Duration::from_secs(2);
/// How long Redis may take to answer the first question on a new connection.
const PROBE: Duration = Duration::from_millis(500);
/// How often it is asked whether it is still there.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// First and longest pause between two tries to get it back.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// A connection that held so long is a good one.
const STEADY: Duration = Duration::from_secs(10);
/// Largest file of certificates.
const MAX_AUTHORITIES: u64 = 1 << 20;

/// Redis could not be asked, or did not do it. Counted and logged here; for a call it is a miss.
#[derive(Debug)]
pub(super) struct Away;

pub(super) struct Redis {
    client: Client,
    /// The connection while Redis is there.
    link: ArcSwapOption<MultiplexedConnection>,
    /// Somebody has found that it is not.
    lost: Notify,
    metrics: Arc<Metrics>,
}

impl Redis {
    pub(super) fn new(settings: &RedisSettings, metrics: Arc<Metrics>) -> Result<Self> {
        let url = settings.url.expose_secret();
        let client = match &settings.authorities {
            None => Client::open(url),
            Some(path) => {
                let unread = |why: &str| unusable("REDIS_TLS_CA", why);
                let size = std::fs::metadata(path)
                    .map_err(|why| unread(&why.to_string()))?
                    .len();
                if size > MAX_AUTHORITIES {
                    return Err(unread("is larger than a file of certificates"));
                }
                let pem = std::fs::read(path).map_err(|why| unread(&why.to_string()))?;
                if !pem.windows(11).any(|window| window == b"-----BEGIN ") {
                    return Err(unread("holds no certificates in PEM"));
                }
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(pem),
                };
                Client::build_with_tls(url, certificates)
            }
        };
        let client = client.map_err(|_| unusable("REDIS_URL", "cannot be used"))?;
        metrics.redis_up.set(0);
        Ok(Self {
            client,
            link: ArcSwapOption::empty(),
            lost: Notify::new(),
            metrics,
        })
    }

    pub(super) fn is_up(&self) -> bool {
        self.link.load().is_some()
    }

    pub(super) async fn get(
        &self,
        key: &Key,
        deadline: Instant,
    ) -> std::result::Result<Option<Arc<[u8]>>, Away> {
        let mut get = Cmd::new();
        get.arg("GET").arg(key.name());
        let found: Option<Vec<u8>> = self.ask(&get, deadline).await?;
        Ok(found.map(Arc::from))
    }

    pub(super) async fn put(
        &self,
        key: &Key,
        bytes: Vec<u8>,
        ttl: Duration,
        deadline: Instant,
    ) -> std::result::Result<(), Away> {
        let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let mut set = Cmd::new();
        set.arg("SET")
            .arg(key.name())
            .arg(bytes)
            .arg("PX")
            .arg(millis);
        self.ask::<()>(&set, deadline).await
    }

    /// One question, answered within [`WITHIN`] and the deadline, or not at all.
    async fn ask<T: FromRedisValue>(
        &self,
        question: &Cmd,
        deadline: Instant,
    ) -> std::result::Result<T, Away> {
        let Some(link) = self.link.load_full() else {
            self.failed("away");
            return Err(Away);
        };
        let patience = Instant::now() + WITHIN;
        let mut connection = MultiplexedConnection::clone(&link);
        let answer = timeout_at(
            patience.min(deadline),
            question.query_async(&mut connection),
        )
        .await;
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if is_of_the_connection(&error) => {
                self.failed("connection");
                self.lose(&link, &error.to_string());
                Err(Away)
            }
            // It is there and says no: out of memory, still loading, read only, no right to.
            Ok(Err(error)) => {
                self.failed("refused");
                tracing::debug!(%error, "Redis refused a command of the response cache");
                Err(Away)
            }
            Err(_) if deadline < patience => Err(Away),
            Err(_) => {
                self.failed("timeout");
                self.lose(&link, "it did not answer in time");
                Err(Away)
            }
        }
    }

    /// From here on it counts as away, unless somebody has brought it back meanwhile.
    fn lose(&self, link: &Arc<MultiplexedConnection>, why: &str) {
        let before = self.link.compare_and_swap(link, None);
        if before
            .as_ref()
            .is_some_and(|before| Arc::ptr_eq(before, link))
        {
            self.metrics.redis_up.set(0);
            tracing::warn!(
                why,
                "Redis is away: calls run as without a cache until it is back"
            );
            self.lost.notify_one();
        }
    }

    /// Connects, looks after the connection, and connects again, until `stop`.
    pub(super) async fn keep_up(self: Arc<Self>, stop: CancellationToken) {
        let work = async {
            let mut pause = PAUSE.0;
            let mut told = false;
            loop {
                match self.connect().await {
                    Ok(connection) => {
                        let link = Arc::new(connection);
                        self.link.store(Some(Arc::clone(&link)));
                        self.metrics.redis_up.set(1);
                        tracing::info!("Redis is there: it keeps the response cache");
                        told = true;
                        let since = Instant::now();
                        self.look_after(&link).await;
                        // One that is lost again at once is left alone for longer and longer.
                        if since.elapsed() >= STEADY {
                            pause = PAUSE.0;
                        }
                    }
                    Err(why) => {
                        if !told {
                            told = true;
                            tracing::warn!(
                                why,
                                "Redis does not answer: calls run as without a cache"
                            );
                        }
                        tracing::debug!(why, "Redis is still away");
                    }
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }

    /// A connection on which Redis has answered.
    async fn connect(&self) -> std::result::Result<MultiplexedConnection, String> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(PROBE));
        let connecting = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        let connection = timeout(CONNECT, connecting).await;
        let connection = connection.map_err(|_| String::from("no connection in time"))?;
        let mut connection = connection.map_err(|error| error.to_string())?;
        ping(&mut connection, PROBE).await?;
        Ok(connection)
    }

    /// Returns when the connection is lost.
    async fn look_after(&self, link: &Arc<MultiplexedConnection>) {
        loop {
            tokio::select! {
                () = self.lost.notified() => {}
                () = sleep(LOOK_EVERY) => {
                    let mut connection = MultiplexedConnection::clone(link);
                    if let Err(why) = ping(&mut connection, PROBE).await {
                        self.lose(link, &why);
                    }
                }
            }
            let current = self.link.load();
            if !current
                .as_ref()
                .is_some_and(|current| Arc::ptr_eq(current, link))
            {
                return;
            }
        }
    }

    fn failed(&self, kind: &str) {
        self.metrics.redis_failures.with_label_values(&[kind]).inc();
    }
}

async fn ping(
    connection: &mut MultiplexedConnection,
    within: Duration,
) -> std::result::Result<(), String> {
    let ping = ::redis::cmd("PING");
    match timeout(within, ping.query_async::<String>(connection)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(String::from("it did not answer in time")),
    }
}

/// Whether nothing more will come over this connection.
fn is_of_the_connection(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error()
}
