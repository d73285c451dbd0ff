//! Between the services.

use crate::address::{ListenAddress, ServiceUrl};
use crate::config::key::{Key, Kind};
use crate::config::section::section;
use crate::config::value::Pem;
use crate::secret::Secret;

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
            Key::added("MCP_EXECUTOR_URLS", "executor.urls").kind(Kind::List);
    }
}

section! {
    /// The key that this service signs its calls with.
    pub struct SigningConfig for CALLERS {
        /// Ed25519 private key (PKCS#8 PEM) that signs the identity of every call to another service.
        pub key: Option<Secret> = Key::added("MCP_INTERNAL_SIGNING_KEY", "internal.signingKey")
            .kind(Kind::Pem).secret();
    }
}

section! {
    /// The keys whose signatures are accepted.
    pub struct VerifyConfig for INNER {
        /// Ed25519 public keys (PEM, one after the other) whose signed calls are accepted.
        pub keys: Option<Pem> = Key::added("MCP_INTERNAL_VERIFY_KEYS", "internal.verifyKeys")
            .kind(Kind::Pem).or_file();
    }
}

section! {
    /// The channels between services.
    pub struct InternalConfig for SPLIT {
        /// Allows channels between services without TLS off loopback.
        pub insecure: bool = Key::added("MCP_INTERNAL_INSECURE", "internal.insecure")
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
    }
}
