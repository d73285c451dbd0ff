//! The life of a process: configuration, logs, listeners, start, wait, drain, exit code.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::Value as Json;
use telemetry::{Metrics, Telemetry};

use crate::admin;
use crate::config::{
    ADMIN_LISTENER, ConfigError, Decision, DoctorOptions, Loaded, Service, ServiceConfig,
    Subcommand, decide,
};
use crate::environment::Environment;
use crate::health::Health;
use crate::listener::BoundListener;
use crate::notify::Notify;
use crate::observe::{self, Levels};
use crate::panics;
use crate::probe;
use crate::profiles::{self, ProfileRecords};
use crate::reload::Reload;
use crate::signals::Signals;
use crate::tasks::{OnFailure, StopReason, Tasks};
use crate::version::{VERSION, build_info};

/// Exit code of a configuration that cannot be started with (`EX_CONFIG` of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

/// Exit code of `doctor` where the program would not start.
const WOULD_NOT_START: u8 = 2;

/// What went wrong while a service started. A [`ConfigError`] exits with 78, all else with 1.
pub type StartError = Box<dyn std::error::Error + Send + Sync>;

/// What a service is started with.
#[derive(Debug)]
pub struct App {
    /// Spawns everything that the service runs.
    pub tasks: Tasks,
    /// Takes the service's checks.
    pub health: Health,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// The effective configuration without secrets, for `system.runtime_config`.
    pub view: Arc<Json>,
    /// Tells a part that follows files to look at them now: somebody sent SIGHUP.
    pub reload: Reload,
    /// Takes how profiles of this process are recorded.
    pub profiles: ProfileRecords,
    listeners: Vec<(&'static str, BoundListener)>,
}

impl App {
    /// An app without listeners, for parts that are put together in a process or a test of another
    /// kind; nobody drains it but its maker.
    ///
    /// # Errors
    /// When the metrics cannot be registered, which would be a fault of this program.
    pub fn detached(service: Service) -> Result<Self, telemetry::MetricsError> {
        Ok(Self {
            tasks: Tasks::new(),
            health: Health::new(),
            metrics: Arc::new(Metrics::new(build_info(service))?),
            view: Arc::new(Json::Object(serde_json::Map::new())),
            reload: Reload::channel().1,
            profiles: ProfileRecords::default(),
            listeners: Vec::new(),
        })
    }

    /// Takes a bound listener. `None` when the configuration has none of this name (the MCP endpoint
    /// in stdio mode) or it was taken before.
    pub fn listener(&mut self, name: &str) -> Option<BoundListener> {
        let at = self
            .listeners
            .iter()
            .position(|(known, _)| *known == name)?;
        Some(self.listeners.swap_remove(at).1)
    }
}

/// Runs a program from its arguments to its exit code; a `main` is this one call. `start` builds
/// the service from its configuration, spawns what it needs on [`App::tasks`] and returns once it
/// can be asked; the process is ready from then on.
#[must_use]
pub fn run<C: ServiceConfig>(
    start: impl AsyncFnOnce(C, App) -> Result<(), StartError>,
) -> ExitCode {
    // Only what has sandboxes is ever asked.
    run_with_doctor(start, async |_: C, _, _| nothing_to_say())
}

/// The answer of a `doctor` or another command.
#[derive(Debug, Clone, Default)]
pub struct Diagnosis {
    /// What is printed on stdout.
    pub text: String,
    /// What is printed on stderr, one line: why there is no answer.
    pub complaint: Option<String>,
    /// The exit code.
    pub exit_code: u8,
}

/// The same for a program that runs sandboxes: `doctor` answers that command.
#[must_use]
pub fn run_with_doctor<C: ServiceConfig>(
    start: impl AsyncFnOnce(C, App) -> Result<(), StartError>,
    doctor: impl AsyncFnOnce(C, DoctorOptions, Arc<Metrics>) -> Diagnosis,
) -> ExitCode {
    // Only `dynamic-mcp` has commands of that kind.
    let command = async |_: Subcommand, _: Vec<String>, _: Result<C, ConfigError>| nothing_to_say();
    run_with_commands(start, doctor, command, async |_: C| String::new())
}

/// The same for a program that can say more of a valid configuration than that it is: `check` answers
/// `--check-config`, with lines of text.
#[must_use]
pub fn run_with_check<C: ServiceConfig>(
    start: impl AsyncFnOnce(C, App) -> Result<(), StartError>,
    check: impl AsyncFnOnce(C) -> String,
) -> ExitCode {
    let doctor = async |_: C, _: DoctorOptions, _: Arc<Metrics>| nothing_to_say();
    let command = async |_: Subcommand, _: Vec<String>, _: Result<C, ConfigError>| nothing_to_say();
    run_with_commands(start, doctor, command, check)
}

/// What is never asked for: only programs that have sandboxes or commands are asked for theirs.
fn nothing_to_say() -> Diagnosis {
    Diagnosis {
        complaint: Some(String::from("this program has no such command")),
        exit_code: 1,
        ..Diagnosis::default()
    }
}

/// The same for `dynamic-mcp`, which has commands with words of their own. `command` gets the
/// configuration, or what is wrong with it: not every command needs one; `check` as in
/// [`run_with_check`].
#[must_use]
pub fn run_with_commands<C: ServiceConfig>(
    start: impl AsyncFnOnce(C, App) -> Result<(), StartError>,
    doctor: impl AsyncFnOnce(C, DoctorOptions, Arc<Metrics>) -> Diagnosis,
    command: impl AsyncFnOnce(Subcommand, Vec<String>, Result<C, ConfigError>) -> Diagnosis,
    check: impl AsyncFnOnce(C) -> String,
) -> ExitCode {
    let environment = Environment::of_process();
    match decide::<C>(&environment) {
        Decision::Run(loaded) => match runtime() {
            Ok(runtime) => {
                let code = launch(&runtime, &environment, *loaded, start);
                // The drain has waited for what counts; a blocking call must not hold the exit.
                runtime.shutdown_background();
                code
            }
            Err(error) => fail(&format!("the runtime cannot start: {error}")),
        },
        Decision::Doctor(config, options, refusal) => {
            if let Some(error) = &refusal {
                complain(&error.to_string());
            }
            let code = examine(*config, options, doctor);
            if refusal.is_some() {
                ExitCode::from(WOULD_NOT_START)
            } else {
                code
            }
        }
        Decision::Subcommand(which, words, config) => {
            let config = config.map(|config| *config);
            in_a_runtime(command(which, words, config))
        }
        Decision::Check(loaded) => {
            let Loaded {
                config, warnings, ..
            } = *loaded;
            warn(&warnings);
            in_a_runtime(async {
                let more = check(config).await;
                let name = C::SERVICE.name();
                let text = format!("{name}: the configuration is valid\n{more}");
                Diagnosis {
                    text,
                    ..Diagnosis::default()
                }
            })
        }
        Decision::Print { text, warnings } => {
            warn(&warnings);
            say(&text)
        }
        Decision::Refuse(error) => {
            complain(&error.to_string());
            ExitCode::from(EXIT_CONFIG)
        }
        Decision::Health(loaded) => match loaded.config.readiness() {
            Some(address) => ask(&address, loaded.config.certificate()),
            None => fail("there is no address to ask"),
        },
    }
}

fn examine<C: ServiceConfig>(
    config: C,
    options: DoctorOptions,
    doctor: impl AsyncFnOnce(C, DoctorOptions, Arc<Metrics>) -> Diagnosis,
) -> ExitCode {
    let metrics = match Metrics::new(build_info(C::SERVICE)) {
        Ok(metrics) => Arc::new(metrics),
        Err(error) => return fail(&error.to_string()),
    };
    in_a_runtime(doctor(config, options, metrics))
}

/// Says what `answer` comes to.
fn in_a_runtime(answer: impl Future<Output = Diagnosis>) -> ExitCode {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("the runtime cannot start: {error}")),
    };
    let diagnosis = runtime.block_on(Box::pin(answer));
    // What hangs (a file system, say) must not hold the answer.
    runtime.shutdown_background();
    let said = say(&diagnosis.text);
    if let Some(complaint) = &diagnosis.complaint {
        complain(complaint);
    }
    match diagnosis.exit_code {
        0 => said,
        code => ExitCode::from(code),
    }
}

fn ask(address: &crate::ListenAddress, certificate: Option<&Path>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let answer = match runtime {
        Ok(runtime) => runtime.block_on(probe::ask(address, certificate)),
        Err(error) => Err(error.to_string()),
    };
    match answer {
        Ok((true, text)) => say(&format!("{text}\n")),
        Ok((false, text)) => fail(&text),
        Err(why) => fail(&why),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores)
        .enable_all()
        .build()
}

fn launch<C: ServiceConfig>(
    runtime: &tokio::runtime::Runtime,
    environment: &Environment,
    loaded: Loaded<C>,
    start: impl AsyncFnOnce(C, App) -> Result<(), StartError>,
) -> ExitCode {
    let telemetry = {
        let _inside = runtime.enter();
        observe::start(environment, &loaded.config)
    };
    let telemetry = match telemetry {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(&error.to_string()),
    };
    let to_file = loaded.config.process().log.file.is_some();
    let code = match runtime.block_on(Box::pin(live(environment, &telemetry, loaded, start))) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(%error, "the start failed");
            // A log in a file is not where somebody looks who has just started this.
            if to_file || !telemetry.control().takes_errors() {
                complain(&error.to_string());
            }
            let config = error.downcast_ref::<ConfigError>().is_some();
            ExitCode::from(if config { EXIT_CONFIG } else { 1 })
        }
    };
    telemetry.flush();
    code
}

async fn live<C: ServiceConfig>(
    environment: &Environment,
    telemetry: &Telemetry,
    loaded: Loaded<C>,
    start: impl AsyncFnOnce(C, App) -> Result<(), StartError>,
) -> Result<ExitCode, StartError> {
    let mut signals = Signals::listen()?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let metrics = Arc::new(Metrics::new(build_info(C::SERVICE))?);
    telemetry.count_in(&metrics);
    panics::report(Arc::clone(&metrics));
    let config = loaded.config;
    let process = config.process().clone();
    let profile_token = config.profile_token().cloned();
    let records = ProfileRecords::default();
    let mut listeners = Vec::new();
    for (name, address) in config.listeners() {
        let listener = BoundListener::bind(name, &address).await?;
        tracing::info!(listener = name, address = %listener, "listening");
        listeners.push((name, listener));
    }
    let (tasks, health) = (Tasks::new(), Health::new());
    let (requests, reload) = Reload::channel();
    tasks.spawn("SIGHUP", OnFailure::Essential, signals.reloads(requests)?);
    let control = telemetry.control();
    let levels = Levels::new(
        environment,
        &process,
        control,
        reload.clone(),
        Arc::clone(&metrics),
    );
    tasks.spawn("log level", OnFailure::Essential, levels.run::<C>());
    let mut app = App {
        tasks: tasks.clone(),
        health: health.clone(),
        metrics: Arc::clone(&metrics),
        view: loaded.view,
        reload,
        profiles: records.clone(),
        listeners,
    };
    if let Some(listener) = app.listener(ADMIN_LISTENER) {
        let profiles = profiles::routes_of(profile_token.as_ref(), &records, &metrics);
        let metrics = process.telemetry.metrics.then_some(metrics);
        let router = admin::routes_with(health.clone(), metrics, profiles);
        // No server in the sense of the drain: it answers `draining` until the very end.
        tasks.spawn(
            "admin endpoint",
            OnFailure::Essential,
            admin::serve(listener, router),
        );
    }
    let started = tokio::select! {
        started = Box::pin(start(config, app)) => started,
        (name, code) = signals.next() => {
            tracing::info!(signal = name, "stopped while starting");
            return Ok(exit_code(code));
        }
    };
    if let Err(error) = started {
        tasks.drain(std::time::Duration::ZERO).await;
        return Err(error);
    }
    health.set_started();
    let manager = Notify::to(environment.variables.get("NOTIFY_SOCKET"));
    manager.ready();
    tracing::info!(program = C::SERVICE.name(), version = VERSION, "ready");
    let reason = tokio::select! {
        reason = tasks.stop_wanted() => reason,
        (name, _) = signals.next() => StopReason::Requested(name.to_owned()),
    };
    health.set_draining();
    manager.stopping();
    tracing::info!(%reason, "stopping");
    let drain = async {
        tokio::time::sleep(process.shutdown.min_delay).await;
        tasks.drain(process.shutdown.grace).await
    };
    tokio::select! {
        _ = drain => tracing::info!("stopped"),
        (name, code) = signals.next() => {
            tracing::warn!(signal = name, "a second signal: ending at once");
            std::process::exit(code)
        }
    }
    Ok(match reason {
        StopReason::Requested(_) => ExitCode::SUCCESS,
        StopReason::Failed(_) => ExitCode::FAILURE,
    })
}

fn exit_code(code: i32) -> ExitCode {
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        complain(&format!("warning: {warning}"));
    }
}

fn say(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has gone; there is nobody to tell.
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(text: &str) -> ExitCode {
    complain(text);
    ExitCode::FAILURE
}

fn complain(text: &str) {
    // Before logging is up, and for answers to a person, stderr is written directly; if it is
    // closed there is nobody to tell.
    if writeln!(std::io::stderr(), "{text}").is_err() {
        tracing::debug!("stderr is closed");
    }
}
