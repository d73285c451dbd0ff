//! The public endpoint.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::choice::choice;
use crate::config::key::{Key, Kind};
use crate::config::section::section;
use crate::tls::{NamedFile, TlsFiles};
use crate::units::{ByteSize, DurationUnit};

choice! {
    /// Which built-in tools there are.
    pub enum Profile {
        /// `system.health`, `dynamic.*` and `run_*_ephemeral`.
        Mvp = "mvp",
        /// Everything.
        Enterprise = "enterprise",
    }
}

choice! {
    /// How MCP is spoken.
    pub enum Transport {
        /// Stdio when an MCP client has started the process, else HTTP.
        Auto = "auto",
        /// Streamable HTTP.
        Http = "http",
        /// Standard input and output.
        Stdio = "stdio",
    }
}

choice! {
    /// How the three parts of `dynamic-mcp` talk to each other.
    pub enum Wiring {
        /// By plain calls.
        Direct = "direct",
        /// Over gRPC on pipes within the process, with signed identities: the very code that runs
        /// between three services.
        Grpc = "grpc",
    }
}

section! {
    /// How `dynamic-mcp` is put together.
    pub struct WiringConfig for STANDALONE {
        /// `direct` is faster; `grpc` shows how the three services behave without starting them.
        pub wiring: Wiring = Key::added("MCP_STANDALONE_WIRING", "wiring")
            .kind(Kind::Choice(Wiring::CHOICES)).default("direct");
    }
}

section! {
    /// The profile.
    pub struct ProfileConfig for PUBLIC {
        /// Which built-in tools there are: `mvp` has `system.health`, `dynamic.*` and
        /// `run_*_ephemeral`; `enterprise` has all.
        pub profile: Profile = Key::kept("MCP_PROFILE", "profile")
            .kind(Kind::Choice(Profile::CHOICES)).default("mvp");
    }
}

section! {
    /// How `dynamic-mcp` talks to its client.
    pub struct TransportConfig for STANDALONE {
        /// `auto` is stdio when stdin and stdout are both pipes or sockets, else http.
        pub transport: Transport = Key::kept("MCP_TRANSPORT", "transport")
            .kind(Kind::Choice(Transport::CHOICES)).default("auto");
    }
}

section! {
    /// The MCP endpoint over HTTP.
    pub struct HttpConfig for PUBLIC {
        /// Address to listen on.
        pub host: String = Key::kept("MCP_HOST", "http.host").default("127.0.0.1");
        /// Port to listen on; 0 takes any free one.
        pub port: u16 = Key::kept("MCP_PORT", "http.port")
            .aliases(&["PORT"]).kind(Kind::Integer(0, 65_535)).default("8788");
        /// Path of the MCP endpoint; a missing leading slash is added.
        pub path: HttpPath = Key::kept("MCP_PATH", "http.path").default("/mcp");
        /// How long a session id of an older protocol version is good for when it is not used. This
        /// version hands none out, so that it has no effect yet.
        pub session_ttl: Duration = Key::kept("MCP_HTTP_SESSION_TTL_SECONDS", "http.sessionTtlSeconds")
            .kind(Kind::Duration(DurationUnit::Seconds, 1, 604_800)).default("1800");
        /// Largest request body; a larger one gets 413 without being read.
        pub max_request: ByteSize = Key::kept("MCP_HTTP_MAX_REQUEST_BYTES", "http.maxRequestBytes")
            .aliases(&["MAX_REQUEST_SIZE"]).kind(Kind::Size(1, 16 << 20)).default("1048576");
        /// Longest time from a request to its answer. Less than MCP_SANDBOX_MAX_TIMEOUT_MS + 10 s is
        /// refused.
        pub request_timeout: Option<Duration> =
            Key::added("MCP_HTTP_REQUEST_TIMEOUT_MS", "http.requestTimeoutMs")
            .aliases(&["REQUEST_TIMEOUT"])
            .kind(Kind::Duration(DurationUnit::Milliseconds, 11_000, 3_600_000))
            .default_note("MCP_SANDBOX_MAX_TIMEOUT_MS + 10 s");
        /// Values of the Origin header that are accepted. Without it: loopback names on a loopback
        /// address, else the host that was asked for.
        pub allowed_origins: Vec<String> =
            Key::added("MCP_HTTP_ALLOWED_ORIGINS", "http.allowedOrigins").kind(Kind::List);
        /// Values of the Host header that are accepted. Without it: loopback names on a loopback
        /// address, else any.
        pub allowed_hosts: Vec<String> =
            Key::added("MCP_HTTP_ALLOWED_HOSTS", "http.allowedHosts").kind(Kind::List);
        /// Addresses and networks that requests may come from; `/livez` and `/readyz` answer everybody.
        /// Without it all may.
        pub allowed_ips: Vec<IpNet> =
            Key::added("MCP_HTTP_ALLOWED_IPS", "security.ipAllowlist").kind(Kind::List);
        /// Addresses and networks of the proxies in front, whose header X-Forwarded-For says who
        /// asks: the rightmost hop there that is none of these. Without it the header counts for
        /// nothing.
        pub trusted_proxies: Vec<IpNet> =
            Key::added("MCP_HTTP_TRUSTED_PROXIES", "http.trustedProxies").kind(Kind::List);
        /// Connections at once; one more is closed at once.
        pub max_connections: usize = Key::added("MCP_HTTP_MAX_CONNECTIONS", "http.maxConnections")
            .kind(Kind::Integer(1, 100_000)).default("4096");
        /// Connections at once from one address (of IPv6 from one /64); trusted proxies may have all.
        pub max_connections_per_address: usize =
            Key::added("MCP_HTTP_MAX_CONNECTIONS_PER_ADDRESS", "http.maxConnectionsPerAddress")
            .kind(Kind::Integer(1, 100_000)).default("1024");
        /// Certificate of the server and those between it and its authority, a PEM file: with it MCP is
        /// served over TLS 1.2 and 1.3 only. Read again when it changes.
        pub tls_cert: Option<PathBuf> =
            Key::added("MCP_HTTP_TLS_CERT", "http.tlsCert").kind(Kind::Path);
        /// The private key of MCP_HTTP_TLS_CERT, a PEM file that only this user (and group) may read.
        pub tls_key: Option<PathBuf> =
            Key::added("MCP_HTTP_TLS_KEY", "http.tlsKey").kind(Kind::Path);
        /// Path of the health report.
        pub health_path: HttpPath =
            Key::added("HEALTH_CHECK_PATH", "http.healthCheckPath").default("/health");
        /// Serves /metrics on a port of its own (same address) and no longer on the public one.
        pub metrics_port: Option<u16> = Key::added("METRICS_PORT", "metrics.port")
            .kind(Kind::Integer(0, 65_535)).default_note("the public port");
    }
}

impl HttpConfig {
    /// The files of TLS, where it is on.
    #[must_use]
    pub fn tls_files(&self) -> Option<TlsFiles> {
        let (certificate, key) = (self.tls_cert.as_deref()?, self.tls_key.as_deref()?);
        Some(TlsFiles {
            endpoint: "http",
            certificate: NamedFile::new("MCP_HTTP_TLS_CERT", certificate),
            key: NamedFile::new("MCP_HTTP_TLS_KEY", key),
            authority: None,
        })
    }
}

/// A path of the HTTP server: starts with a slash, has no query, fragment, braces or blanks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpPath(String);

impl HttpPath {
    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl crate::config::value::Value for HttpPath {
    fn parse(raw: &crate::config::value::Raw, key: &Key) -> Result<Self, String> {
        let text = <String as crate::config::value::Value>::parse(raw, key)?;
        let path = if text.starts_with('/') {
            text
        } else {
            format!("/{text}")
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
        if path.len() > 200 || !path.bytes().all(plain) || path.contains("//") {
            return Err(String::from(
                "is not a path of at most 200 letters, digits, `-`, `.`, `_`, `~` and single slashes",
            ));
        }
        Ok(Self(path))
    }

    fn json(&self, _: &Key) -> serde_json::Value {
        serde_json::Value::from(self.0.as_str())
    }
}
