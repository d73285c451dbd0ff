//! The receiver's half: is this token good for this request?

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use domain::{CallId, Error, ErrorCode, Principal, Result, TenantId};
use http::{HeaderMap, HeaderValue};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header, get_current_timestamp};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::replay::{Use, UsedIds};
use super::{
    Audience, Caller, Claims, Grant, HEADER, LEEWAY_SECONDS, LIFETIME_SECONDS, MAX_TOKEN_BYTES,
    VerifyKeys, encode_digest,
};

/// Most ids remembered within a token's life: 4,000 requests with effects a second.
const USED_IDS: usize = 262_144;

/// Checks tokens for one service. Holds the ids that were used, so there is one per process.
#[derive(Debug)]
pub struct Verifier {
    keys: ArcSwap<VerifyKeys>,
    validation: Validation,
    used: UsedIds,
}

/// What is known of a request before its message is read.
#[derive(Debug)]
pub struct Identified {
    claims: Claims,
    grant: Option<Arc<Grant>>,
}

impl Identified {
    /// The issuer that the key is listed with; `None` for a plain key.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.grant.as_ref().map(|grant| grant.issuer.as_str())
    }
}

impl Verifier {
    /// A verifier for the service that is `audience`.
    #[must_use]
    pub fn new(keys: VerifyKeys, audience: Audience) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = LEEWAY_SECONDS;
        validation.set_audience(&[audience.as_str()]);
        validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
        let window = Duration::from_secs(LIFETIME_SECONDS + 2 * LEEWAY_SECONDS);
        Self {
            keys: ArcSwap::from_pointee(keys),
            validation,
            used: UsedIds::new(window, USED_IDS),
        }
    }

    /// From here on these keys are accepted, and no others.
    pub fn replace_keys(&self, keys: VerifyKeys) {
        self.keys.store(Arc::new(keys));
    }

    /// Checks everything that can be told before the message is read.
    ///
    /// # Errors
    /// `unauthenticated`; `permission_denied` for what the key may not be used for. The text says which
    /// check failed and never repeats the token.
    pub fn check_headers(&self, headers: &HeaderMap, method: &str) -> Result<Identified> {
        let mut values = headers.get_all(HEADER).iter();
        let token = match (values.next(), values.next()) {
            (Some(token), None) => token,
            (None, _) => return Err(refused("the request carries no identity")),
            (Some(_), Some(_)) => return Err(refused("the request carries several identities")),
        };
        let identified = self.check_signature(token)?;
        if identified.claims.mth != method {
            return Err(refused("the identity is for another method"));
        }
        let grant = identified.grant.as_deref();
        if let Some(why) = grant.and_then(|grant| grant.refusal(&identified.claims)) {
            return Err(Error::new(ErrorCode::PermissionDenied, why));
        }
        Ok(identified)
    }

    fn check_signature(&self, token: &HeaderValue) -> Result<Identified> {
        let token = token.as_bytes();
        if token.len() > MAX_TOKEN_BYTES {
            return Err(refused("the identity is too long"));
        }
        let malformed = |_| refused("the identity is malformed");
        let header = decode_header(token).map_err(malformed)?;
        let id = header.kid.as_deref().unwrap_or_default();
        let keys = self.keys.load();
        let key = keys
            .get(id)
            .ok_or_else(|| refused("the identity's key is not known"))?;
        let claims = decode::<Claims>(token, &key.decoding, &self.validation)
            .map_err(|reason| {
                use jsonwebtoken::errors::ErrorKind;
                refused(match reason.kind() {
                    ErrorKind::ExpiredSignature => "the identity has expired",
                    ErrorKind::InvalidAudience => "the identity is for another service",
                    ErrorKind::InvalidSignature => "the identity's signature is wrong",
                    ErrorKind::InvalidAlgorithm => "the identity's algorithm is not accepted",
                    _ => "the identity is malformed",
                })
            })?
            .claims;
        let latest = get_current_timestamp() + LEEWAY_SECONDS;
        let lifetime = claims.exp.checked_sub(claims.iat);
        let listed = key.grant.as_ref().map(|grant| grant.issuer.as_str());
        if claims.iss != id && Some(claims.iss.as_str()) != listed {
            return Err(refused("the identity's issuer is not its key"));
        }
        if claims.iat > latest || lifetime.is_none_or(|seconds| seconds > LIFETIME_SECONDS) {
            return Err(refused("the identity's times are out of range"));
        }
        Ok(Identified {
            claims,
            grant: key.grant.clone(),
        })
    }

    /// Checks the message's SHA-256, and with `once` that the token was never used; then names the
    /// caller.
    ///
    /// # Errors
    /// `unauthenticated`, `already_exists` for a token that was used before, `overloaded` when no
    /// more used ids can be remembered.
    pub fn check_message(
        &self,
        Identified { claims, .. }: Identified,
        digest: &[u8; 32],
        once: bool,
    ) -> Result<Caller> {
        let expected = encode_digest(digest);
        if !bool::from(expected.as_bytes().ct_eq(claims.dig.as_bytes())) {
            return Err(refused("the identity is for another message"));
        }
        let token_id =
            Uuid::try_parse(&claims.jti).map_err(|_| refused("the identity has no id"))?;
        let caller = caller(claims)?;
        if once {
            match self.used.take(token_id) {
                Use::First => {}
                Use::Again => {
                    return Err(Error::new(
                        ErrorCode::AlreadyExists,
                        "this request was made before and is not done twice",
                    ));
                }
                Use::Full => {
                    return Err(
                        Error::new(ErrorCode::Overloaded, "too many requests at once")
                            .with_retry_after(Duration::from_secs(1)),
                    );
                }
            }
        }
        Ok(caller)
    }
}

fn caller(claims: Claims) -> Result<Caller> {
    let good_subject = (1..=256).contains(&claims.sub.len());
    let tenant = TenantId::parse(&claims.tenant).ok();
    let call_id = CallId::parse(&claims.cid).ok();
    match (good_subject, tenant, call_id) {
        (true, Some(tenant), Some(call_id)) => Ok(Caller {
            principal: Arc::new(Principal {
                tenant,
                subject: claims.sub,
                client_id: claims.client_id,
                scopes: claims.scopes.into_iter().collect::<BTreeSet<_>>(),
                tier: None,
            }),
            call_id,
            service: None,
        }),
        _ => Err(refused("the identity names no proper principal")),
    }
}

/// Refuses a request for want of a valid identity.
pub(crate) fn refused(message: &str) -> Error {
    Error::new(ErrorCode::Unauthenticated, message)
}
