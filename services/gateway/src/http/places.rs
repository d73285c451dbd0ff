//! How many connections there may be: in all, and from one address, so that nobody alone can take
//! every place.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use telemetry::Metrics;
use tokio::time::Instant;

use super::addresses::{AddressRules, ClientAddress};

/// Between two lines in the log about connections that are turned away.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// The places, shared by the connections that hold them.
pub(super) struct Places {
    total: usize,
    per_address: usize,
    /// A proxy brings the connections of many.
    addresses: AddressRules,
    metrics: Arc<Metrics>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    count: usize,
    /// As large as there are connections at most.
    by_subscriber: HashMap<IpAddr, usize>,
    turned_away: u64,
    said: Option<Instant>,
}

/// The place of one connection; given back when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    subscriber: Option<IpAddr>,
}

impl Places {
    pub(super) fn new(
        (total, per_address): (usize, usize),
        addresses: AddressRules,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            total,
            per_address,
            addresses,
            metrics,
            open: Mutex::default(),
        })
    }

    /// A place for a connection from `peer`, unless there is none; that is counted and, now and
    /// then, logged.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let peer = peer.to_canonical();
        let alone = !self.addresses.trusts(peer);
        let subscriber = alone.then(|| ClientAddress(peer).subscriber());
        let mut open = self.open.lock();
        if open.count >= self.total {
            self.turn_away(&mut open, peer, "total", self.total);
            return None;
        }
        if let Some(subscriber) = subscriber {
            let held = open.by_subscriber.get(&subscriber).copied();
            if held.is_some_and(|held| held >= self.per_address) {
                self.turn_away(&mut open, peer, "address", self.per_address);
                return None;
            }
            *open.by_subscriber.entry(subscriber).or_default() += 1;
        }
        open.count += 1;
        self.metrics.http_connections.inc();
        Some(Place {
            places: Arc::clone(self),
            subscriber,
        })
    }

    /// Whoever floods us must not fill the log as well.
    fn turn_away(&self, open: &mut Open, peer: IpAddr, reason: &str, limit: usize) {
        let refused = &self.metrics.http_connections_refused;
        refused.with_label_values(&[reason]).inc();
        open.turned_away += 1;
        if open.said.is_some_and(|said| said.elapsed() < SAY_EVERY) {
            return;
        }
        open.said = Some(Instant::now());
        let count = std::mem::take(&mut open.turned_away);
        tracing::warn!(%peer, reason, limit, count, "connections are turned away");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.metrics.http_connections.dec();
        let mut open = self.places.open.lock();
        open.count -= 1;
        let Some(subscriber) = self.subscriber else {
            return;
        };
        if let Some(held) = open.by_subscriber.get_mut(&subscriber) {
            *held -= 1;
            if *held == 0 {
                open.by_subscriber.remove(&subscriber);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(total: usize, per_address: usize, proxies: &[&str]) -> Arc<Places> {
        let build = telemetry::BuildInfo {
            service: "gateway",
            version: "0",
            commit: "test",
        };
        let proxies: Vec<ipnet::IpNet> = proxies.iter().map(|net| net.parse().unwrap()).collect();
        let metrics = Arc::new(Metrics::new(build).unwrap());
        let addresses = AddressRules::new(&proxies, &[]);
        Places::new((total, per_address), addresses, metrics)
    }

    fn refused(places: &Places, reason: &str) -> u64 {
        let refused = &places.metrics.http_connections_refused;
        refused.with_label_values(&[reason]).get()
    }

    #[tokio::test]
    async fn one_address_cannot_take_all_places() {
        let places = places(5, 2, &["10.0.0.0/8"]);
        let take = |peer: &str| places.take(peer.parse().unwrap());
        let held = [take("192.0.2.1"), take("::ffff:192.0.2.1")];
        assert!(held.iter().all(Option::is_some));
        assert!(take("192.0.2.1").is_none());
        let other = take("192.0.2.2");
        assert!(other.is_some());
        // A whole /64 counts as one.
        let of_64 = [take("2001:db8::1"), take("2001:db8::2")];
        assert!(of_64.iter().all(Option::is_some));
        assert!(take("192.0.2.3").is_none(), "all five are taken");
        assert_eq!(places.metrics.http_connections.get(), 5);
        assert_eq!(
            (refused(&places, "address"), refused(&places, "total")),
            (1, 1)
        );
        drop(of_64);
        let through = [take("10.0.0.1"), take("10.0.0.1")];
        assert!(through.iter().all(Option::is_some));
        drop((held, other, through));
        assert_eq!(places.metrics.http_connections.get(), 0);
        assert!(places.open.lock().by_subscriber.is_empty());
        // A proxy has as many as there are.
        let through: Vec<_> = (0..6).map(|_| take("10.0.0.1")).collect();
        assert_eq!(through.iter().flatten().count(), 5);
    }
}
