//! The sections of the configuration: the table itself.

mod access;
mod audit;
mod catalog;
mod engine;
mod http;
mod internal;
mod process;

pub use access::{AccessConfig, Admission, AuthConfig, AuthMode, GuardConfig};
pub use audit::{AuditConfig, AuditOnFailure};
pub use catalog::{Backend, CatalogConfig, PostgresConfig, SynchronousCommit};
pub use engine::{
    DockerConfig, EngineChoice, EngineConfig, InstallConfig, PolicyConfig, SessionConfig,
    SessionNetwork,
};
pub use http::{
    HttpConfig, Profile, ProfileConfig, Transport, TransportConfig, Wiring, WiringConfig,
};
pub use internal::{
    AdminConfig, ExecutorServerConfig, FleetConfig, InternalConfig, RegistryClientConfig,
    RegistryServerConfig, SigningConfig, VerifyConfig,
};
pub use process::{FileConfig, LogConfig, LogFormatChoice, ShutdownConfig, TelemetryConfig};

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
    ("Tools", CatalogConfig::KEYS),
    ("Postgres", PostgresConfig::KEYS),
    ("Sandbox policy", PolicyConfig::KEYS),
    ("Execution engine", EngineConfig::KEYS),
    ("Docker", DockerConfig::KEYS),
    ("Sandbox sessions", SessionConfig::KEYS),
    ("Dependencies", InstallConfig::KEYS),
    ("Guard", GuardConfig::KEYS),
    ("Logs", LogConfig::KEYS),
    ("Metrics and traces", TelemetryConfig::KEYS),
    ("Stopping", ShutdownConfig::KEYS),
    ("Registry", RegistryServerConfig::KEYS),
    ("Executor", ExecutorServerConfig::KEYS),
    ("Finding the registry", RegistryClientConfig::KEYS),
    ("Finding executors", FleetConfig::KEYS),
    ("Identity between services", SigningConfig::KEYS),
    ("Identity that is accepted", VerifyConfig::KEYS),
    ("Channels between services", InternalConfig::KEYS),
    ("Admin endpoint of registry and executor", AdminConfig::KEYS),
];

/// Every key.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    TABLE.iter().flat_map(|(_, keys)| keys.iter())
}
