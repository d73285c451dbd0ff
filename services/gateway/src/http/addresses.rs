//! The address that a request comes from, and whether it may come from there.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::middleware::Next;
use domain::ErrorCode;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use ipnet::IpNet;

use super::audited::Audited;
use super::{Edge, refuse};
use crate::mcp::Refusal;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of whoever sent a request: the peer of the connection, or behind trusted proxies the
/// rightmost hop that is none of them. An IPv4 address is never in its IPv6 form. In the extensions
/// of every request that came over a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

impl ClientAddress {
    /// What one customer of a network usually has all of, for counting by address: the address
    /// itself, of an IPv6 address its /64.
    pub(crate) fn subscriber(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(_) => self.0,
            IpAddr::V6(address) => {
                let network = address.to_bits() & (u128::MAX << 64);
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
        }
    }
}

/// The rules of `MCP_HTTP_TRUSTED_PROXIES` and `MCP_HTTP_ALLOWED_IPS`.
#[derive(Debug, Clone, Default)]
pub struct AddressRules {
    trusted: Arc<[IpNet]>,
    allowed: Arc<[IpNet]>,
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Known(IpAddr),
    /// This proxy names somebody in a way that cannot be read.
    Unclear(IpAddr),
}

impl AddressRules {
    /// `trusted`: the proxies whose `X-Forwarded-For` counts, none of them when it is empty.
    /// `allowed`: who may come, everybody when it is empty. No network in either is an IPv4 one in
    /// IPv6 form.
    #[must_use]
    pub fn new(trusted: &[IpNet], allowed: &[IpNet]) -> Self {
        Self {
            trusted: trusted.into(),
            allowed: allowed.into(),
        }
    }

    /// Whether this peer is one of our proxies.
    pub(super) fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|proxies| proxies.contains(&peer))
    }

    /// Walks `X-Forwarded-For` from the right for as long as the hops are ours: each proxy appends
    /// who came to it, so what is left of the first stranger is only what that stranger says.
    fn origin(&self, peer: IpAddr, headers: &HeaderMap) -> Origin {
        let mut nearest = peer.to_canonical();
        if !self.trusts(nearest) {
            return Origin::Known(nearest);
        }
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        for hop in lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
            match address(hop) {
                Some(hop) if self.trusts(hop) => nearest = hop,
                Some(hop) => return Origin::Known(hop),
                None => return Origin::Unclear(nearest),
            }
        }
        Origin::Known(nearest)
    }

    fn allows(&self, origin: Option<Origin>) -> bool {
        let within = |address| self.allowed.iter().any(|some| some.contains(&address));
        match origin {
            _ if self.allowed.is_empty() => true,
            Some(Origin::Known(address)) => within(address),
            // Whoever it is, it is not the proxy.
            Some(Origin::Unclear(_)) | None => false,
        }
    }
}

impl Origin {
    fn nearest(self) -> IpAddr {
        match self {
            Origin::Known(address) | Origin::Unclear(address) => address,
        }
    }
}

/// One hop: an address, with a port where the proxy adds one.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']'));
    let address = match hop.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => match bare {
            Some(bare) => IpAddr::V6(bare.parse().ok()?),
            None => hop.parse::<SocketAddr>().ok()?.ip(),
        },
    };
    Some(address.to_canonical())
}

pub(super) async fn layer(
    State(edge): State<Arc<Edge>>,
    mut request: Request<Body>,
    next: Next,
) -> Response<Body> {
    let rules = &edge.settings.addresses;
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let origin = peer.map(|ConnectInfo(peer)| rules.origin(peer.ip(), request.headers()));
    if let Some(origin) = origin {
        let client = ClientAddress(origin.nearest());
        request.extensions_mut().insert(client);
    }
    // Whoever probes comes from addresses that the operator may not know, and learns one word.
    let probe = matches!(request.uri().path(), "/livez" | "/readyz");
    if probe || rules.allows(origin) {
        return next.run(request).await;
    }
    let decisions = &edge.metrics.auth_decisions;
    decisions
        .with_label_values(&["address", "not_allowed"])
        .inc();
    if let Some(audited) = Audited::of(&edge.settings.audit, &request) {
        audited.denied(("address", "not_allowed"), StatusCode::FORBIDDEN, None);
    }
    let message = "requests from this address are not allowed (MCP_HTTP_ALLOWED_IPS)";
    let refusal = Refusal::http(StatusCode::FORBIDDEN, ErrorCode::PermissionDenied, message);
    refuse(&refusal, &request)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn nets(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|net| net.parse().unwrap()).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn from(rules: &AddressRules, peer: &str, lines: &[&[u8]]) -> Origin {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line).unwrap());
        }
        rules.origin(ip(peer), &headers)
    }

    #[test]
    fn without_trusted_proxies_nobody_is_believed() {
        let rules = AddressRules::default();
        for lines in [&[][..], &[&b"1.2.3.4"[..]], &[b"127.0.0.1, 10.0.0.1"]] {
            let found = from(&rules, "198.51.100.7", lines);
            assert_eq!(found, Origin::Known(ip("198.51.100.7")));
        }
        let mapped = from(&rules, "::ffff:198.51.100.7", &[]);
        assert_eq!(mapped, Origin::Known(ip("198.51.100.7")));
    }

    #[test]
    fn row_27_the_rightmost_stranger_is_the_client() {
        let rules = AddressRules::new(&nets(&["10.0.0.0/8", "fd00::/8"]), &[]);
        let known = |address| Origin::Known(ip(address));
        for (lines, wanted) in [
            (&[][..], known("10.0.0.1")),
            (&[&b"203.0.113.9"[..]], known("203.0.113.9")),
            // What the client itself sent stands left of what our proxy added.
            (&[b"127.0.0.1, 203.0.113.9"], known("203.0.113.9")),
            (&[b"10.9.9.9, 203.0.113.9"], known("203.0.113.9")),
            (&[b"203.0.113.9, 10.0.0.2"], known("203.0.113.9")),
            (&[b"203.0.113.9, fd00::1 , 10.0.0.2"], known("203.0.113.9")),
            (&[b"1.1.1.1", b"203.0.113.9"], known("203.0.113.9")),
            (
                &[b"203.0.113.9", b"10.0.0.2,10.0.0.3"],
                known("203.0.113.9"),
            ),
            (&[b"10.0.0.4, 10.0.0.3"], known("10.0.0.4")),
            (&[b"::ffff:203.0.113.9"], known("203.0.113.9")),
            (&[b"::ffff:10.0.0.2"], known("10.0.0.2")),
            (&[b"203.0.113.9:4711"], known("203.0.113.9")),
            (&[b"[2001:db8::9]:4711"], known("2001:db8::9")),
            (&[b"[2001:db8::9]"], known("2001:db8::9")),
            (&[b"2001:db8::9"], known("2001:db8::9")),
            (&[b"203.0.113.9, unknown"], Origin::Unclear(ip("10.0.0.1"))),
            (&[b"203.0.113.9, "], Origin::Unclear(ip("10.0.0.1"))),
            (&[b"203.0.113.9, \xff"], Origin::Unclear(ip("10.0.0.1"))),
            (
                &[b"203.0.113.9, 10.0.0.7, x"],
                Origin::Unclear(ip("10.0.0.1")),
            ),
            (&[b"x, 10.0.0.7"], Origin::Unclear(ip("10.0.0.7"))),
            (&[b"[203.0.113.9]"], Origin::Unclear(ip("10.0.0.1"))),
            (&[b"0x7f.1"], Origin::Unclear(ip("10.0.0.1"))),
            (&[b"127.1"], Origin::Unclear(ip("10.0.0.1"))),
        ] {
            assert_eq!(from(&rules, "10.0.0.1", lines), wanted, "{lines:?}");
        }
        let spoofed = from(&rules, "198.51.100.7", &[b"10.0.0.1"]);
        assert_eq!(spoofed, known("198.51.100.7"));
    }

    #[test]
    fn an_allow_list_lets_in_whom_it_names() {
        let rules = AddressRules::new(&[], &nets(&["192.0.2.0/24", "2001:db8::/32"]));
        for (origin, allowed) in [
            (Some(Origin::Known(ip("192.0.2.77"))), true),
            (Some(Origin::Known(ip("192.0.3.1"))), false),
            (Some(Origin::Known(ip("2001:db8:1::1"))), true),
            (Some(Origin::Known(ip("2001:db9::1"))), false),
            (Some(Origin::Unclear(ip("192.0.2.77"))), false),
            (None, false),
        ] {
            assert_eq!(rules.allows(origin), allowed, "{origin:?}");
        }
        assert!(AddressRules::default().allows(None));
    }

    #[test]
    fn one_customer_is_a_64_of_ipv6() {
        let subscriber = |text| ClientAddress(ip(text)).subscriber();
        assert_eq!(subscriber("203.0.113.9"), ip("203.0.113.9"));
        assert_eq!(subscriber("2001:db8:1:2:3:4:5:6"), ip("2001:db8:1:2::"));
        assert_eq!(subscriber("2001:db8:1:2::"), ip("2001:db8:1:2::"));
    }
}
