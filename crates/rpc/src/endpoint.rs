//! Where a service is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use domain::{Error, Result};

use crate::pipe::PipeDialer;

/// Where a service is reached.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// `http://host:port` or `https://host:port`.
    Tcp {
        /// Name or address; an IPv6 address without brackets.
        host: String,
        /// Port.
        port: u16,
        /// Whether it speaks TLS.
        tls: bool,
    },
    /// `unix:/path`.
    Unix(PathBuf),
    /// A pipe within this process.
    Pipe(PipeDialer),
}

impl Endpoint {
    /// Parses `https://host:port`, `http://host:port` or `unix:/path`.
    ///
    /// # Errors
    /// `invalid_argument` naming `field` and the forms.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let wrong = |message: &str| {
            Error::invalid(field, message)
                .with_limit("https://host:port, http://host:port or unix:/path")
        };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            // sockaddr_un holds 108 bytes with the final zero.
            return if path.is_absolute() && path.as_os_str().len() <= 107 {
                Ok(Self::Unix(path))
            } else {
                Err(wrong(
                    "needs an absolute path of at most 107 bytes after unix:",
                ))
            };
        }
        let uri: http::Uri = text.parse().map_err(|_| wrong("is not an address"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("is not an address")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("is not an address"))?;
        if !matches!(uri.path(), "" | "/")
            || uri.query().is_some()
            || authority.as_str().contains('@')
        {
            return Err(wrong("has more than a host and a port"));
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        let port = authority.port_u16().filter(|port| *port != 0);
        match (host, port) {
            ("", _) => Err(wrong("names no host")),
            (_, None) => Err(wrong("names no port")),
            (host, Some(port)) => Ok(Self::Tcp {
                host: host.to_owned(),
                port,
                tls,
            }),
        }
    }

    /// Whether the service has to show a certificate.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tcp { tls: true, .. })
    }

    /// Whether requests stay on this machine: loopback, a Unix socket or a pipe.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp { host, .. } => {
                host.eq_ignore_ascii_case("localhost")
                    || std::net::IpAddr::from_str(host).is_ok_and(|address| address.is_loopback())
            }
            Self::Unix(_) | Self::Pipe(_) => true,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, tls } => {
                let scheme = if *tls { "https" } else { "http" };
                if host.contains(':') {
                    write!(out, "{scheme}://[{host}]:{port}")
                } else {
                    write!(out, "{scheme}://{host}:{port}")
                }
            }
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
            Self::Pipe(_) => out.write_str("pipe"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints_the_forms() {
        for text in [
            "http://127.0.0.1:50051",
            "http://registry:1",
            "http://[::1]:9",
            "https://registry:1",
            "https://[::1]:9",
            "unix:/run/x.sock",
        ] {
            assert_eq!(
                Endpoint::parse("MCP_REGISTRY_URL", text)
                    .unwrap()
                    .to_string(),
                text
            );
        }
        assert_eq!(
            Endpoint::parse("x", "http://a:1/").unwrap().to_string(),
            "http://a:1"
        );
    }

    #[test]
    fn refuses_everything_else_by_name() {
        for text in [
            "",
            "a",
            "a:1",
            "http://",
            "http://a",
            "http://a:0",
            "http://a:99999",
            "http://a:1/x",
            "http://a:1?x",
            "http://u:p@a:1",
            "https://a",
            "https://u@a:1",
            "ftp://a:1",
            "unix:x",
            "unix:",
            "http://:1",
        ] {
            let error = Endpoint::parse("MCP_REGISTRY_URL", text).unwrap_err();
            assert_eq!(error.field(), Some("MCP_REGISTRY_URL"), "{text}");
        }
        let long = format!("unix:/{}", "x".repeat(107));
        assert!(Endpoint::parse("x", &long).is_err());
    }

    #[test]
    fn knows_what_stays_on_the_machine() {
        let local = |text| Endpoint::parse("x", text).unwrap().is_local();
        assert!(
            local("http://127.0.0.1:1") && local("http://[::1]:1") && local("http://localhost:1")
        );
        assert!(local("unix:/x"));
        assert!(!local("http://10.0.0.1:1") && !local("http://registry:1"));
        assert!(!local("http://localhost.example.com:1"));
    }
}
