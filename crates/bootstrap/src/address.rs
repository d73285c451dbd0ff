//! Where a service listens and where it finds another: `127.0.0.1:50051`, `unix:/run/x.sock`,
//! `http://registry:50051`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP port on an address or a host name.
    Tcp {
        /// IP address (IPv6 without brackets) or host name.
        host: String,
        /// Port; 0 takes any free one.
        port: u16,
    },
    /// A Unix socket, made with mode 0600.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Reads `host:port`, `[v6]:port` or `unix:/absolute/path`.
    ///
    /// # Errors
    /// Says which form is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected =
            || String::from("is not `host:port`, `[ipv6]:port` or `unix:/absolute/path`");
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') {
                Ok(Self::Unix(PathBuf::from(path)))
            } else {
                Err(expected())
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
        let port = port.parse().map_err(|_| expected())?;
        let host = match host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            Some(inner) => inner
                .parse::<Ipv6Addr>()
                .map_err(|_| expected())?
                .to_string(),
            None if host.is_empty() || host.contains(':') || host.contains('/') => {
                return Err(expected());
            }
            None => host.to_owned(),
        };
        Ok(Self::Tcp { host, port })
    }

    /// Whether only this machine can connect: a Unix socket or a loopback address.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp { host, .. } => is_loopback(host),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => f.write_str(&authority(host, *port)),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `host:port` with brackets where the host is an IPv6 address.
#[must_use]
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Whether a host names this machine only. Any name but `localhost` counts as another machine:
/// what it resolves to may change.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => v6.to_canonical().is_loopback(),
        Ok(IpAddr::V4(v4)) => v4.is_loopback(),
        Err(_) => false,
    }
}

/// How to reach another service over gRPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceUrl {
    /// `http://host:port` or `https://host:port`.
    Http(String),
    /// `dns+http://name:port` or `dns+https://name:port`: every address of the name is a replica (a headless Service).
    Dns {
        /// The name to resolve.
        host: String,
        /// Port of every replica.
        port: u16,
        /// Whether the replicas speak TLS.
        tls: bool,
    },
    /// `unix:/absolute/path`.
    Unix(PathBuf),
}

impl ServiceUrl {
    /// Reads one of the three forms, the first two also with `https`.
    ///
    /// # Errors
    /// Says which forms exist.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::read(
            text,
            "is not `https://host:port`, `dns+https://name:port` (or either with http) or \
             `unix:/absolute/path`",
        )
    }

    /// Reads the URL of one service: all forms but `dns+`, which means many.
    ///
    /// # Errors
    /// Says which forms exist.
    pub fn parse_one(text: &str) -> Result<Self, String> {
        if text.starts_with("dns+") {
            return Err(String::from(
                "begins with `dns+`, which means every address of a name, and this is one service",
            ));
        }
        Self::read(
            text,
            "is not `https://host:port` (or with http) or `unix:/absolute/path`",
        )
    }

    fn read(text: &str, expected: &str) -> Result<Self, String> {
        let expected = || expected.to_owned();
        if text.starts_with("unix:") {
            return match ListenAddress::parse(text).map_err(|_| expected())? {
                ListenAddress::Unix(path) => Ok(Self::Unix(path)),
                ListenAddress::Tcp { .. } => Err(expected()),
            };
        }
        let (dns, plain) = match text.strip_prefix("dns+") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let url = url::Url::parse(plain).map_err(|_| expected())?;
        let rooted = matches!(url.path(), "" | "/") && url.query().is_none();
        let (Some(host), true, scheme @ ("http" | "https")) =
            (url.host_str(), rooted, url.scheme())
        else {
            return Err(expected());
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(String::from("must not hold a user name or password"));
        }
        let port = url.port_or_known_default().ok_or_else(expected)?;
        if dns {
            return Ok(Self::Dns {
                host: host.to_owned(),
                port,
                tls: scheme == "https",
            });
        }
        Ok(Self::Http(format!("{scheme}://{host}:{port}")))
    }

    /// Whether the other end speaks TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Http(url) => url.starts_with("https:"),
            Self::Dns { tls, .. } => *tls,
            Self::Unix(_) => false,
        }
    }

    /// Whether the other end is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Http(url) => url::Url::parse(url)
                .ok()
                .and_then(|url| url.host_str().map(is_loopback))
                .unwrap_or(false),
            Self::Dns { host, .. } => is_loopback(host),
            Self::Unix(_) => true,
        }
    }

    /// The path of a Unix socket.
    #[must_use]
    pub fn unix_path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Http(_) | Self::Dns { .. } => None,
        }
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => f.write_str(url),
            Self::Dns { host, port, tls } => {
                let scheme = if *tls { "https" } else { "http" };
                write!(f, "dns+{scheme}://{}", authority(host, *port))
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_print_as_they_are_written() {
        for text in [
            "127.0.0.1:50051",
            "[::1]:0",
            "registry:1",
            "unix:/run/dynamic mcp.sock",
        ] {
            assert_eq!(ListenAddress::parse(text).unwrap().to_string(), text);
        }
        for bad in [
            "",
            "50051",
            ":1",
            "::1:1",
            "h:99999",
            "unix:relative",
            "http://h:1",
            "[x]:1",
        ] {
            assert!(ListenAddress::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_loopback_and_sockets_are_local() {
        for (text, local) in [
            ("127.0.0.1:1", true),
            ("127.8.8.8:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("localhost:1", true),
            ("unix:/x", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("10.0.0.1:1", false),
            ("localhost.example.com:1", false),
        ] {
            assert_eq!(
                ListenAddress::parse(text).unwrap().is_local(),
                local,
                "{text}"
            );
        }
    }

    #[test]
    fn service_urls() {
        for text in [
            "http://127.0.0.1:50051",
            "http://[::1]:1",
            "dns+http://executors:50052",
            "dns+https://executors:50052",
            "https://registry:50051",
            "unix:/x.sock",
        ] {
            assert_eq!(ServiceUrl::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            ServiceUrl::parse("http://r").unwrap().to_string(),
            "http://r:80"
        );
        let many = ServiceUrl::parse_one("dns+https://executors:50052").unwrap_err();
        assert!(many.contains("this is one service"), "{many}");
        let wrong = ServiceUrl::parse_one("r:1").unwrap_err();
        assert!(!wrong.contains("dns+"), "{wrong}");
        assert!(ServiceUrl::parse_one("https://registry:50051").is_ok());
        assert!(ServiceUrl::parse("http://[::1]:1").unwrap().is_local());
        assert!(
            !ServiceUrl::parse("dns+http://executors:1")
                .unwrap()
                .is_local()
        );
        for bad in [
            "",
            "r:1",
            "ftp://r:1",
            "http://r:1/path",
            "http://u:p@r:1",
            "unix:x",
            "http://",
        ] {
            assert!(ServiceUrl::parse(bad).is_err(), "{bad}");
        }
        for (text, tls) in [
            ("https://r:1", true),
            ("dns+https://r:1", true),
            ("http://r:1", false),
            ("dns+http://r:1", false),
            ("unix:/x", false),
        ] {
            assert_eq!(ServiceUrl::parse(text).unwrap().is_tls(), tls, "{text}");
        }
    }
}
