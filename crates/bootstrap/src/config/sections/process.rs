//! The process itself: its file, its logs, its end.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::choice::choice;
use crate::config::key::{Key, Kind};
use crate::config::section::section;
use crate::secret::Secret;
use crate::units::{ByteSize, DurationUnit};

choice! {
    /// How log lines look.
    pub enum LogFormatChoice {
        /// For a person.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

choice! {
    /// What spans are sent over.
    pub enum OtlpProtocol {
        /// OTLP over gRPC.
        Grpc = "grpc",
        /// OTLP as protobuf over HTTP.
        HttpProtobuf = "http/protobuf",
    }
}

choice! {
    /// Which traces are recorded, by OpenTelemetry's names.
    pub enum Sampler {
        /// All.
        AlwaysOn = "always_on",
        /// None.
        AlwaysOff = "always_off",
        /// A share of them.
        Ratio = "traceidratio",
        /// As the caller decided; of the others all.
        ParentAlwaysOn = "parentbased_always_on",
        /// As the caller decided; of the others none.
        ParentAlwaysOff = "parentbased_always_off",
        /// As the caller decided; of the others a share.
        ParentRatio = "parentbased_traceidratio",
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
    /// The log.
    pub struct LogConfig for ALL {
        /// `error`, `warn`, `info`, `debug`, `trace` or `off`, also by module
        /// (`info,gateway=debug`). The variable RUST_LOG wins at the start. SIGHUP reads the level
        /// again from the configuration file or `.env`.
        pub level: String = Key::added("LOG_LEVEL", "log.level").default("info");
        /// How log lines look.
        pub format: Option<LogFormatChoice> = Key::added("LOG_FORMAT", "log.format")
            .kind(Kind::Choice(LogFormatChoice::CHOICES))
            .default_note("`text` on a terminal, else `json`");
        /// Writes the log to this file and not to stderr. Its directory must be there. SIGHUP opens it
        /// anew.
        pub file: Option<PathBuf> = Key::added("LOG_FILE", "log.file").kind(Kind::Path);
        /// A log file that would become larger is put aside.
        pub max_file: ByteSize = Key::added("LOG_MAX_FILE_BYTES", "log.maxFileBytes")
            .kind(Kind::Size(10_000, 10_000_000_000)).default("100000000");
        /// Full log files that are kept besides the current one: `.1` is the newest.
        pub max_files: u32 = Key::added("LOG_MAX_FILES", "log.maxFiles")
            .kind(Kind::Integer(1, 100)).default("5");
    }
}

section! {
    /// Metrics, traces and error reports.
    pub struct TelemetryConfig for ALL {
        /// Serves /metrics.
        pub metrics: bool = Key::added("METRICS_ENABLED", "metrics.enabled")
            .kind(Kind::Bool).default("true");
        /// `http://host:port` or `https://host:port` of an OTLP receiver: 4317 by convention, 4318 for
        /// `http/protobuf`. Traces are off without it.
        pub otlp_endpoint: Option<String> =
            Key::added("OTEL_EXPORTER_OTLP_ENDPOINT", "traces.otlpEndpoint");
        /// What the receiver of traces speaks.
        pub otlp_protocol: OtlpProtocol =
            Key::added("OTEL_EXPORTER_OTLP_PROTOCOL", "traces.otlpProtocol")
            .kind(Kind::Choice(OtlpProtocol::CHOICES)).default("grpc");
        /// `name=value` pairs with commas between them, values percent-encoded, which are sent to the
        /// receiver of traces.
        pub otlp_headers: Option<Secret> =
            Key::added("OTEL_EXPORTER_OTLP_HEADERS", "traces.otlpHeaders").secret();
        /// Which traces are recorded. With `parentbased_` a caller's own decision counts first.
        pub sampler: Sampler = Key::added("OTEL_TRACES_SAMPLER", "traces.sampler")
            .kind(Kind::Choice(Sampler::CHOICES)).default("parentbased_always_on");
        /// The share of traces that the samplers `traceidratio` and `parentbased_traceidratio` record.
        pub sampler_share: f64 = Key::added("OTEL_TRACES_SAMPLER_ARG", "traces.samplerArg")
            .kind(Kind::Decimal(0.0, 1.0)).default("1");
        /// `https://<key>@host/<project>`: panics and internal errors are reported there, in the form
        /// of Sentry, without data of callers.
        pub sentry_dsn: Option<Secret> = Key::added("SENTRY_DSN", "reports.sentryDsn").secret();
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
