//! The public keys whose tokens are accepted, and what each may be used for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use domain::{Scope, TenantId};
use jsonwebtoken::DecodingKey;
use serde::Deserialize;

use super::keys::{KeyError, SPKI_PREFIX, SigningKey, key_id};
use super::{Audience, Claims};

/// Stands for every scope, or every tenant.
const ALL: &str = "*";

/// The public keys whose tokens are accepted: several while a key is being replaced.
#[derive(Clone, Default)]
pub struct VerifyKeys(HashMap<String, VerifyKey>);

/// One of them.
#[derive(Clone)]
pub(crate) struct VerifyKey {
    pub(crate) decoding: DecodingKey,
    /// `None`: the key of a gateway or an executor of this deployment, for everything.
    pub(crate) grant: Option<Arc<Grant>>,
}

/// What a key that is listed with an issuer may be used for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The service that holds the key; where certificates are shown, the name in its certificate.
    pub issuer: String,
    /// The services that it may call: `registry`, `executor`.
    pub audiences: Vec<String>,
    /// Scopes that its principals may hold; `*` for all.
    pub scopes: Vec<String>,
    /// Tenants that its principals may belong to; `*` for all.
    pub tenants: Vec<String>,
    /// The `PUBLIC KEY` block.
    public_key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    keys: Vec<Grant>,
}

impl Grant {
    /// Why the claims go beyond what the key may be used for.
    pub(crate) fn refusal(&self, claims: &Claims) -> Option<&'static str> {
        let listed = |list: &[String], wanted: &str| list.iter().any(|one| one == wanted);
        let admin = listed(&self.scopes, Scope::Admin.as_str());
        // As everywhere, admin implies all but what our own services do for themselves.
        let covered = |scope: &String| {
            listed(&self.scopes, scope) || admin && scope != Scope::Internal.as_str()
        };
        if !listed(&self.audiences, &claims.aud) {
            return Some("the identity's key is not for this service");
        }
        if !listed(&self.tenants, ALL) && !listed(&self.tenants, &claims.tenant) {
            return Some("the identity's key is not for this tenant");
        }
        if !listed(&self.scopes, ALL) && !claims.scopes.iter().all(covered) {
            return Some("the identity claims scopes that its key may not give");
        }
        None
    }

    fn check(&self) -> Result<(), KeyError> {
        let wrong = |what: String| Err(KeyError::Table(what));
        let Self {
            issuer,
            audiences,
            scopes,
            tenants,
            ..
        } = self;
        if !is_service_name(issuer) {
            return wrong(format!(
                "issuer {issuer:?} is not 1-63 lower-case letters, digits and `-`"
            ));
        }
        let known = [Audience::Registry, Audience::Executor];
        for audience in audiences {
            if !known.iter().any(|known| known.as_str() == audience) {
                return wrong(format!(
                    "audience {audience:?} of {issuer} is neither registry nor executor"
                ));
            }
        }
        for tenant in tenants {
            if tenant != ALL && TenantId::parse(tenant).is_err() {
                return wrong(format!("tenant {tenant:?} of {issuer} is no tenant"));
            }
        }
        for (name, list) in [
            ("audiences", audiences),
            ("scopes", scopes),
            ("tenants", tenants),
        ] {
            if list.is_empty() {
                return wrong(format!("{name} of {issuer} is empty"));
            }
        }
        Ok(())
    }
}

/// Whether a name can be a service's: 1-63 lower-case letters, digits and `-`, a letter first.
#[must_use]
pub fn is_service_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(plain)
}

impl VerifyKeys {
    /// Accepts one key of this process: for standalone and tests.
    #[must_use]
    pub fn of(key: &SigningKey) -> Self {
        let verify = VerifyKey {
            decoding: DecodingKey::from_ed_der(key.public()),
            grant: None,
        };
        Self(HashMap::from([(key_id(key.public()), verify)]))
    }

    /// Reads `PUBLIC KEY` blocks, one after the other, and after them `[[keys]]` tables of TOML; either
    /// may be missing. Lines that start with `#` are comments.
    ///
    /// # Errors
    /// What is wrong with the text; nothing is accepted when one key is wrong.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let at = text
            .lines()
            .position(|line| line.trim_start().starts_with("[[keys]]"));
        let lines: Vec<&str> = text.lines().collect();
        let (plain, tables) = lines.split_at(at.unwrap_or(lines.len()));
        check_stray(plain)?;
        let mut keys = Self::default();
        for public in public_keys(&plain.join("\n"))? {
            keys.add(&public, None)?;
        }
        if !tables.is_empty() {
            // The whole message of a TOML error repeats lines, which may hold what should not be there.
            let tables: Tables = toml::from_str(&tables.join("\n"))
                .map_err(|why| KeyError::Table(why.message().to_owned()))?;
            for grant in tables.keys {
                grant.check()?;
                match public_keys(&grant.public_key)?.as_slice() {
                    [public] => keys.add(public, Some(grant))?,
                    [] => return Err(KeyError::Empty),
                    _ => {
                        let why = format!("public_key of {} holds several keys", grant.issuer);
                        return Err(KeyError::Table(why));
                    }
                }
            }
        }
        if keys.0.is_empty() {
            Err(KeyError::Empty)
        } else {
            Ok(keys)
        }
    }

    /// The ids of the keys with their issuers; the issuer of a plain key is empty.
    #[must_use]
    pub fn ids(&self) -> BTreeMap<&str, &str> {
        self.0
            .iter()
            .map(|(id, key)| {
                let issuer = key.grant.as_ref().map_or("", |grant| grant.issuer.as_str());
                (id.as_str(), issuer)
            })
            .collect()
    }

    pub(crate) fn get(&self, id: &str) -> Option<&VerifyKey> {
        self.0.get(id)
    }

    fn add(&mut self, public: &[u8; 32], grant: Option<Grant>) -> Result<(), KeyError> {
        let id = key_id(public);
        let verify = VerifyKey {
            decoding: DecodingKey::from_ed_der(public),
            grant: grant.map(Arc::new),
        };
        match self.0.insert(id.clone(), verify.clone()) {
            Some(before) if before.grant != verify.grant => Err(KeyError::Twice(id)),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for VerifyKeys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("VerifyKeys").field(&self.ids()).finish()
    }
}

/// A key that somebody pasted badly would be left out without a word.
fn check_stray(lines: &[&str]) -> Result<(), KeyError> {
    let mut inside = false;
    for (at, line) in lines.iter().enumerate() {
        let line = line.trim();
        if line.starts_with("-----BEGIN ") {
            inside = true;
        } else if line.starts_with("-----END ") {
            inside = false;
        } else if !inside && !line.is_empty() && !line.starts_with('#') {
            return Err(if at == 0 && lines.len() == 1 {
                KeyError::NotPem
            } else {
                KeyError::Stray(at + 1)
            });
        }
    }
    Ok(())
}

fn public_keys(text: &str) -> Result<Vec<[u8; 32]>, KeyError> {
    let blocks = pem::parse_many(text).map_err(|_| KeyError::NotPem)?;
    let public = |block: &pem::Pem| {
        if block.tag() != "PUBLIC KEY" {
            return Err(KeyError::WrongBlock(block.tag().to_owned(), "PUBLIC KEY"));
        }
        block
            .contents()
            .strip_prefix(&SPKI_PREFIX)
            .and_then(|rest| <[u8; 32]>::try_from(rest).ok())
            .ok_or(KeyError::NotEd25519)
    };
    blocks.iter().map(public).collect()
}

#[cfg(test)]
mod tests;
