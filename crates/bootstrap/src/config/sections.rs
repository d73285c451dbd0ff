//! The sections of the configuration: the table itself.

mod access;
mod audit;
mod cache;
mod catalog;
mod engine;
mod http;
mod internal;
mod limits;
mod process;

pub use access::{AccessConfig, Admission, AuthConfig, AuthMode};
pub use audit::{AuditConfig, AuditKeepConfig, AuditOnFailure};
pub use cache::{CacheConfig, RedisConfig};
pub use catalog::{Backend, CatalogConfig, DeclaredConfig, PostgresConfig, SynchronousCommit};
pub use engine::{
    DockerConfig, EngineChoice, EngineConfig, InstallConfig, PolicyConfig, SessionConfig,
    SessionNetwork,
};
pub use http::{
    HttpConfig, Profile, ProfileConfig, Transport, TransportConfig, Wiring, WiringConfig,
};
pub use internal::{
    AdminConfig, ExecutorServerConfig, FleetConfig, GatewayRightsConfig, InternalConfig,
    RegistryClientConfig, RegistryServerConfig, SigningConfig, VerifyConfig,
};
pub use limits::{GuardConfig, LimitsConfig};
pub use process::{
    FileConfig, LogConfig, LogFormatChoice, OtlpProtocol, Sampler, ShutdownConfig, TelemetryConfig,
};

use super::key::Key;

/// Every key of every program, by section, in the order of the reference.
pub const TABLE: &[(&str, &[Key])] = &[
    ("Program", FileConfig::KEYS),
    ("Profile", ProfileConfig::KEYS),
    ("Transport", TransportConfig::KEYS),
    ("Wiring", WiringConfig::KEYS),
    ("HTTP", HttpConfig::KEYS),
    ("Authentication", AuthConfig::KEYS),
    ("Administration", AccessConfig::KEYS),
    ("Audit log", AuditConfig::KEYS),
    ("Audit logs at the registry", AuditKeepConfig::KEYS),
    ("Tools", CatalogConfig::KEYS),
    ("Declared tools", DeclaredConfig::KEYS),
    ("Postgres", PostgresConfig::KEYS),
    ("Sandbox policy", PolicyConfig::KEYS),
    ("Execution engine", EngineConfig::KEYS),
    ("Docker", DockerConfig::KEYS),
    ("Sandbox sessions", SessionConfig::KEYS),
    ("Dependencies", InstallConfig::KEYS),
    ("Guard", GuardConfig::KEYS),
    ("Limits", LimitsConfig::KEYS),
    ("Response cache", CacheConfig::KEYS),
    ("Redis", RedisConfig::KEYS),
    ("Logs", LogConfig::KEYS),
    ("Metrics, traces and reports", TelemetryConfig::KEYS),
    ("Stopping", ShutdownConfig::KEYS),
    ("Registry", RegistryServerConfig::KEYS),
    ("Executor", ExecutorServerConfig::KEYS),
    ("Finding the registry", RegistryClientConfig::KEYS),
    ("Finding executors", FleetConfig::KEYS),
    ("Identity between services", SigningConfig::KEYS),
    ("Identity that is accepted", VerifyConfig::KEYS),
    ("Channels between services", InternalConfig::KEYS),
    ("Rights of the gateway", GatewayRightsConfig::KEYS),
    ("Admin endpoint of registry and executor", AdminConfig::KEYS),
];

/// Every key.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    TABLE.iter().flat_map(|(_, keys)| keys.iter())
}
