//! The form of a token: JWS compact serialisation (RFC 7515, section 7.1), read strictly.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::MAX_TOKEN_BYTES;
use super::algorithm::Algorithm;
use super::denied::Denied;
use super::key::MAX_KEY_ID_BYTES;

/// What the header says. Its other members (`jku`, `x5u`, `jwk`, ...) are never looked at: keys come
/// from the configuration alone.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
}

/// A token taken apart; nothing of it is believed yet.
pub(crate) struct Parts<'a> {
    pub(crate) header: Header,
    /// What is signed: header and claims as they were sent.
    pub(crate) message: &'a [u8],
    /// The claims: bytes that should be JSON.
    pub(crate) claims: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

#[derive(Deserialize)]
struct RawHeader {
    #[serde(default, deserialize_with = "present")]
    alg: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    kid: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    typ: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    crit: Option<Value>,
}

/// Keeps `null` apart from absent.
pub(crate) fn present<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(input).map(Some)
}

impl<'a> Parts<'a> {
    /// Takes a token apart.
    pub(crate) fn of(token: &'a str) -> Result<Self, Denied> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Denied::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Denied::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(Denied::Malformed)?;
        if claims.contains('.') {
            return Err(Denied::Malformed);
        }
        Ok(Self {
            header: Header::read(&decode(header)?)?,
            message: message.as_bytes(),
            claims: decode(claims)?,
            signature: decode(signature)?,
        })
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Denied> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Denied::Malformed)
}

impl Header {
    fn read(json: &[u8]) -> Result<Self, Denied> {
        let raw: RawHeader = serde_json::from_slice(json).map_err(|_| Denied::Malformed)?;
        if raw.crit.is_some() {
            return Err(Denied::Critical);
        }
        match &raw.typ {
            None => {}
            Some(Value::String(typ)) if is_access_token(typ) => {}
            Some(Value::String(_)) => return Err(Denied::Type),
            Some(_) => return Err(Denied::Malformed),
        }
        let algorithm = match &raw.alg {
            Some(Value::String(name)) => Algorithm::parse(name).ok_or(Denied::Algorithm)?,
            _ => return Err(Denied::Malformed),
        };
        let key_id = match raw.kid {
            None => None,
            Some(Value::String(kid)) if kid.len() <= MAX_KEY_ID_BYTES => Some(kid),
            Some(_) => return Err(Denied::Malformed),
        };
        Ok(Self { algorithm, key_id })
    }
}

/// Whether `typ` is that of an access token or of any JWT. Others (`dpop+jwt`, `logout+jwt`, ...)
/// are signed by the same keys for other ends (RFC 8725, section 3.11).
fn is_access_token(typ: &str) -> bool {
    let bare = match typ.get(..12) {
        Some(start) if start.eq_ignore_ascii_case("application/") => &typ[12..],
        _ => typ,
    };
    bare.eq_ignore_ascii_case("JWT") || bare.eq_ignore_ascii_case("at+jwt")
}
