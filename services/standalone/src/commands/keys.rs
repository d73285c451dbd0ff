//! `dynamic-mcp keys`: API keys.

use bootstrap::Diagnosis;
use bootstrap::config::{ConfigError, StandaloneConfig};

pub(super) async fn run(
    words: &[String],
    config: Result<StandaloneConfig, ConfigError>,
) -> Diagnosis {
    drop(config);
    Diagnosis {
        complaint: Some(format!("keys {}: not there yet", words.join(" "))),
        exit_code: 1,
        ..Diagnosis::default()
    }
}
