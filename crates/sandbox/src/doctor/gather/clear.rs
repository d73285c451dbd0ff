//! Who can get at a daemon that is spoken to without TLS.

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::docker::Daemon;
use crate::doctor::checks::is_loopback;
use crate::doctor::facts::Clear;

/// How long all that is asked may take, and how long a name.
const ASK: Duration = Duration::from_secs(6);
const RESOLVE: Duration = Duration::from_secs(2);

/// Nothing for a daemon on this machine or with TLS, and where it cannot be found out.
pub(super) async fn clear(daemon: &Daemon) -> Option<Clear> {
    let address = daemon.address();
    let host = address.strip_prefix("tcp://")?;
    if host.ends_with(" with TLS") || is_loopback(host) {
        return None;
    }
    // It holds a whole request to make a container.
    let filter = timeout(ASK, Box::pin(daemon.filtered())).await.ok()?.ok()?;
    let found = timeout(RESOLVE, lookup_host(host)).await.ok()?.ok()?;
    let addresses: Vec<IpAddr> = found.map(|it| it.ip().to_canonical()).collect();
    Some(Clear {
        private: !addresses.is_empty() && addresses.iter().all(is_private),
        filter,
    })
}

/// Whether routers of the internet know no way there.
fn is_private(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => it.is_private() || it.is_link_local() || it.is_loopback(),
        IpAddr::V6(it) => it.is_unique_local() || it.is_unicast_link_local() || it.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks_are_told_from_others() {
        for (address, private) in [
            ("172.18.0.3", true),
            ("10.0.0.1", true),
            ("192.168.1.1", true),
            ("172.32.0.1", false),
            ("8.8.8.8", false),
            ("fd00::1", true),
            ("fe80::1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_private(&address.parse().unwrap()), private, "{address}");
        }
    }
}
