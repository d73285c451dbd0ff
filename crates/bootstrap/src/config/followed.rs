//! A value that may stand in a file of its own, which can change while the program runs.

use std::path::PathBuf;

use serde_json::Value as Json;

use super::key::Key;
use super::value::{Raw, Value};

/// A value, and the file that it was read from when `<NAME>_FILE` named one.
#[derive(Debug, Clone)]
pub struct Followed<T> {
    /// The value as it was at the start.
    pub value: T,
    /// Where it stands; `None` when the setting holds the value itself.
    pub file: Option<PathBuf>,
}

impl<T: Value> Value for Followed<T> {
    fn parse(raw: &Raw, key: &Key) -> Result<Self, String> {
        let file = match raw {
            Raw::OfFile { path, .. } => Some(path.clone()),
            Raw::Text(_) | Raw::List(_) => None,
        };
        let value = T::parse(raw, key)?;
        Ok(Self { value, file })
    }

    fn json(&self, key: &Key) -> Json {
        self.value.json(key)
    }
}
