//! The channel of a link, and its renewal where certificates are shown.
//!
//! A connection outlives the certificates that it was opened with. So over TLS a new one is opened
//! every two minutes, and at once when other certificates come: tried first, then put in the place
//! of the old one, whose requests go on to their end. No request ever waits for it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use domain::Result;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::connect::{Target, channel};
use crate::tls::Tls;

/// How long a connection over TLS takes new requests.
const AGE: Duration = Duration::from_secs(120);
/// How long the service may take to answer on a new connection.
const TRY_WITHIN: Duration = Duration::from_secs(5);
/// When a new connection does not come about, the next is tried after this time.
const RETRY: Duration = Duration::from_secs(2);

/// Gives out the channel that is to be used now.
#[derive(Debug)]
pub(crate) struct Lane {
    current: Arc<ArcSwap<Open>>,
    /// Ends with the lane.
    _renewal: JoinSet<()>,
}

/// One channel.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) channel: Channel,
    /// Cancelled when another one took its place.
    pub(crate) replaced: CancellationToken,
}

impl Open {
    fn new(target: &Target) -> Result<Self> {
        Ok(Self {
            channel: channel(target)?,
            replaced: CancellationToken::new(),
        })
    }
}

impl Lane {
    pub(crate) fn new(target: Target, age: Option<Duration>) -> Result<Self> {
        let current = Arc::new(ArcSwap::from_pointee(Open::new(&target)?));
        let mut renewal = JoinSet::new();
        if let (true, Some(tls)) = (target.endpoint.is_tls(), target.tls.clone()) {
            let age = age.unwrap_or(AGE);
            renewal.spawn(renew(target, tls, age, Arc::clone(&current)));
        }
        Ok(Self {
            current,
            _renewal: renewal,
        })
    }

    /// What a request that starts now uses.
    pub(crate) fn open(&self) -> Arc<Open> {
        self.current.load_full()
    }
}

async fn renew(target: Target, mut tls: Tls, age: Duration, current: Arc<ArcSwap<Open>>) {
    loop {
        tokio::select! {
            () = tls.changed() => {}
            () = sleep(age) => {}
        }
        loop {
            match tried(&target).await {
                Ok(open) => {
                    current.swap(Arc::new(open)).replaced.cancel();
                    break;
                }
                Err(reason) => {
                    let endpoint = &target.endpoint;
                    tracing::debug!(%endpoint, reason, "no new connection; the old one stays");
                    sleep(RETRY).await;
                }
            }
        }
    }
}

/// A channel on which the service has answered: with TLS 1.3 a client does not see before that
/// whether its certificate was accepted.
async fn tried(target: &Target) -> Result<Open, String> {
    let open = Open::new(target).map_err(|error| error.to_string())?;
    let mut health = HealthClient::new(open.channel.clone());
    let asked = health.check(HealthCheckRequest::default());
    match timeout(TRY_WITHIN, asked).await {
        Ok(Ok(_)) => Ok(open),
        Ok(Err(status)) => Err(status.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}
