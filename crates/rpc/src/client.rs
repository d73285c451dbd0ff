//! The ports as clients: each call is one signed request.
//!
//! A [`Link`] is a connection to one service: made once, connected when first needed, connected
//! again when lost. Adapters are cheap clones of it.

mod audit;
mod catalog;
mod codec;
mod fleet;
mod keys;
mod lane;
mod link;
mod outage;
mod runner;
mod sessions;
mod watch;

pub use self::audit::ArchiveClient;
pub use self::catalog::CatalogClient;
pub use self::fleet::FleetClient;
pub use self::keys::KeysClient;
pub use self::link::Link;
pub use self::runner::RunnerClient;
pub use self::sessions::SessionsClient;
