//! What a token says, once its signature is known to be good.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::principal::Roles;
use domain::{Principal, Scope, TenantId};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Accepted;
use super::denied::Denied;
use super::jose::present;

/// How far the issuer's clock and ours may be apart, in seconds.
pub(crate) const LEEWAY_SECONDS: f64 = 30.0;
/// Longest subject and client id, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// How the subject of a caller with an API key begins.
const KEY_SUBJECT: &str = "key:";
/// Most that all scopes have together, in bytes of a JSON array: our own services carry them in a
/// header (see [`crate::internal::MAX_TOKEN_BYTES`]).
const MAX_SCOPES_BYTES: usize = 4 * 1024;

/// What a token must say.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) tenant_claim: Option<String>,
    pub(crate) role_claim: Option<String>,
    pub(crate) roles: Roles,
}

/// The claims that are read. A claim that is there twice is an error.
#[derive(Deserialize)]
struct Claims {
    #[serde(default, deserialize_with = "present")]
    iss: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    aud: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    sub: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    exp: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    iat: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    scope: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    scp: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    client_id: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    azp: Option<Value>,
}

impl Expected {
    /// Whom the claims name, at this time (seconds since 1970).
    pub(crate) fn accept(&self, json: &[u8], now: f64) -> Result<Accepted, Denied> {
        let claims: Claims = serde_json::from_slice(json).map_err(|_| Denied::Claims)?;
        if text(claims.iss.as_ref())? != Some(&self.issuer) {
            return Err(missing_or(claims.iss.as_ref(), Denied::Issuer));
        }
        if !self.is_audience(claims.aud.as_ref())? {
            return Err(missing_or(claims.aud.as_ref(), Denied::Audience));
        }
        let expires = time(claims.exp.as_ref())?.ok_or(Denied::Claims)?;
        if expires + LEEWAY_SECONDS <= now {
            return Err(Denied::Expired);
        }
        for start in [&claims.nbf, &claims.iat] {
            if time(start.as_ref())?.is_some_and(|start| start > now + LEEWAY_SECONDS) {
                return Err(Denied::NotYetValid);
            }
        }
        let subject = text(claims.sub.as_ref())?.ok_or(Denied::Claims)?;
        // What an API key is called is no name that an issuer can give.
        if !is_name(subject) || subject.starts_with(KEY_SUBJECT) {
            return Err(Denied::Subject);
        }
        let client_id = match text(claims.client_id.as_ref())? {
            Some(id) => Some(id),
            None => text(claims.azp.as_ref())?,
        };
        if client_id.is_some_and(|id| !is_name(id)) {
            return Err(Denied::Claims);
        }
        let principal = Principal {
            tenant: self.tenant(json)?,
            subject: subject.to_owned(),
            client_id: client_id.map(str::to_owned),
            scopes: self.scopes(&claims, json)?,
            tier: None,
        };
        Ok(Accepted {
            principal: Arc::new(principal),
            expires: expires + LEEWAY_SECONDS,
        })
    }

    fn is_audience(&self, claim: Option<&Value>) -> Result<bool, Denied> {
        match claim {
            None => Ok(false),
            Some(Value::String(audience)) => Ok(*audience == self.audience),
            Some(Value::Array(several)) => {
                let mut found = false;
                for one in several {
                    found |= text(Some(one))? == Some(&self.audience);
                }
                Ok(found)
            }
            Some(_) => Err(Denied::Claims),
        }
    }

    /// The scopes that the token names and those of the roles that it names. Both are bounded together.
    fn scopes(&self, claims: &Claims, json: &[u8]) -> Result<BTreeSet<String>, Denied> {
        let mut scopes = scopes(claims)?;
        if let Some(claim) = &self.role_claim {
            let all: Map<String, Value> =
                serde_json::from_slice(json).map_err(|_| Denied::Claims)?;
            for role in roles(at(&all, claim))? {
                scopes.extend(self.roles.scopes(role).map(str::to_owned));
            }
        }
        let bytes: usize = scopes.iter().map(|scope| scope.len() + 3).sum();
        if bytes > MAX_SCOPES_BYTES {
            return Err(Denied::Scopes);
        }
        Ok(scopes)
    }

    fn tenant(&self, json: &[u8]) -> Result<TenantId, Denied> {
        let Some(claim) = &self.tenant_claim else {
            return Ok(TenantId::default());
        };
        let all: Map<String, Value> = serde_json::from_slice(json).map_err(|_| Denied::Claims)?;
        let name = all.get(claim).and_then(Value::as_str);
        name.and_then(|name| TenantId::parse(name).ok())
            .ok_or(Denied::Tenant)
    }
}

/// A claim that is not there is missing, whatever else it should have been.
fn missing_or(claim: Option<&Value>, otherwise: Denied) -> Denied {
    if claim.is_some() {
        otherwise
    } else {
        Denied::Claims
    }
}

fn text(claim: Option<&Value>) -> Result<Option<&str>, Denied> {
    match claim {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Denied::Claims),
    }
}

/// A `NumericDate`: seconds since 1970, with a fraction if need be.
fn time(claim: Option<&Value>) -> Result<Option<f64>, Denied> {
    match claim {
        None => Ok(None),
        Some(Value::Number(number)) => match number.as_f64() {
            Some(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(Some(seconds)),
            _ => Err(Denied::Claims),
        },
        Some(_) => Err(Denied::Claims),
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// `scope` (RFC 8693) and `scp` (Microsoft, Okta). The scope of our own services is none that a
/// token can give.
fn scopes(claims: &Claims) -> Result<BTreeSet<String>, Denied> {
    let mut scopes = BTreeSet::new();
    let mut add = |list: &str| {
        let given = list.split_ascii_whitespace();
        let outside = given.filter(|scope| *scope != Scope::Internal.as_str());
        scopes.extend(outside.map(str::to_owned));
    };
    if let Some(list) = text(claims.scope.as_ref())? {
        add(list);
    }
    match &claims.scp {
        Some(Value::Array(several)) => {
            for one in several {
                add(text(Some(one))?.unwrap_or_default());
            }
        }
        other => add(text(other.as_ref())?.unwrap_or_default()),
    }
    let is_scope = |scope: &String| {
        let fits = |b: u8| (0x21..0x7f).contains(&b) && b != b'"' && b != b'\\';
        scope.bytes().all(fits)
    };
    if !scopes.iter().all(is_scope) {
        return Err(Denied::Scopes);
    }
    Ok(scopes)
}

/// The claim of this name, or where its dots lead.
fn at<'a>(all: &'a Map<String, Value>, claim: &str) -> Option<&'a Value> {
    let mut steps = claim.split('.');
    all.get(claim).or_else(|| {
        let first = all.get(steps.next()?);
        steps.fold(first, |value, step| value?.get(step))
    })
}

/// Names of roles: a text with spaces between them, or a list of texts.
fn roles(claim: Option<&Value>) -> Result<Vec<&str>, Denied> {
    match claim {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(text.split_ascii_whitespace().collect()),
        Some(Value::Array(several)) => several
            .iter()
            .map(|one| one.as_str().ok_or(Denied::Claims))
            .collect(),
        Some(_) => Err(Denied::Claims),
    }
}
