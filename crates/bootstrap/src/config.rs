//! Configuration: one table of keys, four programs, and every mistake named at once.

mod arguments;
mod checks;
mod choice;
mod declared;
mod dotenv;
mod file;
mod file_keys;
mod followed;
mod help;
mod key;
mod later;
mod layers;
mod load;
mod nearest;
mod problem;
mod rate;
mod reference;
mod roles;
mod section;
mod sections;
mod services;
mod settings;
mod show;
mod ttls;
mod value;

pub use arguments::{DoctorOptions, Subcommand};
pub use declared::{Declared, DeclaredList, DeclaredTool};
pub use file_keys::FileKeys;
pub use followed::Followed;
pub use key::{Key, Kind, Service, Services};
pub(crate) use load::{Decision, decide};
pub use load::{Loaded, load};
pub use problem::{ConfigError, Problem};
pub use rate::{Rate, Rates};
pub use reference::reference_markdown;
pub use sections::*;
pub use services::{
    ADMIN_LISTENER, ExecutorConfig, GRPC_LISTENER, GatewayConfig, HTTP_LISTENER, ProcessConfig,
    PublicConfig, RegistryConfig, ServiceConfig, SettingsHandle, StandaloneConfig,
    TransportDecision,
};
pub use ttls::Ttls;
pub use value::Pem;

#[cfg(test)]
mod tests;
