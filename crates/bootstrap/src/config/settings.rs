//! The values that were found, read one key at a time; every mistake is collected.

use std::collections::HashMap;
use std::fmt;

use serde_json::Value as Json;

use super::key::{Key, Kind};
use super::problem::Problem;
use super::value::{Raw, Value};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Flag(String),
    Variable(String),
    DotEnv(String),
    File(String),
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag --{flag}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::DotEnv(name) => write!(f, ".env: {name}"),
            Self::File(key) => write!(f, "configuration file: {key}"),
            Self::Default => f.write_str("default"),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) raw: Raw,
    pub(crate) source: Source,
}

/// One line of the effective configuration.
#[derive(Debug, Clone)]
pub(crate) struct Effective {
    pub(crate) key: &'static Key,
    pub(crate) value: Json,
    pub(crate) source: Source,
}

#[derive(Debug)]
pub(crate) struct Settings {
    found: HashMap<&'static str, Found>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<String>,
    pub(crate) effective: Vec<Effective>,
}

impl Settings {
    pub(crate) fn new(found: HashMap<&'static str, Found>) -> Self {
        Self {
            found,
            problems: Vec::new(),
            warnings: Vec::new(),
            effective: Vec::new(),
        }
    }

    /// Reads one key. `None` when it has a problem.
    pub(crate) fn read<T: Value>(&mut self, key: &'static Key) -> Option<T> {
        let found = self
            .found
            .get(key.name)
            .cloned()
            .or_else(|| default_of(key));
        let Some(Found { raw, source }) = found else {
            let absent = T::absent();
            match &absent {
                Some(value) => self.note(key, value.json(key), Source::Default),
                None => self
                    .problems
                    .push(Problem::new(key.name, "must be set", set_to(key))),
            }
            return absent;
        };
        match T::parse(&raw, key) {
            Ok(value) => {
                self.note(key, value.json(key), source);
                Some(value)
            }
            Err(why) => {
                let mut problem = if why.is_empty() {
                    Problem::new(key.name, format!("must be {}", key.allowed()), mend(key))
                } else {
                    Problem::new(key.name, why, set_to(key))
                }
                .from(source);
                if !key.secret && !matches!(key.kind, Kind::Keys | Kind::Tools) {
                    problem = problem.value(&raw.shown());
                }
                self.problems.push(problem);
                None
            }
        }
    }

    /// Replaces the shown value of a key whose default depends on others.
    pub(crate) fn derived(&mut self, name: &str, value: Json) {
        if let Some(line) = self.effective.iter_mut().find(|line| line.key.name == name) {
            line.value = value;
        }
    }

    /// Records a contradiction at `name`, with the value that is set there.
    pub(crate) fn refuse(
        &mut self,
        name: &str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let mut problem = Problem::new(name, message, fix);
        if let Some(line) = self.effective.iter().find(|line| line.key.name == name) {
            if !line.value.is_null() {
                problem = problem.from(&line.source);
            }
            if !line.key.secret && !line.value.is_null() {
                let shown = match &line.value {
                    Json::String(text) => text.clone(),
                    other => other.to_string(),
                };
                problem = problem.value(&shown);
            }
        }
        self.problems.push(problem);
    }

    fn note(&mut self, key: &'static Key, value: Json, source: Source) {
        self.effective.push(Effective { key, value, source });
    }
}

fn default_of(key: &Key) -> Option<Found> {
    (!key.default.is_empty()).then(|| Found {
        raw: Raw::Text(key.default.to_owned()),
        source: Source::Default,
    })
}

fn set_to(key: &Key) -> String {
    let default = match key.default {
        "" => String::new(),
        default => format!(", or unset it for the default `{default}`"),
    };
    format!("set {} to {}{default}", key.name, key.allowed())
}

/// For a message that has already said what is allowed.
fn mend(key: &Key) -> String {
    match key.default {
        "" => format!("correct or unset {}", key.name),
        default => format!(
            "correct {}, or unset it for the default `{default}`",
            key.name
        ),
    }
}
