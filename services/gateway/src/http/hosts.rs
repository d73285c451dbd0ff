//! Which `Host` and `Origin` a request may carry.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use domain::ErrorCode;
use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Request, Response, StatusCode, Uri};

use super::{Edge, refuse};
use crate::mcp::Refusal;

/// The rules of `MCP_HTTP_ALLOWED_HOSTS` and `MCP_HTTP_ALLOWED_ORIGINS`.
#[derive(Debug, Clone, Default)]
pub struct HostRules {
    loopback: bool,
    hosts: Vec<Name>,
    origins: Vec<String>,
}

/// A rule that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule:?} is not {wanted}")]
pub struct BadRule {
    rule: String,
    wanted: &'static str,
}

/// A host name, lower-case, with a port where one is named.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    host: String,
    port: Option<u16>,
}

impl HostRules {
    /// `loopback`: the listener is bound to a loopback address, so that only loopback names and
    /// what is listed are served. Elsewhere every host is served unless some are listed, and an
    /// origin has to be the host itself or listed.
    ///
    /// # Errors
    /// For an entry that is no `host` or `host:port`, or no `scheme://host[:port]`.
    pub fn new(loopback: bool, hosts: &[String], origins: &[String]) -> Result<Self, BadRule> {
        let bad = |rule: &str, wanted| BadRule {
            rule: rule.to_owned(),
            wanted,
        };
        let hosts = hosts
            .iter()
            .map(|rule| Name::parse(rule).ok_or_else(|| bad(rule, "a host or host:port")))
            .collect::<Result<_, _>>()?;
        let origins = origins
            .iter()
            .map(|rule| match rule.to_ascii_lowercase() {
                null if null == "null" => Ok(null),
                rule if origin(&rule).is_some() => Ok(rule.trim_end_matches('/').to_owned()),
                rule => Err(bad(&rule, "an origin like https://app.example.com")),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            loopback,
            hosts,
            origins,
        })
    }

    /// Checks one request.
    fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
        let host = self.host(headers, uri)?;
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(given) = origins.next() else {
            return Ok(());
        };
        let given = given.to_str().unwrap_or_default().to_ascii_lowercase();
        let allowed = origins.next().is_none()
            && (self.origins.contains(&given)
                || origin(&given).is_some_and(|origin| {
                    if self.loopback {
                        origin.is_loopback()
                    } else {
                        origin.is_same(&host, &given)
                    }
                }));
        if allowed {
            Ok(())
        } else {
            Err(forbidden("this Origin is not allowed"))
        }
    }

    fn host(&self, headers: &HeaderMap, uri: &Uri) -> Result<Name, Refusal> {
        let bad = |message: &'static str| {
            Refusal::http(StatusCode::BAD_REQUEST, ErrorCode::InvalidArgument, message)
        };
        let mut hosts = headers.get_all(HOST).iter();
        let given = match (hosts.next(), hosts.next(), uri.authority()) {
            (Some(_), Some(_), _) => return Err(bad("the header Host is there twice")),
            // Whoever is in front may have gone by the other one.
            (Some(host), None, Some(authority)) if host != authority.as_str() => {
                return Err(bad("the header Host and the URI name different hosts"));
            }
            (Some(host), None, _) => host.to_str().unwrap_or_default(),
            (None, _, Some(authority)) => authority.as_str(),
            (None, _, None) => return Err(bad("the header Host is missing")),
        };
        let host = Name::parse(given).ok_or_else(|| bad("the header Host cannot be read"))?;
        let listed = self.hosts.iter().any(|rule| {
            rule.host == host.host && rule.port.is_none_or(|port| Some(port) == host.port)
        });
        let allowed = listed
            || if self.loopback {
                host.is_loopback()
            } else {
                self.hosts.is_empty()
            };
        if allowed {
            Ok(host)
        } else {
            Err(forbidden("this Host is not allowed"))
        }
    }
}

fn forbidden(message: &'static str) -> Refusal {
    Refusal::http(StatusCode::FORBIDDEN, ErrorCode::PermissionDenied, message)
}

impl Name {
    /// `None` for user info, an empty name, or a port that is no port.
    fn parse(text: &str) -> Option<Self> {
        let authority = text.parse::<Authority>().ok()?;
        let host = authority.host();
        let rest = authority.as_str().strip_prefix(host)?;
        if host.is_empty() {
            return None;
        }
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(port.parse().ok()?)
            }
            _ => return None,
        };
        Some(Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    fn is_loopback(&self) -> bool {
        let address = self.host.trim_start_matches('[').trim_end_matches(']');
        self.host == "localhost" || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Whether an origin with this name is of the same host and port as the request. A `Host`
    /// without a port is on the default one of the origin's scheme.
    fn is_same(&self, host: &Name, origin: &str) -> bool {
        let default = if origin.starts_with("https:") {
            443
        } else {
            80
        };
        self.host == host.host && self.port.unwrap_or(default) == host.port.unwrap_or(default)
    }
}

/// The name in `scheme://host[:port]`; `None` for anything else.
fn origin(text: &str) -> Option<Name> {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))?;
    Name::parse(rest.strip_suffix('/').unwrap_or(rest))
}

pub(super) async fn layer(
    State(edge): State<Arc<Edge>>,
    request: Request<Body>,
    next: Next,
) -> Response<Body> {
    // Probes and scrapers call by address.
    let path = request.uri().path();
    let exempt =
        matches!(path, "/livez" | "/readyz" | "/metrics") || path == edge.settings.health_path;
    if exempt {
        return next.run(request).await;
    }
    match edge.settings.hosts.check(request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refuse(&refusal, &request),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(rules: &HostRules, headers: &[(http::HeaderName, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().unwrap());
        }
        rules
            .check(&map, &Uri::from_static("/mcp"))
            .map_or_else(|r| r.status.as_u16(), |()| 200)
    }

    #[test]
    fn on_loopback_only_loopback_names_are_served() {
        let rules = HostRules::new(true, &["gw.test:8080".to_owned()], &[]).unwrap();
        for (host, expected) in [
            ("localhost", 200),
            ("LOCALHOST:9", 200),
            ("127.0.0.1:8788", 200),
            ("[::1]:8788", 200),
            ("gw.test:8080", 200),
            ("gw.test:8081", 403),
            ("evil.example.com", 403),
            ("localhost.evil.example.com", 403),
            ("localhost:abc", 400),
            ("localhost:99999", 400),
            ("user@localhost", 400),
            ("", 400),
        ] {
            assert_eq!(status(&rules, &[(HOST, host)]), expected, "{host}");
        }
        assert_eq!(status(&rules, &[]), 400);
        assert_eq!(
            status(&rules, &[(HOST, "localhost"), (HOST, "localhost")]),
            400
        );
    }

    /// A URI with a host, or `:authority` of HTTP/2, beside a `Host` that says something else.
    #[test]
    fn the_uri_and_the_header_name_one_host() {
        let rules = HostRules::new(true, &[], &[]).unwrap();
        let verdict = |uri: &str, host: Option<&str>| {
            let mut map = HeaderMap::new();
            if let Some(host) = host {
                map.append(HOST, host.parse().unwrap());
            }
            let checked = rules.check(&map, &uri.parse().unwrap());
            checked.map_or_else(|r| r.status.as_u16(), |()| 200)
        };
        assert_eq!(verdict("http://localhost/mcp", Some("localhost")), 200);
        assert_eq!(verdict("http://localhost/mcp", None), 200);
        assert_eq!(verdict("http://evil.test/mcp", Some("localhost")), 400);
        assert_eq!(verdict("http://localhost/mcp", Some("evil.test")), 400);
        assert_eq!(verdict("http://evil.test/mcp", None), 403);
    }

    #[test]
    fn on_loopback_only_loopback_origins_are_served() {
        let listed = ["https://app.example.com".to_owned()];
        let rules = HostRules::new(true, &[], &listed).unwrap();
        for (given, expected) in [
            ("http://localhost:3000", 200),
            ("http://127.0.0.1", 200),
            ("http://[::1]:1", 200),
            ("https://app.example.com", 200),
            ("https://app.example.com:444", 403),
            ("http://evil.example.com", 403),
            ("http://localhost.evil.example.com", 403),
            ("http://localhost@evil.example.com", 403),
            ("http://localhost/../evil", 403),
            ("http://localhost:port", 403),
            ("file://localhost", 403),
            ("null", 403),
            ("", 403),
        ] {
            assert_eq!(
                status(&rules, &[(HOST, "localhost"), (ORIGIN, given)]),
                expected,
                "{given}"
            );
        }
    }

    #[test]
    fn elsewhere_an_origin_is_the_host_itself() {
        let rules = HostRules::new(false, &[], &[]).unwrap();
        let verdict = |host, origin| status(&rules, &[(HOST, host), (ORIGIN, origin)]);
        assert_eq!(verdict("gw.example.com", "https://gw.example.com"), 200);
        assert_eq!(
            verdict("gw.example.com:8443", "https://gw.example.com:8443"),
            200
        );
        assert_eq!(verdict("gw.example.com:443", "https://gw.example.com"), 200);
        assert_eq!(verdict("gw.example.com", "https://gw.example.com:444"), 403);
        assert_eq!(verdict("gw.example.com", "https://example.com"), 403);
        assert_eq!(status(&rules, &[(HOST, "anything.at.all")]), 200);
    }

    #[test]
    fn rules_that_cannot_be_read_are_named() {
        let bad = HostRules::new(true, &["http://x".to_owned()], &[]).unwrap_err();
        assert_eq!(bad.to_string(), "\"http://x\" is not a host or host:port");
        assert!(HostRules::new(true, &[], &["app.example.com".to_owned()]).is_err());
        assert!(HostRules::new(true, &[], &["null".to_owned()]).is_ok());
    }
}
