//! From arguments and environment to a configuration, or to what is printed instead.

use std::sync::Arc;

use serde_json::Value as Json;

use super::arguments::{self, Command, DoctorOptions, Subcommand};
use super::help::help;
use super::key::Service;
use super::layers::gather;
use super::problem::{ConfigError, Problem};
use super::services::{ServiceConfig, SettingsHandle};
use super::settings::Settings;
use super::show;
use crate::environment::Environment;
use crate::version::version_line;

/// A configuration that a program can start with.
#[derive(Debug, Clone)]
pub struct Loaded<C> {
    /// The typed sections.
    pub config: C,
    /// The effective configuration without secrets, by section, for `system.runtime_config`. A
    /// secret shows only as `<key>Set`.
    pub view: Arc<Json>,
    /// What is worth a line in the log.
    pub warnings: Vec<String>,
    /// The effective configuration as TOML with the source of each value, secrets as `***`.
    pub printed: String,
}

/// Loads the configuration of `C`'s program from what it was started with.
///
/// # Errors
/// Every problem at once.
pub fn load<C: ServiceConfig>(environment: &Environment) -> Result<Loaded<C>, ConfigError> {
    load_parsed(&arguments::parse(&environment.arguments), environment)
}

fn load_parsed<C: ServiceConfig>(
    arguments: &arguments::Arguments,
    environment: &Environment,
) -> Result<Loaded<C>, ConfigError> {
    let (config, settings) = read::<C>(arguments, environment);
    match config {
        Some(config) if settings.problems.is_empty() => Ok(Loaded {
            config,
            view: Arc::new(show::view(&settings.effective)),
            printed: show::toml(C::SERVICE, &settings.effective),
            warnings: settings.warnings,
        }),
        _ => Err(ConfigError {
            service: C::SERVICE,
            problems: settings.problems,
        }),
    }
}

fn read<C: ServiceConfig>(
    arguments: &arguments::Arguments,
    environment: &Environment,
) -> (Option<C>, Settings) {
    let mut settings = gather(C::SERVICE, arguments, environment);
    let config = C::read(&mut SettingsHandle(&mut settings), environment);
    (config, settings)
}

/// What a start comes to.
#[derive(Debug)]
pub(crate) enum Decision<C> {
    /// Run the program.
    Run(Box<Loaded<C>>),
    /// Ask the running one for its readiness.
    Health(Box<Loaded<C>>),
    /// Look whether this host can hold sandboxes. The program may not start with this configuration
    /// for other reasons, a key that is not there yet for example.
    Doctor(Box<C>, DoctorOptions, Option<ConfigError>),
    /// The configuration is valid: say so, with what the program adds to it, and warnings on stderr.
    Check(Box<Loaded<C>>),
    /// Carry out a command of `dynamic-mcp`; it says itself whether it needs the configuration.
    Subcommand(Subcommand, Vec<String>, Result<Box<C>, ConfigError>),
    /// Print this on stdout, warnings on stderr, and end well.
    Print { text: String, warnings: Vec<String> },
    /// Print this on stderr and end with 78.
    Refuse(ConfigError),
}

pub(crate) fn decide<C: ServiceConfig>(environment: &Environment) -> Decision<C> {
    let arguments = arguments::parse(&environment.arguments);
    let print = |text| Decision::Print {
        text,
        warnings: Vec::new(),
    };
    match arguments.command {
        Command::Help => return print(help(C::SERVICE)),
        Command::Version => return print(version_line(C::SERVICE)),
        Command::Run | Command::CheckConfig | Command::PrintConfig | Command::Health => {}
        Command::Doctor(options) if has_sandboxes(C::SERVICE) => {
            let (config, settings) = read::<C>(&arguments, environment);
            let refusal = (!settings.problems.is_empty()).then_some(ConfigError {
                service: C::SERVICE,
                problems: settings.problems,
            });
            return match (config, refusal) {
                (Some(config), refusal) => Decision::Doctor(Box::new(config), options, refusal),
                (None, Some(refusal)) => Decision::Refuse(refusal),
                (None, None) => Decision::Refuse(ConfigError {
                    service: C::SERVICE,
                    problems: Vec::new(),
                }),
            };
        }
        Command::Subcommand(command) if C::SERVICE == Service::Standalone => {
            let loaded = load_parsed::<C>(&arguments, environment);
            let config = loaded.map(|loaded| Box::new(loaded.config));
            return Decision::Subcommand(command, arguments.words, config);
        }
        Command::Subcommand(command) => {
            let fix = format!("it is a command of `dynamic-mcp {}`", command.name());
            return Decision::Refuse(ConfigError {
                service: C::SERVICE,
                problems: vec![Problem::new(
                    command.name(),
                    "is no command of this program",
                    fix,
                )],
            });
        }
        Command::Doctor(_) => {
            let fix = "ask `executor doctor` or `dynamic-mcp doctor`";
            return Decision::Refuse(ConfigError {
                service: C::SERVICE,
                problems: vec![Problem::new(
                    "doctor",
                    "this program runs no sandboxes",
                    fix,
                )],
            });
        }
    }
    let loaded = match load_parsed::<C>(&arguments, environment) {
        Ok(loaded) => loaded,
        Err(error) => return Decision::Refuse(error),
    };
    match arguments.command {
        Command::CheckConfig => Decision::Check(Box::new(loaded)),
        Command::PrintConfig => Decision::Print {
            text: loaded.printed,
            warnings: loaded.warnings,
        },
        Command::Health => Decision::Health(Box::new(loaded)),
        _ => Decision::Run(Box::new(loaded)),
    }
}

/// The programs that have a `doctor`.
pub(super) fn has_sandboxes(service: Service) -> bool {
    matches!(service, Service::Executor | Service::Standalone)
}
