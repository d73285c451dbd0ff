//! API keys of a configuration file: hashes, for who manages keys as files.

use std::collections::BTreeSet;

use domain::keys::{ApiKeyRecord, KeptKey, KeyDigest, KeyPrefix, NewKey};
use domain::principal::Roles;
use domain::{Error, TenantId};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value as Json;

use super::key::Key;
use super::value::{Raw, Value};

/// Most keys of a file.
const MOST: usize = 1_000;
/// Who made a key that stands in a file.
const MADE_BY: &str = "configuration file";

/// Keys as they are written.
#[derive(Debug, Clone, Default)]
pub struct FileKeys(Vec<FileKey>);

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileKey {
    name: String,
    prefix: String,
    sha256: String,
    tenant: Option<TenantId>,
    subject: Option<String>,
    role: Option<String>,
    #[serde(default)]
    scopes: BTreeSet<String>,
    tier: Option<String>,
    expires: Option<Timestamp>,
}

impl FileKeys {
    /// The keys with the scopes of their roles.
    ///
    /// # Errors
    /// What is wrong with which key, and what to do.
    pub(super) fn resolve(&self, roles: &Roles) -> Result<Vec<KeptKey>, (String, String)> {
        let mut kept: Vec<KeptKey> = Vec::new();
        for key in &self.0 {
            let wrong = |why: String, fix: &str| (format!("{:?}: {why}", key.name), fix.to_owned());
            let key = key.resolve(roles).map_err(|error| {
                let fix = error.limit().or(error.fix()).unwrap_or("correct it");
                wrong(error.to_string(), fix)
            })?;
            if kept
                .iter()
                .any(|other| other.record.prefix == key.record.prefix)
            {
                let why = format!("another key has the prefix {}", key.record.prefix);
                return Err(wrong(why, "keep one of them"));
            }
            kept.push(key);
        }
        Ok(kept)
    }
}

impl FileKey {
    fn resolve(&self, roles: &Roles) -> Result<KeptKey, Error> {
        let mut scopes = self.scopes.clone();
        if let Some(role) = &self.role {
            if !roles.has(role) {
                return Err(Error::invalid("role", format!("there is no role {role:?}"))
                    .with_fix("name one of MCP_AUTH_ROLES"));
            }
            scopes.extend(roles.scopes(role).map(str::to_owned));
        }
        let key = NewKey {
            prefix: KeyPrefix::parse(&self.prefix)?,
            digest: KeyDigest::parse(&self.sha256)?,
            name: self.name.clone(),
            subject: self.subject.clone(),
            scopes,
            role: self.role.clone(),
            tier: self.tier.clone(),
            expires_at: None,
        };
        // When the file was written is not known, and an end that has passed is no mistake.
        let made_at = Timestamp::UNIX_EPOCH;
        key.check(made_at)?;
        let digest = key.digest;
        let tenant = self.tenant.clone().unwrap_or_default();
        let mut record = ApiKeyRecord::made(key, tenant, MADE_BY, made_at);
        record.expires_at = self.expires;
        Ok(KeptKey { record, digest })
    }
}

impl Value for FileKeys {
    fn parse(raw: &Raw, _: &Key) -> Result<Self, String> {
        // What is written here may be a whole key, by mistake: it is never repeated.
        let items: Vec<Json> = match raw {
            Raw::List(items) if items.is_empty() => return Ok(Self::default()),
            Raw::List(_) => return Err(String::from("is no list of tables")),
            Raw::Text(text) | Raw::OfFile { text, .. } => {
                serde_json::from_str(text).map_err(|_| "is no list of tables")?
            }
        };
        let read = |item: Json| {
            FileKey::deserialize(item).map_err(|why| {
                let why = why.to_string();
                let names_a_field = why.contains(" field `");
                let other = "a value is of another type";
                let why = if names_a_field { &why } else { other };
                format!("a key cannot be read: {why}")
            })
        };
        let keys: Vec<FileKey> = items.into_iter().map(read).collect::<Result<_, _>>()?;
        if keys.len() > MOST {
            return Err(format!("has more than {MOST} keys"));
        }
        Ok(Self(keys))
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }

    fn json(&self, _: &Key) -> Json {
        let shown = self
            .0
            .iter()
            .map(|key| format!("{} ({})", key.name, key.prefix));
        shown.collect()
    }
}
