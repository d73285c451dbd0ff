//! What a process says about itself: logs, traces and error reports, started from the configuration,
//! and the level of the log, which may change while it runs.

use std::convert::Infallible;
use std::sync::Arc;

use telemetry::{
    Dsn, Exports, InitError, LogControl, LogFile, LogFormat, LogSettings, Metrics, ReportSettings,
    Telemetry, TraceProtocol, TraceSampler, TraceSettings,
};

use crate::config::{
    LogFormatChoice, OtlpProtocol, ProcessConfig, Sampler, ServiceConfig, TelemetryConfig, load,
};
use crate::environment::Environment;
use crate::reload::Reload;
use crate::secret::Secret;
use crate::version::{COMMIT, VERSION};

/// Starts all of it. Within a runtime only.
pub(crate) fn start<C: ServiceConfig>(
    environment: &Environment,
    config: &C,
) -> Result<Telemetry, InitError> {
    let process = config.process();
    let file = process.log.file.as_ref().map(|path| LogFile {
        path: environment.directory.join(path),
        max_bytes: process.log.max_file.0,
        max_files: process.log.max_files,
    });
    let terminal = environment.stderr_is_terminal && file.is_none();
    let format = match process.log.format {
        Some(LogFormatChoice::Text) => LogFormat::Text,
        Some(LogFormatChoice::Json) => LogFormat::Json,
        None if terminal => LogFormat::Text,
        None => LogFormat::Json,
    };
    let filter = rust_log(environment)
        .map(str::to_owned)
        .unwrap_or_else(|| default_filter(&process.log.level));
    telemetry::init(
        &LogSettings {
            filter,
            format,
            colours: terminal,
            file,
        },
        Exports {
            traces: traces(&process.telemetry, C::SERVICE.name()),
            reports: reports(&process.telemetry, C::SERVICE.name()),
        },
    )
}

fn traces(config: &TelemetryConfig, service: &'static str) -> Option<TraceSettings> {
    let share = config.sampler_share;
    Some(TraceSettings {
        endpoint: config.otlp_endpoint.clone()?,
        protocol: match config.otlp_protocol {
            OtlpProtocol::Grpc => TraceProtocol::Grpc,
            OtlpProtocol::HttpProtobuf => TraceProtocol::HttpProtobuf,
        },
        headers: config
            .otlp_headers
            .as_ref()
            .map(|headers| headers.expose().to_owned()),
        sampler: match config.sampler {
            Sampler::AlwaysOn => TraceSampler::AlwaysOn,
            Sampler::AlwaysOff => TraceSampler::AlwaysOff,
            Sampler::Ratio => TraceSampler::Ratio(share),
            Sampler::ParentAlwaysOn => TraceSampler::ParentAlwaysOn,
            Sampler::ParentAlwaysOff => TraceSampler::ParentAlwaysOff,
            Sampler::ParentRatio => TraceSampler::ParentRatio(share),
        },
        service,
        version: VERSION,
    })
}

fn reports(config: &TelemetryConfig, service: &'static str) -> Option<ReportSettings> {
    let dsn = config.sentry_dsn.as_ref().map(Secret::expose)?;
    Some(ReportSettings {
        // The configuration was checked with this.
        dsn: Dsn::parse(dsn).ok()?,
        service,
        version: VERSION,
        commit: COMMIT,
    })
}

fn rust_log(environment: &Environment) -> Option<&str> {
    let filter = environment.variables.get("RUST_LOG")?;
    (!filter.trim().is_empty()).then_some(filter)
}

/// The filter of a plain level. rmcp logs every request that goes through it and calls a client
/// that leaves an error: at the usual levels that is noise, and the gateway logs both itself.
fn default_filter(level: &str) -> String {
    match level {
        "error" | "warn" | "info" => format!("{level},rmcp=off"),
        other => other.to_owned(),
    }
}

/// Reads the level of the log again whenever somebody asks for a reload, from where it may have
/// changed: the configuration file and `.env`.
pub(crate) struct Levels {
    environment: Environment,
    control: LogControl,
    /// As it was configured last.
    level: String,
    reload: Reload,
    metrics: Arc<Metrics>,
}

impl Levels {
    pub(crate) fn new(
        environment: &Environment,
        process: &ProcessConfig,
        control: LogControl,
        reload: Reload,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            environment: environment.clone(),
            control,
            level: process.log.level.clone(),
            reload,
            metrics,
        }
    }

    pub(crate) async fn run<C: ServiceConfig>(mut self) -> Result<(), Infallible> {
        loop {
            self.reload.asked().await;
            self.control.reopen();
            self.look::<C>();
        }
    }

    fn look<C: ServiceConfig>(&mut self) {
        let outcome = load::<C>(&self.environment)
            .map_err(|problems| problems.to_string())
            .and_then(|loaded| self.set(loaded.config.process().log.level.clone()));
        let label = match outcome {
            Ok(false) => return,
            Ok(true) => "ok",
            Err(problems) => {
                tracing::error!(
                    problems,
                    "the configuration cannot be used as it is now; what was in use stays in use"
                );
                "failed"
            }
        };
        self.metrics
            .reloads
            .with_label_values(&["log_level", label])
            .inc();
    }

    /// Whether it is another one.
    fn set(&mut self, level: String) -> Result<bool, String> {
        if level == self.level {
            return Ok(false);
        }
        // Said while the log takes it: before it becomes more silent, after it has become less so.
        let before = self.control.takes_warnings();
        if before {
            self.say(&level);
        }
        self.control
            .set_filter(&default_filter(&level))
            .map_err(|why| why.to_string())?;
        if !before {
            self.say(&level);
        }
        self.level = level;
        Ok(true)
    }

    fn say(&self, to: &str) {
        let instead_of_rust_log = rust_log(&self.environment).is_some();
        tracing::warn!(
            key = "LOG_LEVEL",
            from = self.level,
            to,
            instead_of_rust_log,
            "the level of the log changes"
        );
    }
}
