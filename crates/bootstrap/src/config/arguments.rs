//! The command line.

use super::key::Key;
use super::key::{Kind, flags_of};
use super::later::LATER;
use super::nearest::{flags, nearest};
use super::problem::Problem;
use super::sections::keys;

/// What the process is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Run,
    CheckConfig,
    PrintConfig,
    Help,
    Version,
    Health,
    Doctor(DoctorOptions),
    Subcommand(Subcommand),
}

/// A command of `dynamic-mcp` with words of its own, which follow it on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subcommand {
    /// `keys`: makes, lists, revokes and rotates API keys.
    Keys,
    /// `certs`: makes certificates and keys for the channels between services.
    Certs,
    /// `audit`: verifies and searches audit logs.
    Audit,
}

impl Subcommand {
    /// All of them.
    pub const ALL: [Subcommand; 3] = [Subcommand::Keys, Subcommand::Certs, Subcommand::Audit];

    /// The word on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Subcommand::Keys => "keys",
            Subcommand::Certs => "certs",
            Subcommand::Audit => "audit",
        }
    }

    fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == word)
    }
}

/// What `doctor` was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DoctorOptions {
    /// Answer in JSON.
    pub json: bool,
    /// Attack the sandboxes of this host too.
    pub attack: bool,
}

/// A flag with its value as given.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Flag {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Its value may be a secret.
impl std::fmt::Debug for Flag {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Flag({} ***)", self.name)
    }
}

#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) command: Command,
    pub(crate) flags: Vec<Flag>,
    /// What belongs to a [`Subcommand`]: everything after it that is no flag of the configuration.
    pub(crate) words: Vec<String>,
    pub(crate) problems: Vec<Problem>,
}

/// What a flag means.
enum Meaning {
    Key(&'static Key),
    /// `--…-file`: the value is the path of a file with the secret.
    PathOfSecret,
    Later,
}

fn meaning(flag: &str) -> Option<Meaning> {
    for key in keys() {
        for name in key.flags() {
            if flag == name {
                return Some(Meaning::Key(key));
            }
            if key.from_file && flag.strip_suffix("-file") == Some(name.as_str()) {
                return Some(Meaning::PathOfSecret);
            }
        }
    }
    later_of_flag(flag).map(|_| Meaning::Later)
}

/// The later key that a flag names.
pub(crate) fn later_of_flag(flag: &str) -> Option<&'static str> {
    LATER
        .iter()
        .find(|later| flags_of(later.name).iter().any(|f| f == flag))
        .map(|l| l.name)
}

pub(crate) fn parse(arguments: &[String]) -> Arguments {
    let mut parsed = Arguments {
        command: Command::Run,
        flags: Vec::new(),
        words: Vec::new(),
        problems: Vec::new(),
    };
    let mut rest = arguments.iter().peekable();
    let mut first = true;
    while let Some(argument) = rest.next() {
        if let Command::Subcommand(_) = parsed.command
            && !is_flag_of_the_configuration(argument)
        {
            parsed.words.push(argument.clone());
            continue;
        }
        let command = match argument.as_str() {
            "--help" | "-h" => Some(Command::Help),
            "--version" | "-V" => Some(Command::Version),
            "--check-config" => Some(Command::CheckConfig),
            "--print-config" => Some(Command::PrintConfig),
            "health" if first => Some(Command::Health),
            "doctor" if first => Some(Command::Doctor(DoctorOptions::default())),
            word if first => Subcommand::named(word).map(Command::Subcommand),
            _ => None,
        };
        first = false;
        if let Command::Doctor(options) = &mut parsed.command {
            let option = match argument.as_str() {
                "--json" => Some(&mut options.json),
                "--attack" => Some(&mut options.attack),
                _ => None,
            };
            if let Some(option) = option {
                *option = true;
                continue;
            }
        }
        if let Some(command) = command {
            // `--help` beats everything, whatever else is there.
            if parsed.command != Command::Help {
                parsed.command = command;
            }
            continue;
        }
        let Some(flag) = argument.strip_prefix("--").filter(|flag| !flag.is_empty()) else {
            parsed.problems.push(Problem::new(
                argument,
                "is neither a flag nor a command",
                "flags are `--key value` or `--key=value`; commands (`health`, and `doctor` of what runs sandboxes) are given first",
            ));
            continue;
        };
        let (name, inline) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let Some(meaning) = meaning(name) else {
            parsed.problems.push(unknown(name));
            // What follows is its value, if anything.
            if inline.is_none() && rest.peek().is_some_and(|next| !next.starts_with("--")) {
                rest.next();
            }
            continue;
        };
        let following = |rest: &mut std::iter::Peekable<std::slice::Iter<'_, String>>| {
            rest.next_if(|next| !next.starts_with("--")).cloned()
        };
        let is_switch = match meaning {
            Meaning::Key(key) => key.kind == Kind::Bool,
            Meaning::Later => true,
            Meaning::PathOfSecret => false,
        };
        match inline.or_else(|| following(&mut rest)) {
            Some(value) => parsed.flags.push(Flag {
                name: name.to_owned(),
                value,
            }),
            None if is_switch => {
                parsed.flags.push(Flag {
                    name: name.to_owned(),
                    value: String::from("true"),
                });
            }
            None => parsed.problems.push(Problem::new(
                format!("--{name}"),
                "has no value",
                format!("write `--{name} VALUE` or `--{name}=VALUE`"),
            )),
        }
    }
    parsed
}

fn is_flag_of_the_configuration(argument: &str) -> bool {
    let name = argument.strip_prefix("--").unwrap_or_default();
    meaning(name.split_once('=').map_or(name, |(name, _)| name)).is_some()
}

fn unknown(name: &str) -> Problem {
    let fix = match nearest(name, flags()) {
        Some(known) => format!("did you mean --{known}? `--help` lists every flag"),
        None => String::from("remove it; `--help` lists every flag"),
    };
    Problem::new(format!("--{name}"), "is not a flag of this program", fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Arguments {
        parse(
            &line
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        )
    }

    fn flag(name: &str, value: &str) -> Flag {
        Flag {
            name: name.to_owned(),
            value: value.to_owned(),
        }
    }

    #[test]
    fn both_forms_and_switches() {
        let arguments = parsed("--port 1 --host=h --dynamic-read-only --mcp-path=/a=b");
        assert_eq!(
            arguments.flags,
            [
                flag("port", "1"),
                flag("host", "h"),
                flag("dynamic-read-only", "true"),
                flag("mcp-path", "/a=b")
            ]
        );
        assert_eq!(arguments.problems, []);
        assert_eq!(
            parsed("--dynamic-read-only false").flags,
            [flag("dynamic-read-only", "false")]
        );
    }

    #[test]
    fn flags_of_the_node_server_are_known() {
        for name in [
            "profile",
            "transport",
            "host",
            "port",
            "path",
            "http-session-ttl-seconds",
            "http-max-request-bytes",
            "dynamic-backend",
            "dynamic-store",
            "dynamic-max-tools",
            "dynamic-read-only",
            "require-admin-token",
            "admin-token",
            "dynamic-pg-url",
            "dynamic-pg-schema",
            "dynamic-pg-init-max-attempts",
            "dynamic-pg-init-backoff-ms",
            "sandbox-allowed-images",
            "sandbox-blocked-packages",
            "execution-engine",
            "experimental-upstream-mcp-attach",
            "experimental-upstream-mcp-attach-max",
            "docker-bin",
            "sandbox-memory",
            "sandbox-cpu",
            "sandbox-max-dependencies",
            "sandbox-max-output-bytes",
            "sandbox-max-timeout-ms",
            "sandbox-session-timeout-seconds",
            "sandbox-max-sessions",
            "tool-max-concurrency",
            "tool-max-calls-per-window",
            "tool-rate-window-ms",
            "audit-enabled",
            "audit-file",
            "audit-max-event-bytes",
            "audit-max-file-bytes",
            "audit-max-files",
            "auth-mode",
            "auth-jwks-url",
            "auth-issuer",
            "auth-audience",
            "auth-required-scopes",
        ] {
            assert!(meaning(name).is_some(), "--{name}");
        }
    }

    #[test]
    fn commands() {
        assert_eq!(parsed("health --port 1").command, Command::Health);
        let doctor = |json, attack| Command::Doctor(DoctorOptions { json, attack });
        assert_eq!(parsed("doctor").command, doctor(false, false));
        let all = parsed("doctor --attack --sandbox-memory 64m --json");
        assert_eq!(all.command, doctor(true, true));
        assert_eq!(all.flags, [flag("sandbox-memory", "64m")]);
        assert_eq!(parsed("--json").problems.len(), 1);
        assert_eq!(parsed("--check-config").command, Command::CheckConfig);
        assert_eq!(parsed("--help --version").command, Command::Help);
        assert_eq!(parsed("-V").command, Command::Version);
        assert_eq!(parsed("").command, Command::Run);
    }

    #[test]
    fn a_subcommand_has_words_beside_the_flags_of_the_configuration() {
        let arguments = parsed("keys create --name ci --dynamic-store a.db --help x");
        assert_eq!(arguments.command, Command::Subcommand(Subcommand::Keys));
        assert_eq!(arguments.words, ["create", "--name", "ci", "--help", "x"]);
        assert_eq!(arguments.flags, [flag("dynamic-store", "a.db")]);
        assert_eq!(arguments.problems, []);
        assert_eq!(parsed("--port 1 keys").problems.len(), 1, "it comes first");
    }

    #[test]
    fn mistakes_are_all_named() {
        let problems = parsed("--prot 1 stray --host --port 2 health").problems;
        let keys: Vec<&str> = problems.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(keys, ["--prot", "stray", "--host", "health"]);
        assert!(problems[0].fix.contains("--port"), "{}", problems[0].fix);
    }
}
