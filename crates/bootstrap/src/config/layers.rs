//! Flags over environment over `.env` over file: which value each key gets, and what is refused on
//! the way.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::arguments::{Arguments, Flag, later_of_flag};
use super::file::{self, Entry};
use super::key::{Key, Kind, Service, Services, flags_of};
use super::later::{Effect, LATER, LATER_SECTIONS, Later};
use super::nearest::{file_keys, nearest, variables};
use super::problem::Problem;
use super::sections::keys;
use super::settings::{Found, Settings, Source};
use super::value::Raw;
use super::{dotenv, rate, sections::FileConfig, ttls};
use crate::environment::Environment;

/// Largest file that a secret is read from.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

struct Layers<'a> {
    flags: &'a [Flag],
    environment: &'a BTreeMap<String, String>,
    dotenv: BTreeMap<String, String>,
    file: Vec<Entry>,
    directory: &'a Path,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

/// Finds the value of every key of `service`.
pub(crate) fn gather(
    service: Service,
    arguments: &Arguments,
    environment: &Environment,
) -> Settings {
    let mut layers = Layers {
        flags: &arguments.flags,
        environment: &environment.variables,
        dotenv: BTreeMap::new(),
        file: Vec::new(),
        directory: &environment.directory,
        problems: arguments.problems.clone(),
        warnings: Vec::new(),
    };
    if service == Service::Standalone {
        layers.read_dotenv();
    }
    layers.read_file();
    let mut found = HashMap::new();
    for key in keys() {
        let Some(value) = layers.find(key) else {
            continue;
        };
        if key.services.contains(service) {
            found.insert(key.name, value);
        } else {
            layers.refuse_foreign(service, key, &value);
        }
    }
    layers.check_readers(&found);
    for later in LATER {
        layers.check_later(service, later);
    }
    layers.check_file_keys();
    layers.check_unknown_variables();
    for name in &environment.unreadable {
        layers.check_unreadable(name);
    }
    let mut settings = Settings::new(found);
    settings.problems = layers.problems;
    settings.warnings = layers.warnings;
    settings
}

impl Layers<'_> {
    fn read_dotenv(&mut self) {
        let path = self.directory.join(".env");
        match std::fs::read_to_string(&path) {
            Ok(text) => match dotenv::parse(&text) {
                Ok(variables) => self.dotenv = variables,
                Err(why) => self.problems.push(Problem::new(
                    ".env",
                    format!("cannot be read: {why}"),
                    "write one `NAME=value` a line",
                )),
            },
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => {}
            Err(why) => self.problems.push(Problem::new(
                ".env",
                format!("cannot be read: {why}"),
                "make it readable for this user, or remove it",
            )),
        }
    }

    fn read_file(&mut self) {
        let Some(found) = FileConfig::KEYS.first().and_then(|key| self.find(key)) else {
            return;
        };
        let path = self.directory.join(found.raw.shown());
        match file::read(&path) {
            Ok(entries) => self.file = entries,
            Err(why) => self.problems.push(
                Problem::new(
                    "CONFIG_PATH",
                    why,
                    "name a readable .toml, .json, .yaml or .yml file",
                )
                .from(&found.source)
                .value(&found.raw.shown()),
            ),
        }
    }

    /// The value of a key from the strongest layer that has one.
    fn find(&mut self, key: &Key) -> Option<Found> {
        self.flag(key)
            .or_else(|| self.variable(key, false))
            .or_else(|| self.variable(key, true))
            .or_else(|| self.entry(key))
    }

    fn flag(&mut self, key: &Key) -> Option<Found> {
        let names = key.flags();
        // The last one counts, as the Node server had it.
        let flag = self.flags.iter().rev().find(|flag| {
            let plain = if key.from_file {
                flag.name.strip_suffix("-file")
            } else {
                None
            };
            names
                .iter()
                .any(|name| *name == flag.name || plain == Some(name.as_str()))
        })?;
        let source = Source::Flag(flag.name.clone());
        if names.contains(&flag.name) {
            let raw = Raw::Text(flag.value.clone());
            return (!raw.is_blank() || key.kind.is_list()).then_some(Found { raw, source });
        }
        let path = flag.value.clone();
        self.secret_file(key, &path, source)
    }

    fn variable(&mut self, key: &Key, dotenv: bool) -> Option<Found> {
        let layer = if dotenv {
            &self.dotenv
        } else {
            self.environment
        };
        let source = |name: &str| {
            if dotenv {
                Source::DotEnv(name.to_owned())
            } else {
                Source::Variable(name.to_owned())
            }
        };
        let set = |name: &str| {
            layer
                .get(name)
                .filter(|v| !v.trim().is_empty() || key.kind.is_list())
                .cloned()
        };
        let direct = key.variables().find_map(|name| {
            set(name).map(|v| Found {
                raw: Raw::Text(v),
                source: source(name),
            })
        });
        let file_name = format!("{}_FILE", key.name);
        let path = key.from_file.then(|| set(&file_name)).flatten();
        match (direct, path) {
            (Some(direct), Some(_)) => {
                self.problems.push(
                    Problem::new(
                        key.name,
                        format!("is set twice: as {} and as {file_name}", key.name),
                        format!("unset {} and keep {file_name}", key.name),
                    )
                    .from(&direct.source),
                );
                Some(direct)
            }
            (Some(direct), None) => Some(direct),
            (None, Some(path)) => {
                let source = source(&file_name);
                self.secret_file(key, &path, source)
            }
            (None, None) => None,
        }
    }

    /// The content of a secret's file without its last line end.
    fn secret_file(&mut self, key: &Key, path: &str, source: Source) -> Option<Found> {
        let full: PathBuf = self.directory.join(path);
        let read = std::fs::metadata(&full).and_then(|found| {
            if found.len() > MAX_SECRET_BYTES {
                return Err(std::io::Error::other(format!(
                    "larger than {MAX_SECRET_BYTES} bytes"
                )));
            }
            std::fs::read_to_string(&full)
        });
        let why = match read {
            Ok(text) if text.trim().is_empty() => String::from("the file is empty"),
            Ok(text) => {
                // Keys that are read again when their files change are checked where that is done.
                if key.secret
                    && key.kind != Kind::Pem
                    && let Some(mode) = others_may(&full)
                {
                    self.problems.push(
                        Problem::new(
                            format!("{}_FILE", key.name),
                            format!("is a secret that everybody may use: mode {mode:04o}"),
                            format!(
                                "chmod 600 {} (in Kubernetes: defaultMode: 0400, or 0440 with \
                                 fsGroup), or set {} without a file",
                                full.display(),
                                key.name
                            ),
                        )
                        .from(&source)
                        .value(path),
                    );
                }
                let raw = Raw::OfFile {
                    text: text.trim_end_matches(['\r', '\n']).to_owned(),
                    path: full,
                };
                return Some(Found { raw, source });
            }
            Err(why) => why.to_string(),
        };
        self.problems.push(
            Problem::new(
                format!("{}_FILE", key.name),
                format!("its file cannot be used: {why}"),
                format!("name a readable file with the value of {}", key.name),
            )
            .from(source)
            .value(path),
        );
        None
    }

    fn entry(&mut self, key: &Key) -> Option<Found> {
        if matches!(key.kind, Kind::Rate | Kind::Rates)
            && let Some(tables) = rate::of_file(key.file, key.kind == Kind::Rates, &self.file)
        {
            return self.tables(key, tables);
        }
        if key.kind == Kind::Ttls
            && let Some(tables) = ttls::of_file(key.file, &self.file)
        {
            return self.tables(key, tables);
        }
        let wanted = file::normalised(key.file);
        let entry = self
            .file
            .iter()
            .find(|entry| file::normalised(&entry.path) == wanted)?;
        let source = Source::File(entry.path.clone());
        if let (Kind::Keys | Kind::Tools, Some(tables)) = (key.kind, &entry.tables) {
            let raw = Raw::Text(tables.clone());
            return Some(Found { raw, source });
        }
        let Some(raw) = entry.raw.clone() else {
            let problem = Problem::new(
                key.name,
                format!("must be {}", key.allowed()),
                format!("write {} as a plain value", entry.path),
            );
            self.problems.push(problem.from(source));
            return None;
        };
        (!raw.is_blank() || key.kind.is_list()).then_some(Found { raw, source })
    }

    /// What the tables under a key come to.
    fn tables(&mut self, key: &Key, tables: Result<Raw, String>) -> Option<Found> {
        let source = Source::File(key.file.to_owned());
        match tables {
            Ok(raw) => Some(Found { raw, source }),
            Err(why) => {
                let fix = format!("write {} as {}", key.file, key.allowed());
                let problem = Problem::new(key.name, why, fix);
                self.problems.push(problem.from(source));
                None
            }
        }
    }

    /// Warns of secrets in files that are there for other things too, and that everybody may read.
    fn check_readers(&mut self, found: &HashMap<&'static str, Found>) {
        let secret = |name: &str| keys().any(|key| key.name == name && key.secret);
        let secrets = || found.iter().filter(|(name, _)| secret(name));
        let dotenv = secrets().any(|(_, found)| matches!(found.source, Source::DotEnv(_)));
        let file = secrets().any(|(_, found)| matches!(found.source, Source::File(_)));
        let config = self.find_config();
        let dotenv = dotenv.then(|| self.directory.join(".env"));
        for path in dotenv.into_iter().chain(config.filter(|_| file)) {
            if let Some(mode) = others_may(&path) {
                self.warnings.push(format!(
                    "{} holds a secret, and everybody may use it: mode {mode:04o}; chmod 600 it, or \
                     keep the secret in a file of its own",
                    path.display()
                ));
            }
        }
    }

    fn find_config(&mut self) -> Option<PathBuf> {
        let key = FileConfig::KEYS.first()?;
        let found = self.find(key)?;
        Some(self.directory.join(found.raw.shown()))
    }

    fn refuse_foreign(&mut self, service: Service, key: &Key, found: &Found) {
        // A platform that sets PORT for every process does not mean this one's keys.
        if let Source::Variable(name) | Source::DotEnv(name) = &found.source
            && name != key.name
            && key.aliases.contains(&name.as_str())
        {
            self.warnings.push(format!(
                "the environment variable {name} is not used: it belongs to {}",
                owner(key.services)
            ));
            return;
        }
        self.problems
            .push(foreign(service, key.name, key.services).from(&found.source));
    }

    fn check_later(&mut self, service: Service, later: &Later) {
        let flag = self
            .flags
            .iter()
            .rev()
            .find(|flag| later_of_flag(&flag.name) == Some(later.name));
        let variable = || {
            let set = |layer: &BTreeMap<String, String>| {
                later.variables().find_map(|name| {
                    let value = layer.get(&name).filter(|value| !value.trim().is_empty())?;
                    Some((name, value.clone()))
                })
            };
            set(self.environment)
                .map(|(name, value)| (Source::Variable(name), value))
                .or_else(|| set(&self.dotenv).map(|(name, value)| (Source::DotEnv(name), value)))
        };
        let found = flag
            .map(|flag| (Source::Flag(flag.name.clone()), flag.value.clone()))
            .or_else(variable);
        let Some((source, value)) = found else { return };
        let Later { name, part, .. } = later;
        if !later.services.contains(service) {
            self.problems
                .push(foreign(service, name, later.services).from(source));
            return;
        }
        match later.effect {
            Effect::RefusedUnless(harmless) if value.trim().eq_ignore_ascii_case(harmless) => {}
            Effect::RefusedUnless(_) => self.problems.push(
                Problem::new(
                    *name,
                    format!("belongs to {part}, which this version does not have"),
                    format!("unset {name}"),
                )
                .from(source),
            ),
            Effect::Unused => self.warnings.push(format!(
                "{name} is accepted and not used ({source}): it belongs to {part}, which this version \
                 does not have"
            )),
        }
    }

    fn check_file_keys(&mut self) {
        for entry in &self.file {
            let given = file::normalised(&entry.path);
            let known = keys().any(|key| is_of(key, &given));
            if known {
                continue;
            }
            let later = LATER_SECTIONS.iter().find(|(section, _)| {
                let section = file::normalised(section);
                given
                    .strip_prefix(&section)
                    .is_some_and(|r| r.is_empty() || r.starts_with('.'))
            });
            let (message, fix) = match later {
                Some((section, part)) => (
                    format!("belongs to {part}, which this version does not have"),
                    format!("remove {section} from the file"),
                ),
                None => (
                    String::from("is not a key"),
                    match nearest(&entry.path, file_keys()) {
                        Some(known) => format!("did you mean {known}?"),
                        None => String::from("remove it; `--help` lists every key"),
                    },
                ),
            };
            let problem = Problem::new(&entry.path, message, fix);
            self.problems.push(problem.from("configuration file"));
        }
    }

    fn check_unknown_variables(&mut self) {
        let ours = self.environment.keys().chain(self.dotenv.keys());
        let mut unknown: Vec<&String> = ours
            .filter(|name| name.starts_with("MCP_") && !variables().any(|known| known == **name))
            .collect();
        unknown.sort();
        unknown.dedup();
        for name in unknown {
            let hint = nearest(name, variables())
                .map(|known| format!("; did you mean {known}?"))
                .unwrap_or_default();
            self.warnings.push(format!(
                "the environment variable {name} is unknown and ignored{hint}"
            ));
        }
    }

    fn check_unreadable(&mut self, name: &str) {
        if variables().any(|known| known == *name) || !name.starts_with(char::is_alphabetic) {
            self.problems.push(Problem::new(
                name,
                "its value is not valid UTF-8",
                "write it in UTF-8",
            ));
        }
    }
}

/// Whether a key of the file, normalised, is this one, or lies in its tables.
fn is_of(key: &Key, given: &str) -> bool {
    if key.file.is_empty() {
        return false;
    }
    let rest = given.strip_prefix(file::normalised(key.file).as_str());
    rest.is_some_and(|rest| {
        let holds_tables = matches!(key.kind, Kind::Rate | Kind::Rates | Kind::Ttls);
        rest.is_empty() || (holds_tables && rest.starts_with('.'))
    })
}

/// The mode of a file that users other than its owner and group may use.
fn others_may(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & 0o007 != 0).then_some(mode)
}

fn foreign(service: Service, name: &str, services: Services) -> Problem {
    Problem::new(
        name,
        format!("belongs to {}, not to {}", owner(services), service.name()),
        format!("unset it here{}", flag_hint(name)),
    )
}

fn flag_hint(name: &str) -> String {
    match flags_of(name).first() {
        Some(flag) => format!(" (variable {name}, flag --{flag} or file)"),
        None => String::new(),
    }
}

fn owner(services: Services) -> String {
    let names: Vec<&str> = Service::ALL
        .into_iter()
        .filter(|s| services.contains(*s))
        .map(Service::name)
        .collect();
    names.join(" and ")
}
