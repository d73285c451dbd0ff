//! The configuration of the three services.

use std::path::Path;

use super::{ADMIN_LISTENER, GRPC_LISTENER, HTTP_LISTENER};
use super::{ProcessConfig, PublicConfig, ServiceConfig, SettingsHandle, declared, process};
use crate::address::ListenAddress;
use crate::config::checks;
use crate::config::declared::Declared;
use crate::config::key::Service;
use crate::config::sections::{
    AdminConfig, AuditKeepConfig, CatalogConfig, DockerConfig, EngineConfig, ExecutorServerConfig,
    FleetConfig, GatewayRightsConfig, InstallConfig, InternalConfig, PolicyConfig, PostgresConfig,
    RegistryClientConfig, RegistryServerConfig, SessionConfig, SigningConfig, VerifyConfig,
};
use crate::config::settings::Settings;
use crate::environment::Environment;
use crate::secret::Secret;

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
    /// The channels to registry and executors.
    pub internal: InternalConfig,
}

impl ServiceConfig for GatewayConfig {
    const SERVICE: Service = Service::Gateway;

    fn read(settings: &mut SettingsHandle<'_>, environment: &Environment) -> Option<Self> {
        let settings = &mut *settings.0;
        let process = process(settings);
        let policy = PolicyConfig::read(settings);
        let public = PublicConfig::read(settings, Self::SERVICE, policy.as_ref(), true);
        let registry = RegistryClientConfig::read(settings);
        let fleet = FleetConfig::read(settings);
        let signing = SigningConfig::read(settings);
        let internal = InternalConfig::read(settings);
        checks::channels(settings, internal.as_ref());
        checks::outgoing(
            settings,
            internal.as_ref(),
            registry.as_ref(),
            fleet.as_ref(),
        );
        checks::signing_key(settings, signing.as_ref(), true);
        let rights = GatewayRightsConfig::read(settings);
        checks::privileges(settings, rights.as_ref(), environment);
        Some(Self {
            process: process?,
            public: public?,
            policy: policy?,
            registry: registry?,
            fleet: fleet?,
            signing: signing?,
            internal: internal?,
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

    fn certificate(&self) -> Option<&Path> {
        self.public.http.tls_cert.as_deref()
    }

    fn profile_token(&self) -> Option<&Secret> {
        self.public.access.token.as_ref()
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
    /// Lets its holder take profiles there.
    pub profiling: Option<Secret>,
    /// Where tools are kept.
    pub catalog: CatalogConfig,
    /// The database of backend `postgres`.
    pub postgres: PostgresConfig,
    /// What a tool may ask for.
    pub policy: PolicyConfig,
    /// What is kept of audit logs.
    pub audit_keep: AuditKeepConfig,
    /// Tools of the configuration.
    pub declared: Declared,
    /// The keys whose signatures are accepted; always set.
    pub verify: VerifyConfig,
    /// The channels from gateways and executors.
    pub internal: InternalConfig,
}

impl ServiceConfig for RegistryConfig {
    const SERVICE: Service = Service::Registry;

    fn read(settings: &mut SettingsHandle<'_>, environment: &Environment) -> Option<Self> {
        let settings = &mut *settings.0;
        let process = process(settings);
        let server = RegistryServerConfig::read(settings);
        let admin = AdminConfig::read(settings);
        let profiling = admin.as_ref().map(|admin| admin.token.clone());
        checks::profiling_token(settings, profiling.as_ref().and_then(Option::as_ref));
        let admin = admin.map(|admin| admin_address(settings, admin, 9464));
        let catalog = CatalogConfig::read(settings);
        let postgres = PostgresConfig::read(settings);
        checks::database(settings, catalog.as_ref(), postgres.as_ref());
        checks::store(settings, catalog.as_ref());
        let audit_keep = AuditKeepConfig::read(settings);
        let policy = PolicyConfig::read(settings);
        let verify = VerifyConfig::read(settings);
        let internal = InternalConfig::read(settings);
        let listen = server.map(|server| server.listen);
        checks::channels(settings, internal.as_ref());
        checks::incoming(
            settings,
            internal.as_ref(),
            "MCP_REGISTRY_LISTEN",
            listen.as_ref(),
        );
        checks::verify_keys(settings, verify.as_ref());
        let declared = declared(settings, Self::SERVICE, environment, &catalog, &policy);
        Some(Self {
            process: process?,
            listen: listen?,
            admin: admin?,
            profiling: profiling?,
            catalog: catalog?,
            postgres: postgres?,
            policy: policy?,
            audit_keep: audit_keep?,
            declared: declared?,
            verify: verify?,
            internal: internal?,
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

    fn profile_token(&self) -> Option<&Secret> {
        self.profiling.as_ref()
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
    /// Lets its holder take profiles there.
    pub profiling: Option<Secret>,
    /// Where the registry is.
    pub registry: RegistryClientConfig,
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
    /// The key that signs the calls by which it joins; without one it does not join.
    pub signing: SigningConfig,
    /// The keys whose signatures are accepted; always set.
    pub verify: VerifyConfig,
    /// The channels from gateways and to the registry.
    pub internal: InternalConfig,
}

impl ServiceConfig for ExecutorConfig {
    const SERVICE: Service = Service::Executor;

    fn read(settings: &mut SettingsHandle<'_>, _: &Environment) -> Option<Self> {
        let settings = &mut *settings.0;
        let process = process(settings);
        let server = ExecutorServerConfig::read(settings);
        let admin = AdminConfig::read(settings);
        let profiling = admin.as_ref().map(|admin| admin.token.clone());
        checks::profiling_token(settings, profiling.as_ref().and_then(Option::as_ref));
        let admin = admin.map(|admin| admin_address(settings, admin, 9465));
        let registry = RegistryClientConfig::read(settings);
        let policy = PolicyConfig::read(settings);
        let engine = EngineConfig::read(settings);
        let docker = DockerConfig::read(settings);
        checks::docker(settings, docker.as_ref());
        checks::data(settings, engine.as_ref(), docker.as_ref());
        let sessions = SessionConfig::read(settings);
        checks::sessions(settings, sessions.as_ref());
        let install = InstallConfig::read(settings);
        checks::install(settings, install.as_ref());
        let signing = SigningConfig::read(settings);
        let verify = VerifyConfig::read(settings);
        let internal = InternalConfig::read(settings);
        let listen = server.as_ref().map(|server| server.listen.clone());
        checks::channels(settings, internal.as_ref());
        checks::incoming(
            settings,
            internal.as_ref(),
            "MCP_EXECUTOR_LISTEN",
            listen.as_ref(),
        );
        checks::outgoing(settings, internal.as_ref(), registry.as_ref(), None);
        checks::advertised(settings, internal.as_ref(), server.as_ref());
        checks::signing_key(settings, signing.as_ref(), false);
        checks::verify_keys(settings, verify.as_ref());
        Some(Self {
            process: process?,
            server: server?,
            admin: admin?,
            profiling: profiling?,
            registry: registry?,
            policy: policy?,
            engine: engine?,
            docker: docker?,
            sessions: sessions?,
            install: install?,
            signing: signing?,
            verify: verify?,
            internal: internal?,
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

    fn profile_token(&self) -> Option<&Secret> {
        self.profiling.as_ref()
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
