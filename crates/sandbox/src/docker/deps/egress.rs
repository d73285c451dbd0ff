//! Where an install may connect to: the registry and the hosts of its files, and nowhere else. Names
//! are resolved here and once, so that what was allowed is what is connected to.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// How long a name may take to be resolved, and one address to be connected to.
const LOOKUP: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(10);
/// Hosts of files that an index may name.
const FILE_HOSTS: usize = 4;
/// Refused places that are kept for the message.
const REFUSED: usize = 8;

/// A host and a port, in lower case.
type Place = (String, u16);

/// What one install may reach, and what it did.
#[derive(Debug)]
pub(super) struct Egress {
    /// The registry. Its own configuration may be on a private address.
    registry: Place,
    is_configured: bool,
    files: Mutex<Vec<Place>>,
    pinned: tokio::sync::Mutex<HashMap<Place, Vec<SocketAddr>>>,
    refused: Mutex<BTreeSet<String>>,
    received: AtomicU64,
    most: u64,
}

impl Egress {
    /// To a registry that configuration names, or that the package manager takes by itself.
    pub(super) fn new(registry: Place, is_configured: bool, most: u64) -> Self {
        Self {
            registry,
            is_configured,
            files: Mutex::default(),
            pinned: tokio::sync::Mutex::default(),
            refused: Mutex::default(),
            received: AtomicU64::new(0),
            most,
        }
    }

    /// Also to these hosts, where the index keeps its files. Some of them, at public addresses.
    pub(super) fn allow_files(&self, places: impl IntoIterator<Item = String>) {
        let mut files = self.files.lock();
        for text in places {
            match parse(&text) {
                Some(place) if files.len() < FILE_HOSTS => files.push(place),
                _ => tracing::warn!("an index names more hosts of files than are allowed"),
            }
        }
    }

    /// Connects, if that is allowed.
    ///
    /// # Errors
    /// A sentence for the package manager's output.
    pub(super) async fn connect(&self, text: &str) -> Result<TcpStream, String> {
        let place = parse(text).filter(|place| {
            *place == self.registry || self.files.lock().iter().any(|file| file == place)
        });
        let Some(place) = place else {
            let shown: String = text.chars().filter(|c| !c.is_control()).take(100).collect();
            tracing::warn!(host = shown, "an install was refused a connection");
            let mut refused = self.refused.lock();
            if refused.len() < REFUSED {
                refused.insert(shown.clone());
            }
            return Err(format!("{shown} is not the package registry"));
        };
        let addresses = self.addresses(&place).await?;
        for address in addresses {
            if let Ok(Ok(stream)) = timeout(CONNECT, TcpStream::connect(address)).await {
                drop(stream.set_nodelay(true));
                return Ok(stream);
            }
        }
        Err(format!("{} cannot be reached", place.0))
    }

    async fn addresses(&self, place: &Place) -> Result<Vec<SocketAddr>, String> {
        let mut pinned = self.pinned.lock().await;
        if let Some(known) = pinned.get(place) {
            return Ok(known.clone());
        }
        let found = timeout(LOOKUP, lookup_host((place.0.as_str(), place.1))).await;
        let Ok(Ok(found)) = found else {
            return Err(format!("{} has no address", place.0));
        };
        // An administrator may keep a registry where nobody else gets to; a registry may not send
        // us there.
        let anywhere = self.is_configured && place.0 == self.registry.0;
        let kept: Vec<SocketAddr> = found
            .filter(|address| anywhere || is_public(address.ip()))
            .take(4)
            .collect();
        if kept.is_empty() {
            tracing::warn!(host = place.0, "a host of packages is at a private address");
            return Err(format!("{} is not at a public address", place.0));
        }
        pinned.insert(place.clone(), kept.clone());
        Ok(kept)
    }

    /// Counts what came; says whether that is still allowed.
    pub(super) fn count(&self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        self.received.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.most
    }

    /// Whether more came than was allowed.
    pub(super) fn is_exceeded(&self) -> bool {
        self.received.load(Ordering::Relaxed) > self.most
    }

    /// Where it was not let through to.
    pub(super) fn refused(&self) -> Vec<String> {
        self.refused.lock().iter().cloned().collect()
    }

    /// Bytes that came.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// `host:port`, also with an IPv6 address in brackets.
fn parse(text: &str) -> Option<Place> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None => host,
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_:".contains(&b);
    let good = (1..=253).contains(&host.len()) && host.bytes().all(plain);
    let port = port.parse().ok().filter(|port| *port != 0)?;
    good.then(|| (host.trim_end_matches('.').to_ascii_lowercase(), port))
}

/// Whether an address is one that anybody could be at.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match address.to_ipv4() {
            // Also `::1` and `::`, which are no public IPv4 address.
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_unspecified()
        || address.is_broadcast()
        || address.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b)))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // 2000::/3 without the ranges that carry an IPv4 address inside of them.
    let nat64 = segments[0] == 0x64 && segments[1] == 0xff9b;
    let six_to_four = segments[0] == 0x2002;
    let teredo = segments[0] == 0x2001 && segments[1] == 0;
    segments[0] & 0xe000 == 0x2000 && !nat64 && !six_to_four && !teredo
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn place(host: &str, port: u16) -> Place {
        (host.to_owned(), port)
    }

    #[test]
    fn fault_65_private_addresses_are_told_in_every_spelling() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.0.1",
            "198.18.0.1",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2001:0:1::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["1.1.1.1", "203.0.113.80", "2606:4700::1", "::ffff:1.1.1.1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[tokio::test]
    async fn fault_65_only_the_registry_is_reached_and_a_private_one_only_when_configured() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let at = |host: &str| format!("{host}:{port}");
        let configured = Egress::new(place("127.0.0.1", port), true, 10);
        configured.connect(&at("127.0.0.1")).await.unwrap();
        for other in [
            "localhost",
            "127.0.0.2",
            "127.1",
            "[::1]",
            "169.254.169.254",
        ] {
            let error = configured.connect(&at(other)).await.unwrap_err();
            assert!(error.contains("not the package registry"), "{error}");
        }
        for odd in [
            "127.0.0.1",
            "127.0.0.1:0",
            ":1",
            "a b:1",
            "x\r\ny:1",
            "127.0.0.1:99999",
            "",
        ] {
            configured.connect(odd).await.unwrap_err();
        }
        assert_eq!(configured.refused().len(), 8, "bounded");
        // What an index says does not open the machine itself.
        configured.allow_files([at("localhost")]);
        let error = configured.connect(&at("localhost")).await.unwrap_err();
        assert!(error.contains("not at a public address"), "{error}");
        // Nor does what an image takes for its registry.
        let by_itself = Egress::new(place("127.0.0.1", port), false, 10);
        by_itself.connect(&at("127.0.0.1")).await.unwrap_err();
        assert!(configured.count(10) && !configured.count(1));
    }

    #[tokio::test]
    async fn fault_65_an_index_cannot_open_many_hosts() {
        let egress = Egress::new(place("index.invalid", 443), true, 1);
        egress.allow_files((0..9).map(|number| format!("files-{number}.invalid:443")));
        assert!(
            egress
                .connect("files-3.invalid:443")
                .await
                .unwrap_err()
                .contains("no address")
        );
        let error = egress.connect("files-4.invalid:443").await.unwrap_err();
        assert!(error.contains("not the package registry"), "{error}");
    }
}
