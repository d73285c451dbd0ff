//! Limits on requests and callers, in the order in which a request meets them: see `docs/limits.md`.
//!
//! This module decides; who asks it (the layers of `http::admit`, the guard) answers, counts and
//! records. Everything is of this gateway alone: another one has limits of its own.

mod counted;
mod flow;
mod notes;
mod settings;
mod shards;
mod window;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bootstrap::config::Rate;
use domain::Principal;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use telemetry::Instruments;
use tokio::time::Instant;

pub(crate) use self::counted::{ByNetwork, Counted};
pub(crate) use self::flow::Flow;
pub(crate) use self::notes::Notes;
pub use self::settings::{CallLimits, LimitSettings};
pub(crate) use self::shards::{Idle, Shards};
pub(crate) use self::window::Window;

/// Most callers that are told apart.
const MAX_CALLERS: usize = 16_384;
/// When to come back after a refusal for requests in progress: about the time of a short one.
const RETRY_IN_FLIGHT: Duration = Duration::from_millis(250);

/// What a request was refused for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Too many wrong credentials from its address.
    AddressFailures,
    /// Too many requests from its address.
    Address,
    /// Too many requests in progress.
    InFlight,
    /// The process is late.
    Load,
    /// Too many requests of its caller.
    Caller,
    /// Too many requests of its caller in progress.
    CallerInFlight,
    /// Too many requests of all callers.
    Global,
}

impl Limit {
    #[cfg(test)]
    pub(crate) const ALL: [Limit; 7] = [
        Limit::AddressFailures,
        Limit::Address,
        Limit::InFlight,
        Limit::Load,
        Limit::Caller,
        Limit::CallerInFlight,
        Limit::Global,
    ];

    /// The label of metrics and the word of the audit log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Limit::AddressFailures => "address_failures",
            Limit::Address => "address",
            Limit::InFlight => "in_flight",
            Limit::Load => "load",
            Limit::Caller => "caller",
            Limit::CallerInFlight => "caller_in_flight",
            Limit::Global => "global",
        }
    }

    /// Whether it is the gateway that is busy, and not its caller that asks too much.
    pub(crate) fn is_load(self) -> bool {
        matches!(self, Limit::InFlight | Limit::Load)
    }
}

/// A refused request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) limit: Limit,
    /// In whole milliseconds. Of a rate: waiting so long succeeds if nobody else takes the place,
    /// and a millisecond less does not.
    pub(crate) retry_after: Duration,
}

impl Denied {
    pub(crate) fn new(limit: Limit, retry_after: Duration) -> Self {
        Self { limit, retry_after }
    }
}

/// The limits of one gateway on requests over HTTP.
#[derive(Debug)]
pub struct Limits {
    settings: LimitSettings,
    failures: Option<ByNetwork>,
    addresses: Option<ByNetwork>,
    global: Option<(Rate, Mutex<Window>)>,
    callers: Shards<Mutex<Caller>>,
    pub(crate) flow: Flow,
    pub(crate) notes: Notes,
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(LimitSettings::default())
    }
}

/// What is kept of one caller.
#[derive(Debug, Default)]
struct Caller {
    window: Option<Window>,
    in_flight: usize,
}

impl Idle for Mutex<Caller> {
    fn is_idle(&self, now: Instant) -> bool {
        let mut caller = self.lock();
        caller.in_flight == 0 && caller.window.as_mut().is_none_or(|one| one.is_idle(now))
    }
}

/// A request of a caller that is worked on.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Mutex<Caller>>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.lock().in_flight -= 1;
    }
}

impl Limits {
    /// With nothing counted yet.
    #[must_use]
    pub fn new(settings: LimitSettings) -> Self {
        let now = Instant::now();
        Self {
            failures: settings.auth_failures.map(ByNetwork::new),
            addresses: settings.addresses.map(ByNetwork::new),
            global: settings
                .global
                .map(|rate| (rate, Mutex::new(Window::new(rate.window, now)))),
            callers: Shards::new(MAX_CALLERS, Mutex::default()),
            flow: Flow::new(&settings),
            notes: Notes::new(),
            settings,
        }
    }

    /// Keeps the share of requests that is let in up to date for as long as it is polled. Without it
    /// nothing is refused for load.
    ///
    /// # Errors
    /// None; it never ends.
    pub async fn watch(self: Arc<Self>) -> Result<(), std::convert::Infallible> {
        match self.flow.watch().await {}
    }

    /// A request from this address, before its credential is looked at.
    ///
    /// # Errors
    /// [`Limit::AddressFailures`], [`Limit::Address`].
    pub(crate) fn address(&self, address: IpAddr) -> Result<(), Denied> {
        let failed = self
            .failures
            .as_ref()
            .map_or(Ok(()), |of| of.check(address));
        let asked = self.addresses.as_ref();
        match (failed, asked) {
            (Ok(()), None) => Ok(()),
            (Ok(()), Some(asked)) => asked
                .take(address)
                .map_err(|wait| Denied::new(Limit::Address, wait)),
            (Err(wait), asked) => {
                let also = asked.and_then(|asked| asked.check(address).err());
                let wait = also.map_or(wait, |also| wait.max(also));
                Err(Denied::new(Limit::AddressFailures, wait))
            }
        }
    }

    /// A wrong credential came from this address.
    pub(crate) fn failed(&self, address: IpAddr) {
        if let Some(failures) = &self.failures {
            failures.count(address);
        }
    }

    /// A request of this caller. `known`: whether callers are told apart at all; one who stands for
    /// everybody may have all requests in progress.
    ///
    /// # Errors
    /// [`Limit::Caller`], [`Limit::CallerInFlight`], [`Limit::Global`]; then nothing is counted.
    pub(crate) fn caller(
        &self,
        principal: &Principal,
        known: bool,
    ) -> Result<Option<InFlight>, Denied> {
        let rate = match &principal.tier {
            Some(tier) => self.settings.callers.of(tier),
            None => self.settings.callers.any,
        };
        if !known && rate.is_none() && self.global.is_none() {
            return Ok(None);
        }
        let now = Instant::now();
        let key = self.callers.key((&principal.tenant, &principal.subject));
        let shared = self.callers.entry(key, now, Mutex::default);
        let mut caller = shared.lock();
        let mut denied = caller.check(rate, now).err();
        let mut global = self.global.as_ref().map(|(rate, one)| (rate, one.lock()));
        if let Some((rate, window)) = &mut global
            && let Err(wait) = window.check(rate.max_requests, now)
        {
            let all = Denied::new(Limit::Global, wait);
            denied = denied
                .filter(|of_caller| of_caller.retry_after >= wait)
                .or(Some(all));
        }
        if let Some(denied) = denied {
            return Err(denied);
        }
        if known && caller.in_flight >= self.settings.max_in_flight_per_caller {
            return Err(Denied::new(Limit::CallerInFlight, RETRY_IN_FLIGHT));
        }
        if let Some((_, window)) = &mut global {
            window.count();
        }
        if let Some(window) = &mut caller.window {
            window.count();
        }
        caller.in_flight += 1;
        drop((global, caller));
        Ok(Some(InFlight(shared)))
    }

    /// Brings the metrics up to date.
    pub(crate) fn show(&self, metrics: &Instruments) {
        let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let (in_flight, queued) = self.flow.extent();
        metrics.http_admitted.set(gauge(in_flight));
        metrics.http_queued.set(gauge(queued));
        metrics.http_admitted_share.set(self.flow.share());
        for (kind, known) in self.tracked() {
            metrics
                .limit_tracked
                .with_label_values(&[kind])
                .set(gauge(known));
        }
    }

    /// What the health page says of the limits.
    pub(crate) fn health(&self) -> Map<String, Value> {
        let (in_flight, queued) = self.flow.extent();
        let detail = json!({
            // Two gateways let twice as much in: there is no store that they share.
            "scope": "gateway",
            "sharedStore": false,
            "inFlight": in_flight,
            "maxInFlight": self.settings.max_in_flight,
            "queued": queued,
            "admittedShare": self.flow.share(),
        });
        match detail {
            Value::Object(detail) => detail,
            _ => Map::new(),
        }
    }

    /// How many addresses and callers are told apart now.
    pub(crate) fn tracked(&self) -> [(&'static str, usize); 3] {
        let of = |networks: &Option<ByNetwork>| networks.as_ref().map_or(0, ByNetwork::len);
        [
            ("address_failures", of(&self.failures)),
            ("address", of(&self.addresses)),
            ("caller", self.callers.len()),
        ]
    }
}

impl Caller {
    fn check(&mut self, rate: Option<Rate>, now: Instant) -> Result<(), Denied> {
        let Some(rate) = rate else {
            self.window = None;
            return Ok(());
        };
        // A window of another length starts anew: the caller has come into another tier.
        let kept = self
            .window
            .take()
            .filter(|kept| kept.length() == rate.window);
        self.window
            .insert(kept.unwrap_or_else(|| Window::new(rate.window, now)))
            .check(rate.max_requests, now)
            .map_err(|wait| Denied::new(Limit::Caller, wait))
    }
}

#[cfg(test)]
mod tests;
