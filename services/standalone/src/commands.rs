//! The commands of `dynamic-mcp` besides serving.

use bootstrap::Diagnosis;
use bootstrap::config::{ConfigError, StandaloneConfig, Subcommand};

mod audit;
mod certs;
mod keys;

/// Carries one out. `words`: what follows it on the command line, without the flags of the
/// configuration.
pub(crate) async fn run(
    which: Subcommand,
    words: Vec<String>,
    config: Result<StandaloneConfig, ConfigError>,
) -> Diagnosis {
    match which {
        Subcommand::Keys => keys::run(&words, config).await,
        Subcommand::Certs => certs::run(&words),
        Subcommand::Audit => audit::run(&words, config).await,
    }
}
