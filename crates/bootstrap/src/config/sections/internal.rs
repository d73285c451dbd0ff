//! Between the services.

use std::path::PathBuf;

use crate::address::{ListenAddress, ServiceUrl};
use crate::config::followed::Followed;
use crate::config::key::{Key, Kind};
use crate::config::section::section;
use crate::config::value::Pem;
use crate::secret::Secret;
use crate::tls::{NamedFile, TlsFiles};

section! {
    /// The registry's own endpoint.
    pub struct RegistryServerConfig for REGISTRY {
        /// Where the registry listens for gRPC.
        pub listen: ListenAddress = Key::added("MCP_REGISTRY_LISTEN", "registry.listen")
            .kind(Kind::Listen).default("127.0.0.1:50051");
    }
}

section! {
    /// The executor's own endpoint and what it says of itself when it joins.
    pub struct ExecutorServerConfig for EXECUTOR {
        /// Where the executor listens for gRPC.
        pub listen: ListenAddress = Key::added("MCP_EXECUTOR_LISTEN", "executor.listen")
            .kind(Kind::Listen).default("127.0.0.1:50052");
        /// The URL under which gateways reach this executor.
        pub advertise: Option<ServiceUrl> = Key::added("MCP_EXECUTOR_ADVERTISE", "executor.advertise")
            .kind(Kind::Url).default_note("its own address");
        /// Labels by which calls are placed: `name=value`, separated by commas.
        pub labels: Vec<String> =
            Key::added("MCP_EXECUTOR_LABELS", "executor.labels").kind(Kind::List);
        /// Calls that run at once.
        pub capacity: Option<u32> = Key::added("MCP_EXECUTOR_CAPACITY", "executor.capacity")
            .kind(Kind::Integer(1, 10_000)).default_note("cores × 4");
    }
}

section! {
    /// How the registry is found.
    pub struct RegistryClientConfig for CALLERS {
        /// Where the registry is.
        pub url: ServiceUrl = Key::added("MCP_REGISTRY_URL", "registry.url")
            .kind(Kind::Url).default("http://127.0.0.1:50051");
    }
}

section! {
    /// How executors are found.
    pub struct FleetConfig for GATEWAY {
        /// Executors, separated by commas, besides those that join through the registry.
        pub executors: Vec<ServiceUrl> =
            Key::added("MCP_EXECUTOR_URLS", "executor.urls").kind(Kind::Urls);
    }
}

section! {
    /// The key that this service signs its calls with.
    pub struct SigningConfig for CALLERS {
        /// Ed25519 private key (PKCS#8 PEM) that signs the identity of every call to another service. A file
        /// is read again when it changes.
        pub key: Option<Followed<Secret>> = Key::added("MCP_INTERNAL_SIGNING_KEY", "internal.signingKey")
            .kind(Kind::Pem).secret();
    }
}

section! {
    /// The keys whose signatures are accepted.
    pub struct VerifyConfig for INNER {
        /// Ed25519 public keys whose signed calls are accepted: PEM, one after the other, for gateways and
        /// executors; `[[keys]]` of TOML for keys with an issuer, audiences, scopes and tenants. A file is
        /// read again when it changes.
        pub keys: Option<Followed<Pem>> = Key::added("MCP_INTERNAL_VERIFY_KEYS", "internal.verifyKeys")
            .kind(Kind::Pem).or_file();
    }
}

section! {
    /// The channels between services.
    pub struct InternalConfig for SPLIT {
        /// The authorities (file of PEM certificates) that the certificates of the other services come from.
        /// With it, services speak TLS 1.3 to each other and both sides show a certificate. Read again when
        /// it changes.
        pub tls_ca: Option<PathBuf> =
            Key::added("MCP_INTERNAL_TLS_CA", "internal.tlsCa").kind(Kind::Path);
        /// The certificate of this service (PEM file), with its name as the URI
        /// `spiffe://dynamic-mcp/service/NAME`. Read again when it changes.
        pub tls_cert: Option<PathBuf> =
            Key::added("MCP_INTERNAL_TLS_CERT", "internal.tlsCert").kind(Kind::Path);
        /// The private key of that certificate (PEM file that others cannot read).
        pub tls_key: Option<PathBuf> =
            Key::added("MCP_INTERNAL_TLS_KEY", "internal.tlsKey").kind(Kind::Path);
        /// Allows channels between services without TLS off loopback.
        pub insecure: bool = Key::added("MCP_INTERNAL_INSECURE", "internal.insecure")
            .kind(Kind::Bool).default("false");
    }
}

impl InternalConfig {
    /// The files of mutual TLS, when all are named.
    #[must_use]
    pub fn tls_files(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            endpoint: "internal",
            certificate: NamedFile::new("MCP_INTERNAL_TLS_CERT", self.tls_cert.as_ref()?),
            key: NamedFile::new("MCP_INTERNAL_TLS_KEY", self.tls_key.as_ref()?),
            authority: Some(NamedFile::new("MCP_INTERNAL_TLS_CA", self.tls_ca.as_ref()?)),
        })
    }

    /// Whether this service speaks TLS to the others.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.tls_files().is_some()
    }
}

section! {
    /// What a gateway may have beyond its work.
    pub struct GatewayRightsConfig for GATEWAY {
        /// Starts although this process could use a Docker socket, and with it the machine: for machines of
        /// development only.
        pub allow_docker_socket: bool =
            Key::added("MCP_GATEWAY_ALLOW_DOCKER_SOCKET", "gateway.allowDockerSocket")
                .kind(Kind::Bool).default("false");
    }
}

section! {
    /// The admin endpoint of the inner services.
    pub struct AdminConfig for INNER {
        /// Where /livez, /readyz and /metrics are.
        pub listen: Option<ListenAddress> = Key::added("MCP_ADMIN_LISTEN", "admin.listen")
            .kind(Kind::Listen)
            .default_note("registry `127.0.0.1:9464`, executor `127.0.0.1:9465`");
        /// Lets its holder take profiles of the process there. Without it nobody can.
        pub token: Option<Secret> = Key::added("MCP_PROFILING_TOKEN", "admin.profilingToken").secret();
    }
}
