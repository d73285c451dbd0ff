//! How often each of many names came within a window.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bootstrap::config::Rate;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::shards::{Idle, Shards};
use super::window::Window;

/// Most networks that are told apart, and most wide ones.
const MAX_NETWORKS: (usize, usize) = (32_768, 4_096);

impl Idle for Mutex<Window> {
    fn is_idle(&self, now: Instant) -> bool {
        self.lock().is_idle(now)
    }
}

/// A rate for each of many names. Names beyond the most that are told apart are not limited.
#[derive(Debug)]
pub(crate) struct Counted {
    rate: Rate,
    names: Shards<Mutex<Window>>,
}

impl Counted {
    /// For at most about `most` names at once.
    pub(crate) fn new(rate: Rate, most: usize) -> Self {
        let unused = Mutex::new(Window::new(rate.window, Instant::now()));
        Self {
            rate,
            names: Shards::new(most, unused),
        }
    }

    /// Whether the name has something left of its rate. Nothing is counted.
    ///
    /// # Errors
    /// How long until it has.
    pub(crate) fn check(&self, name: impl Hash) -> Result<(), Duration> {
        if self.names.is_unused() {
            return Ok(());
        }
        let known = self.names.find(self.names.key(name));
        known.map_or(Ok(()), |window| {
            window.lock().check(self.rate.max_requests, Instant::now())
        })
    }

    /// Counts one, as far as one fits. Says whether the name is told apart.
    pub(crate) fn count(&self, name: impl Hash) -> bool {
        self.take(name).is_some()
    }

    /// Counts one if one fits, and says how long until one does if not. `None` when the name is not
    /// told apart.
    fn take(&self, name: impl Hash) -> Option<Result<(), Duration>> {
        let now = Instant::now();
        let window = self.window(name, now)?;
        let mut window = window.lock();
        let fits = window.check(self.rate.max_requests, now);
        if fits.is_ok() {
            window.count();
        }
        Some(fits)
    }

    fn window(&self, name: impl Hash, now: Instant) -> Option<Arc<Mutex<Window>>> {
        let make = || Mutex::new(Window::new(self.rate.window, now));
        self.names.own(self.names.key(name), now, make)
    }

    /// How many names are told apart now.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }
}

/// A rate for each address. Of IPv6 a whole /64 counts as one: that is what a provider gives to a
/// customer. While there are more than can be told apart, the new ones are counted by a wider
/// network (/16, of IPv6 /32), so that a flood from many addresses is at the cost of its own
/// neighbours only.
#[derive(Debug)]
pub(crate) struct ByNetwork {
    each: Counted,
    wide: Counted,
}

impl ByNetwork {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            each: Counted::new(rate, MAX_NETWORKS.0),
            wide: Counted::new(rate, MAX_NETWORKS.1),
        }
    }

    /// As [`Counted::check`].
    pub(crate) fn check(&self, address: IpAddr) -> Result<(), Duration> {
        self.each.check(network(address, 32, 64))?;
        self.wide.check(network(address, 16, 32))
    }

    /// As [`Counted::count`].
    pub(crate) fn count(&self, address: IpAddr) {
        if !self.each.count(network(address, 32, 64)) {
            self.wide.count(network(address, 16, 32));
        }
    }

    /// Counts one if one fits.
    ///
    /// # Errors
    /// How long until one does.
    pub(crate) fn take(&self, address: IpAddr) -> Result<(), Duration> {
        let each = self.each.take(network(address, 32, 64));
        each.or_else(|| self.wide.take(network(address, 16, 32)))
            .unwrap_or(Ok(()))
    }

    /// How many networks are told apart now.
    pub(crate) fn len(&self) -> usize {
        self.each.len() + self.wide.len()
    }
}

/// The first bits of an address, of IPv4 and of IPv6.
fn network(address: IpAddr, v4: u32, v6: u32) -> (bool, u128) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let bits = u32::from(address);
            (false, u128::from(bits >> (32 - v4)))
        }
        IpAddr::V6(address) => (true, u128::from(address) >> (128 - v6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn one_customer_of_ipv6_is_one_address() {
        let rate = Rate {
            max_requests: 1,
            window: Duration::from_secs(60),
        };
        let networks = ByNetwork::new(rate);
        networks.take(address("2001:db8:1:2::1")).unwrap();
        networks.take(address("2001:db8:1:2:ffff::9")).unwrap_err();
        networks.take(address("2001:db8:1:3::1")).unwrap();
        networks.take(address("192.0.2.1")).unwrap();
        networks.take(address("::ffff:192.0.2.1")).unwrap_err();
        networks.take(address("192.0.2.2")).unwrap();
        assert_eq!(networks.len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_from_many_networks_is_at_the_cost_of_its_neighbours() {
        let rate = Rate {
            max_requests: 2,
            window: Duration::from_secs(60),
        };
        let networks = ByNetwork::new(rate);
        for n in 0..100_000_u32 {
            networks.count(address(&format!("2001:db8:{:x}:{:x}::1", n >> 8, n & 255)));
        }
        assert!(networks.len() <= MAX_NETWORKS.0 + 1, "{}", networks.len());
        networks.check(address("2001:db8:ffff::1")).unwrap_err();
        networks.check(address("2001:db9::1")).unwrap();
        networks.check(address("192.0.2.1")).unwrap();
        networks.count(address("192.0.2.1"));
        networks.count(address("192.0.2.1"));
        networks.check(address("192.0.3.1")).unwrap_err();
        networks.check(address("198.51.100.1")).unwrap();
        tokio::time::advance(Duration::from_secs(63)).await;
        networks.check(address("2001:db8:ffff::1")).unwrap();
    }
}
