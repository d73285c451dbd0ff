//! What is wrong with a configuration, in words that say how to mend it.

use std::fmt;

use super::key::Service;

/// Longest value repeated in a message, in characters.
const MAX_SHOWN: usize = 120;

/// One mistake: the key, where its value came from, what is allowed and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Environment name of the key, or the flag or file key that nobody knows.
    pub key: String,
    /// Where the value came from; empty when there is none.
    pub source: String,
    /// The value, cut to 120 characters; `None` for secrets and absent values.
    pub value: Option<String>,
    /// What is wrong, with the allowed values.
    pub message: String,
    /// What to do.
    pub fix: String,
}

impl Problem {
    /// A problem with a key as such.
    #[must_use]
    pub fn new(key: impl Into<String>, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            source: String::new(),
            value: None,
            message: message.into(),
            fix: fix.into(),
        }
    }

    pub(crate) fn from(mut self, source: impl fmt::Display) -> Self {
        self.source = source.to_string();
        self
    }

    pub(crate) fn value(mut self, value: &str) -> Self {
        self.value = Some(shorten(value));
        self
    }
}

/// Cuts long values and keeps control characters off the terminal.
pub(crate) fn shorten(value: &str) -> String {
    let mut shown: String = value.escape_debug().take(MAX_SHOWN).collect();
    if value.escape_debug().count() > MAX_SHOWN {
        shown.push('…');
    }
    shown
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = `{value}`")?;
        }
        if !self.source.is_empty() {
            write!(f, " ({})", self.source)?;
        }
        write!(f, ": {}\n    fix: {}", self.message, self.fix)
    }
}

/// Everything that is wrong with a configuration. Its text lists all of it.
#[derive(Debug, Clone)]
pub struct ConfigError {
    /// The program that was to start.
    pub service: Service,
    /// At least one problem.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// An error with one problem, for what a service finds out only after loading (a key that is no
    /// PEM, a store that is no database). Exits with 78 like the others.
    #[must_use]
    pub fn single(service: Service, problem: Problem) -> Self {
        Self {
            service,
            problems: vec![problem],
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(
            f,
            "{} cannot start: {count} {noun} in its configuration",
            self.service.name()
        )?;
        for problem in &self.problems {
            write!(f, "\n- {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
