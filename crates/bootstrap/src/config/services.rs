//! The configuration of each program, and the contradictions that none may start with.

mod split;

use std::path::Path;
use std::time::Duration;

use domain::keys::KeptKey;

use super::checks;
use super::declared::Declared;
use super::key::Service;
use super::sections::{
    AccessConfig, Admission, AuditConfig, AuditKeepConfig, AuthConfig, CacheConfig, CatalogConfig,
    DeclaredConfig, DockerConfig, EngineConfig, FileConfig, GuardConfig, HttpConfig, InstallConfig,
    LimitsConfig, LogConfig, PolicyConfig, PostgresConfig, Profile, ProfileConfig, RedisConfig,
    SessionConfig, ShutdownConfig, TelemetryConfig, Transport, TransportConfig, Wiring,
    WiringConfig,
};
use super::settings::Settings;
use crate::address::ListenAddress;
use crate::environment::Environment;
use crate::secret::Secret;

pub use split::{ExecutorConfig, GatewayConfig, RegistryConfig};

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

    /// The file of the certificate that it is served with there, where that is over TLS.
    fn certificate(&self) -> Option<&Path> {
        None
    }

    /// What lets its holder take profiles of the process on the admin listener; nobody can without.
    fn profile_token(&self) -> Option<&Secret> {
        None
    }
}

/// Keeps the settings as they are read out of the public API.
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

/// The tools of the configuration, checked with their handlers.
fn declared(
    settings: &mut Settings,
    service: Service,
    environment: &Environment,
    catalog: &Option<CatalogConfig>,
    policy: &Option<PolicyConfig>,
) -> Option<Declared> {
    let list = DeclaredConfig::read(settings)?.tools;
    let rules = (catalog.as_ref()?, policy.as_ref()?);
    checks::declared(settings, service, &environment.directory, &list, rules)
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
    /// How callers are let in; over stdio whoever started the program.
    pub admission: Admission,
    /// API keys that stand in the configuration.
    pub file_keys: Vec<KeptKey>,
    /// The admin token.
    pub access: AccessConfig,
    /// The guard.
    pub guard: GuardConfig,
    /// Limits on requests and callers.
    pub limits: LimitsConfig,
    /// The audit log.
    pub audit: AuditConfig,
    /// The response cache.
    pub cache: CacheConfig,
    /// The Redis that gateways share.
    pub redis: RedisConfig,
}

impl PublicConfig {
    fn read(
        settings: &mut Settings,
        service: Service,
        policy: Option<&PolicyConfig>,
        over_http: bool,
    ) -> Option<Self> {
        let profile = ProfileConfig::read(settings);
        let http = HttpConfig::read(settings);
        let auth = AuthConfig::read(settings);
        let access = AccessConfig::read(settings);
        let guard = GuardConfig::read(settings);
        let limits = LimitsConfig::read(settings);
        let audit = AuditConfig::read(settings);
        let cache = CacheConfig::read(settings);
        let redis = RedisConfig::read(settings);
        checks::redis(settings, redis.as_ref(), cache.as_ref());
        checks::tokens(settings, auth.as_ref());
        let admission = if over_http {
            checks::admission(settings, service, http.as_ref(), auth.as_ref())
        } else {
            Some(Admission::Everyone)
        };
        let file_keys = checks::file_keys(settings, auth.as_ref(), admission);
        checks::paths(settings, http.as_ref());
        checks::addresses(settings, http.as_ref());
        checks::https(settings, http.as_ref());
        let enterprise = profile
            .as_ref()
            .is_some_and(|read| read.profile == Profile::Enterprise);
        let exposed = enterprise && over_http;
        checks::admin_token(settings, access.as_ref(), auth.as_ref(), exposed);
        checks::audit(settings, audit.as_ref(), enterprise);
        checks::audit_file(settings, audit.as_ref(), enterprise);
        let request_timeout = checks::request_timeout(settings, http.as_ref(), policy);
        Some(Self {
            profile: profile?.profile,
            http: http?,
            request_timeout: request_timeout?,
            auth: auth?,
            admission: admission?,
            file_keys: file_keys?,
            access: access?,
            guard: guard?,
            limits: limits?,
            audit: audit?,
            cache: cache?,
            redis: redis?,
        })
    }

    /// Whether calls and changes are recorded: as configured, else for profile enterprise.
    #[must_use]
    pub fn audit_enabled(&self) -> bool {
        self.audit
            .enabled
            .unwrap_or(self.profile == Profile::Enterprise)
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
    /// How the three parts talk to each other.
    pub wiring: Wiring,
    /// The MCP endpoint.
    pub public: PublicConfig,
    /// Where tools are kept.
    pub catalog: CatalogConfig,
    /// The database of backend `postgres`.
    pub postgres: PostgresConfig,
    /// What a tool may ask for.
    pub policy: PolicyConfig,
    /// What runs it.
    pub engine: EngineConfig,
    /// The daemon of the Docker engine.
    pub docker: DockerConfig,
    /// Sandboxes that stay.
    pub sessions: SessionConfig,
    /// Dependencies of tools.
    pub install: InstallConfig,
    /// What is kept of audit logs.
    pub audit_keep: AuditKeepConfig,
    /// Tools of the configuration.
    pub declared: Declared,
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
        let wiring = WiringConfig::read(settings);
        let policy = PolicyConfig::read(settings);
        let over_http = transport.is_some_and(|decided| !decided.stdio);
        let public = PublicConfig::read(settings, Self::SERVICE, policy.as_ref(), over_http);
        let catalog = CatalogConfig::read(settings);
        let postgres = PostgresConfig::read(settings);
        checks::database(settings, catalog.as_ref(), postgres.as_ref());
        checks::store(settings, catalog.as_ref());
        let engine = EngineConfig::read(settings);
        let docker = DockerConfig::read(settings);
        checks::docker(settings, docker.as_ref());
        checks::data(settings, engine.as_ref(), docker.as_ref());
        let sessions = SessionConfig::read(settings);
        checks::sessions(settings, sessions.as_ref());
        let install = InstallConfig::read(settings);
        checks::install(settings, install.as_ref());
        let audit_keep = AuditKeepConfig::read(settings);
        let declared = declared(settings, Self::SERVICE, environment, &catalog, &policy);
        Some(Self {
            process: process?,
            transport: transport?,
            wiring: wiring?.wiring,
            public: public?,
            catalog: catalog?,
            postgres: postgres?,
            policy: policy?,
            engine: engine?,
            docker: docker?,
            sessions: sessions?,
            install: install?,
            audit_keep: audit_keep?,
            declared: declared?,
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

    fn certificate(&self) -> Option<&Path> {
        self.public.http.tls_cert.as_deref()
    }

    fn profile_token(&self) -> Option<&Secret> {
        self.public.access.token.as_ref()
    }
}
