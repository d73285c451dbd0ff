//! The process itself: its file, its logs, its end.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::choice::choice;
use crate::config::key::{Key, Kind};
use crate::config::section::section;
use crate::units::DurationUnit;

choice! {
    /// How log lines look.
    pub enum LogFormatChoice {
        /// For a person.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

section! {
    /// The configuration file.
    pub struct FileConfig for ALL {
        /// A configuration file: TOML, JSON or YAML by its extension.
        pub path: Option<PathBuf> =
            Key::added("CONFIG_PATH", "").flag("config").kind(Kind::Path);
    }
}

section! {
    /// The log on stderr.
    pub struct LogConfig for ALL {
        /// `error`, `warn`, `info`, `debug`, `trace` or `off`, also by module
        /// (`info,gateway=debug`). The variable RUST_LOG wins.
        pub level: String = Key::added("LOG_LEVEL", "log.level").default("info");
        /// How log lines look.
        pub format: Option<LogFormatChoice> = Key::added("LOG_FORMAT", "log.format")
            .kind(Kind::Choice(LogFormatChoice::CHOICES))
            .default_note("`text` on a terminal, else `json`");
    }
}

section! {
    /// Metrics and traces.
    pub struct TelemetryConfig for ALL {
        /// Serves /metrics.
        pub metrics: bool = Key::added("METRICS_ENABLED", "metrics.enabled")
            .kind(Kind::Bool).default("true");
        /// `http://host:port` of an OTLP receiver that speaks gRPC. Traces are off without it.
        /// OpenTelemetry's own `OTEL_*` variables tune the rest.
        pub otlp_endpoint: Option<String> =
            Key::added("OTEL_EXPORTER_OTLP_ENDPOINT", "traces.otlpEndpoint");
    }
}

section! {
    /// How the process stops.
    pub struct ShutdownConfig for ALL {
        /// Longest time that a stop waits for what still runs.
        pub grace: Duration = Key::added("MCP_SHUTDOWN_GRACE_MS", "shutdown.graceMs")
            .kind(Kind::Duration(DurationUnit::Milliseconds, 0, 3_600_000)).default("30000");
        /// Time between turning not ready and refusing new connections, for load balancers to notice.
        pub min_delay: Duration = Key::added("MCP_SHUTDOWN_MIN_DELAY_MS", "shutdown.minDelayMs")
            .kind(Kind::Duration(DurationUnit::Milliseconds, 0, 600_000)).default("0");
    }
}
