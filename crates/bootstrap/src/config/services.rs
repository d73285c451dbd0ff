//! The configuration of each program, and the contradictions that none may start with.

use std::time::Duration;

use super::checks;
use super::key::Service;
use super::sections::{
    AccessConfig, AdminConfig, AuthConfig, CatalogConfig, EngineConfig, ExecutorServerConfig,
    FileConfig, FleetConfig, GuardConfig, HttpConfig, InternalConfig, LogConfig, PolicyConfig,
    Profile, ProfileConfig, RegistryClientConfig, RegistryServerConfig, ShutdownConfig,
    SigningConfig, TelemetryConfig, Transport, TransportConfig, VerifyConfig,
};
use super::settings::Settings;
use crate::address::ListenAddress;
use crate::environment::Environment;

/// What every program has.
#[derive(Debug, Clone)]
pub struct ProcessConfig {
    /// The log.
    pub log: LogConfig,
    /// Metrics and traces.
    pub telemetry: TelemetryConfig,
    /// The stop.
    pub shutdown: ShutdownConfig,
}

/// The configuration of a program, as [`run`](crate::run) needs it.
pub trait ServiceConfig: Sized + Send + 'static {
    /// The program.
    const SERVICE: Service;

    /// Reads and checks every section. `None` only together with a recorded problem.
    #[doc(hidden)]
    fn read(settings: &mut SettingsHandle<'_>, environment: &Environment) -> Option<Self>;

    /// What every program has.
    fn process(&self) -> &ProcessConfig;

    /// Every address to bind before anything else starts, by name.
    fn listeners(&self) -> Vec<(&'static str, ListenAddress)>;

    /// Where this program answers `/readyz`, for `health`. `None` without a listener (stdio).
    fn readiness(&self) -> Option<ListenAddress>;
}

/// Keeps [`Settings`] out of the public API.
#[derive(Debug)]
pub struct SettingsHandle<'a>(pub(crate) &'a mut Settings);

fn process(settings: &mut Settings) -> Option<ProcessConfig> {
    let file = FileConfig::read(settings);
    let log = LogConfig::read(settings);
    let telemetry = TelemetryConfig::read(settings);
    let shutdown = ShutdownConfig::read(settings);
    checks::logs(settings, log.as_ref());
    checks::traces(settings, telemetry.as_ref());
    file?;
    Some(ProcessConfig {
        log: log?,
        telemetry: telemetry?,
        shutdown: shutdown?,
    })
}

/// The MCP endpoint with all that stands in front of a tool: the same for `dynamic-mcp` and the
/// gateway.
#[derive(Debug, Clone)]
pub struct PublicConfig {
    /// Which built-in tools there are.
    pub profile: Profile,
    /// The endpoint.
    pub http: HttpConfig,
    /// Longest time from a request to its answer.
    pub request_timeout: Duration,
    /// Authentication.
    pub auth: AuthConfig,
    /// The admin token.
    pub access: AccessConfig,
    /// The guard.
    pub guard: GuardConfig,
}

impl PublicConfig {
    fn read(
        settings: &mut Settings,
        policy: Option<&PolicyConfig>,
        over_http: bool,
    ) -> Option<Self> {
        let profile = ProfileConfig::read(settings);
        let http = HttpConfig::read(settings);
        let auth = AuthConfig::read(settings);
        let access = AccessConfig::read(settings);
        let guard = GuardConfig::read(settings);
        if over_http {
            checks::exposure(settings, http.as_ref(), auth.as_ref());
        }
        checks::paths(settings, http.as_ref());
        checks::admin_token(settings, access.as_ref());
        let request_timeout = checks::request_timeout(settings, http.as_ref(), policy);
        Some(Self {
            profile: profile?.profile,
            http: http?,
            request_timeout: request_timeout?,
            auth: auth?,
            access: access?,
            guard: guard?,
        })
    }

    fn address(&self) -> ListenAddress {
        ListenAddress::Tcp {
            host: self.http.host.clone(),
            port: self.http.port,
        }
    }

    fn metrics_address(&self) -> Option<ListenAddress> {
        let port = self.http.metrics_port?;
        Some(ListenAddress::Tcp {
            host: self.http.host.clone(),
            port,
        })
    }
}

/// How `dynamic-mcp` speaks MCP, decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransportDecision {
    /// Standard input and output instead of HTTP.
    pub stdio: bool,
    /// Why, for the start-up line.
    pub why: &'static str,
}

impl TransportDecision {
    fn new(transport: Transport, piped: bool) -> Self {
        match (transport, piped) {
            (Transport::Http, _) => Self {
                stdio: false,
                why: "MCP_TRANSPORT is http",
            },
            (Transport::Stdio, _) => Self {
                stdio: true,
                why: "MCP_TRANSPORT is stdio",
            },
            (Transport::Auto, true) => Self {
                stdio: true,
                why: "stdin and stdout are both pipes or sockets",
            },
            (Transport::Auto, false) => Self {
                stdio: false,
                why: "stdin and stdout are not both pipes or sockets",
            },
        }
    }
}

/// Configuration of `dynamic-mcp`.
#[derive(Debug, Clone)]
pub struct StandaloneConfig {
    /// What every program has.
    pub process: ProcessConfig,
    /// HTTP or stdio.
    pub transport: TransportDecision,
    /// The MCP endpoint.
    pub public: PublicConfig,
    /// Where tools are kept.
    pub catalog: CatalogConfig,
    /// What a tool may ask for.
    pub policy: PolicyConfig,
    /// What runs it.
    pub engine: EngineConfig,
}

/// Name of the MCP endpoint's listener.
pub const HTTP_LISTENER: &str = "http";
/// Name of the gRPC listener.
pub const GRPC_LISTENER: &str = "grpc";
/// Name of the listener that [`run`](crate::run) itself serves with `/livez`, `/readyz`, `/metrics`.
pub const ADMIN_LISTENER: &str = "admin";

impl ServiceConfig for StandaloneConfig {
    const SERVICE: Service = Service::Standalone;

    fn read(settings: &mut SettingsHandle<'_>, environment: &Environment) -> Option<Self> {
        let settings = &mut *settings.0;
        let process = process(settings);
        let transport = TransportConfig::read(settings)
            .map(|t| TransportDecision::new(t.transport, environment.stdio_is_piped));
        let policy = PolicyConfig::read(settings);
        let over_http = transport.is_some_and(|decided| !decided.stdio);
        let public = PublicConfig::read(settings, policy.as_ref(), over_http);
        let catalog = CatalogConfig::read(settings);
        let engine = EngineConfig::read(settings);
        Some(Self {
            process: process?,
            transport: transport?,
            public: public?,
            catalog: catalog?,
            policy: policy?,
            engine: engine?,
        })
    }

    fn process(&self) -> &ProcessConfig {
        &self.process
    }

    fn listeners(&self) -> Vec<(&'static str, ListenAddress)> {
        let http = (!self.transport.stdio).then(|| (HTTP_LISTENER, self.public.address()));
        let admin = self
            .public
            .metrics_address()
            .map(|address| (ADMIN_LISTENER, address));
        http.into_iter().chain(admin).collect()
    }

    fn readiness(&self) -> Option<ListenAddress> {
        // Whoever runs `health` has pipes for stdio, but asks about the server beside it.
        Some(self.public.address())
    }
}

/// Configuration of the gateway.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// What every program has.
    pub process: ProcessConfig,
    /// The MCP endpoint.
    pub public: PublicConfig,
    /// What a tool may ask for.
    pub policy: PolicyConfig,
    /// Where the registry is.
    pub registry: RegistryClientConfig,
    /// Where executors are.
    pub fleet: FleetConfig,
    /// The key that signs calls; always set at a gateway.
    pub signing: SigningConfig,
}

impl ServiceConfig for GatewayConfig {
    const SERVICE: Service = Service::Gateway;

    fn read(settings: &mut SettingsHandle<'_>, _: &Environment) -> Option<Self> {
        let settings = &mut *settings.0;
        let process = process(settings);
        let policy = PolicyConfig::read(settings);
        let public = PublicConfig::read(settings, policy.as_ref(), true);
        let registry = RegistryClientConfig::read(settings);
        let fleet = FleetConfig::read(settings);
        let signing = SigningConfig::read(settings);
        let internal = InternalConfig::read(settings);
        let insecure = internal.as_ref().map(|internal| internal.insecure);
        checks::outgoing(settings, insecure, registry.as_ref(), fleet.as_ref());
        checks::signing_key(settings, signing.as_ref());
        internal?;
        Some(Self {
            process: process?,
            public: public?,
            policy: policy?,
            registry: registry?,
            fleet: fleet?,
            signing: signing?,
        })
    }

    fn process(&self) -> &ProcessConfig {
        &self.process
    }

    fn listeners(&self) -> Vec<(&'static str, ListenAddress)> {
        let admin = self
            .public
            .metrics_address()
            .map(|address| (ADMIN_LISTENER, address));
        std::iter::once((HTTP_LISTENER, self.public.address()))
            .chain(admin)
            .collect()
    }

    fn readiness(&self) -> Option<ListenAddress> {
        Some(self.public.address())
    }
}

/// Configuration of the registry.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// What every program has.
    pub process: ProcessConfig,
    /// Where it listens.
    pub listen: ListenAddress,
    /// Where `/livez`, `/readyz` and `/metrics` are.
    pub admin: ListenAddress,
    /// Where tools are kept.
    pub catalog: CatalogConfig,
    /// What a tool may ask for.
    pub policy: PolicyConfig,
    /// The keys whose signatures are accepted; always set.
    pub verify: VerifyConfig,
}

impl ServiceConfig for RegistryConfig {
    const SERVICE: Service = Service::Registry;

    fn read(settings: &mut SettingsHandle<'_>, _: &Environment) -> Option<Self> {
        let settings = &mut *settings.0;
        let process = process(settings);
        let server = RegistryServerConfig::read(settings);
        let admin = AdminConfig::read(settings).map(|admin| admin_address(settings, admin, 9464));
        let catalog = CatalogConfig::read(settings);
        let policy = PolicyConfig::read(settings);
        let verify = VerifyConfig::read(settings);
        let insecure = InternalConfig::read(settings).map(|internal| internal.insecure);
        let listen = server.map(|server| server.listen);
        checks::incoming(settings, insecure, "MCP_REGISTRY_LISTEN", listen.as_ref());
        checks::verify_keys(settings, verify.as_ref());
        insecure?;
        Some(Self {
            process: process?,
            listen: listen?,
            admin: admin?,
            catalog: catalog?,
            policy: policy?,
            verify: verify?,
        })
    }

    fn process(&self) -> &ProcessConfig {
        &self.process
    }

    fn listeners(&self) -> Vec<(&'static str, ListenAddress)> {
        vec![
            (GRPC_LISTENER, self.listen.clone()),
            (ADMIN_LISTENER, self.admin.clone()),
        ]
    }

    fn readiness(&self) -> Option<ListenAddress> {
        Some(self.admin.clone())
    }
}

/// Configuration of the executor.
#[derive(Debug, Clone)]
pub struct ExecutorConfig {
    /// What every program has.
    pub process: ProcessConfig,
    /// Where it listens and how it joins.
    pub server: ExecutorServerConfig,
    /// Where `/livez`, `/readyz` and `/metrics` are.
    pub admin: ListenAddress,
    /// Where the registry is.
    pub registry: RegistryClientConfig,
    /// What a tool may ask for.
    pub policy: PolicyConfig,
    /// What runs it.
    pub engine: EngineConfig,
    /// The key that signs the calls by which it joins; without one it does not join.
    pub signing: SigningConfig,
    /// The keys whose signatures are accepted; always set.
    pub verify: VerifyConfig,
}

impl ServiceConfig for ExecutorConfig {
    const SERVICE: Service = Service::Executor;

    fn read(settings: &mut SettingsHandle<'_>, _: &Environment) -> Option<Self> {
        let settings = &mut *settings.0;
        let process = process(settings);
        let server = ExecutorServerConfig::read(settings);
        let admin = AdminConfig::read(settings).map(|admin| admin_address(settings, admin, 9465));
        let registry = RegistryClientConfig::read(settings);
        let policy = PolicyConfig::read(settings);
        let engine = EngineConfig::read(settings);
        let signing = SigningConfig::read(settings);
        let verify = VerifyConfig::read(settings);
        let insecure = InternalConfig::read(settings).map(|internal| internal.insecure);
        let listen = server.as_ref().map(|server| server.listen.clone());
        checks::incoming(settings, insecure, "MCP_EXECUTOR_LISTEN", listen.as_ref());
        checks::outgoing(settings, insecure, registry.as_ref(), None);
        checks::verify_keys(settings, verify.as_ref());
        insecure?;
        Some(Self {
            process: process?,
            server: server?,
            admin: admin?,
            registry: registry?,
            policy: policy?,
            engine: engine?,
            signing: signing?,
            verify: verify?,
        })
    }

    fn process(&self) -> &ProcessConfig {
        &self.process
    }

    fn listeners(&self) -> Vec<(&'static str, ListenAddress)> {
        vec![
            (GRPC_LISTENER, self.server.listen.clone()),
            (ADMIN_LISTENER, self.admin.clone()),
        ]
    }

    fn readiness(&self) -> Option<ListenAddress> {
        Some(self.admin.clone())
    }
}

fn admin_address(settings: &mut Settings, admin: AdminConfig, port: u16) -> ListenAddress {
    admin.listen.unwrap_or_else(|| {
        let address = ListenAddress::Tcp {
            host: String::from("127.0.0.1"),
            port,
        };
        settings.derived(
            "MCP_ADMIN_LISTEN",
            serde_json::Value::from(address.to_string()),
        );
        address
    })
}
