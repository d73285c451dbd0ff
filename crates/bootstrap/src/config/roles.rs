//! Roles as a setting: entries `name=scope scope`.

use domain::principal::Roles;
use serde_json::Value as Json;

use super::key::Key;
use super::value::{Raw, Value};

impl Value for Roles {
    fn parse(raw: &Raw, key: &Key) -> Result<Self, String> {
        let entries = <Vec<String> as Value>::parse(raw, key)?;
        Roles::with(&entries).map_err(|error| error.message().to_owned())
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }

    fn json(&self, _: &Key) -> Json {
        let words = |scopes: &std::collections::BTreeSet<String>| {
            let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
            scopes.join(" ")
        };
        self.iter()
            .map(|(name, scopes)| format!("{name}={}", words(scopes)))
            .collect()
    }
}
