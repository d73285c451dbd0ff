//! Who calls: the one place where a request without a valid credential ends. Then the header
//! `x-mcp-admin-token` adds `mcp:admin` to whoever it is.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use domain::ErrorCode;
use domain::principal::{Principal, Scope};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::admit::{self, FailedCredential};
use super::audited::{Audited, source};
use super::bearer::{Bearer, NoToken, Shown};
use super::observe::Observed;
use super::protected_resource::{Asked, TokenAuth};
use super::{Edge, HttpAuth, refuse};
use crate::keys::KeyRing;
use crate::mcp::{Origin, Refusal, Validity};

/// How decisions about API keys are labelled.
const KEY: &str = "api_key";

const ADMIN_TOKEN: HeaderName = HeaderName::from_static("x-mcp-admin-token");

/// A caller who is known.
struct Known {
    principal: Arc<Principal>,
    /// The kind of credential that was shown, if one was.
    by: Option<&'static str>,
    /// How long the credential is still good; `None`: for ever.
    remaining: Option<Duration>,
    /// Cancelled when the credential is taken back before that.
    revoked: Option<CancellationToken>,
}

/// A request that ends here.
struct TurnedAway {
    refusal: Refusal,
    challenge: Option<HeaderValue>,
    /// The kind of credential that was wanted, and what was wrong with it.
    why: (&'static str, &'static str),
    /// Who it is all the same.
    principal: Option<Arc<Principal>>,
}

pub(super) async fn layer(
    State(edge): State<Arc<Edge>>,
    mut request: Request<Body>,
    next: Next,
) -> Response<Body> {
    if request.uri().path() != edge.settings.mcp_path {
        return next.run(request).await;
    }
    let known = match &edge.settings.auth {
        HttpAuth::Anonymous(anonymous) => {
            edge.decided("none", "accepted");
            Ok(Known {
                principal: Arc::clone(anonymous),
                by: None,
                remaining: None,
                revoked: None,
            })
        }
        HttpAuth::Keys(ring) => {
            let shown = Bearer::find_key(request.headers(), request.uri());
            edge.check_key(ring, shown)
        }
        HttpAuth::Tokens(tokens) => {
            let bearer = Bearer::find(request.headers(), request.uri());
            let asked = Asked::of(request.headers(), request.uri(), &edge.settings.mcp_path);
            edge.check_token(tokens, bearer, &asked).await
        }
        HttpAuth::TokensAndKeys(tokens, ring) => {
            let asked = Asked::of(request.headers(), request.uri(), &edge.settings.mcp_path);
            match Bearer::find_either(request.headers(), request.uri()) {
                Ok(Shown::Key(key)) => edge.check_key(ring, Ok(key)),
                Ok(Shown::Token(bearer)) => edge.check_token(tokens, Ok(bearer), &asked).await,
                Err(none) => edge.check_token(tokens, Err(none), &asked).await,
            }
        }
    };
    let known = known.and_then(|known| edge.elevated(known, request.headers()));
    let audited = Audited::of(&edge.settings.audit, &request);
    let known = match known {
        Ok(known) => known,
        Err(away) => {
            let TurnedAway {
                refusal,
                challenge,
                why,
                principal,
            } = *away;
            edge.metrics.http_auth_denied.inc();
            if let Some(audited) = &audited
                && edge.is_recorded(why.1, &request)
            {
                audited.denied(why, refusal.status, principal.as_deref());
            }
            let mut response = refuse(&refusal, &request);
            if admit::is_guess(why.1) {
                response.extensions_mut().insert(FailedCredential);
            }
            if let Some(challenge) = challenge {
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
            return response;
        }
    };
    if let (Some(audited), Some(method)) = (&audited, known.by) {
        audited.accepted(method, &known.principal);
    }
    let principal = Arc::clone(&known.principal);
    let source = source(&request);
    if let Some(Observed {
        request_id,
        trace,
        received,
    }) = request.extensions_mut().remove()
    {
        let deadline = received + edge.settings.request_timeout;
        let validity = Validity::until(known.remaining.map(|left| Instant::now() + left));
        let origin = Origin {
            principal: known.principal,
            request_id,
            trace,
            deadline,
            validity: match known.revoked {
                Some(revoked) => validity.revocable(revoked),
                None => validity,
            },
            source,
            quiet: false,
        };
        request.extensions_mut().insert(origin);
    }
    let Some(by) = known.by else {
        return next.run(request).await;
    };
    let tokens = edge.settings.auth.tokens().filter(|_| by != KEY);
    let asked = tokens.map(|tokens| {
        let path = &edge.settings.mcp_path;
        (tokens, Asked::of(request.headers(), request.uri(), path))
    });
    let mut response = next.run(request).await;
    if let Some(scope) = response.extensions().get::<Scope>().copied() {
        let why = (by, "insufficient_scope");
        edge.decided(why.0, why.1);
        if let Some(audited) = &audited {
            audited.denied(why, response.status(), Some(&principal));
        }
        let challenge = match asked {
            Some((tokens, asked)) => tokens.insufficient(&asked, Some(scope)),
            None => insufficient(scope),
        };
        if let Some(challenge) = challenge {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
    }
    response
}

/// The challenge to a key that lacks a scope (RFC 6750, section 3.1).
fn insufficient(scope: Scope) -> Option<HeaderValue> {
    let text = format!(
        "Bearer scope=\"{scope}\", error=\"insufficient_scope\", error_description=\"the API key \
         lacks a scope\""
    );
    HeaderValue::try_from(text).ok()
}

/// Why a request has no caller.
enum Failed {
    NoToken(NoToken),
    Denied(auth::token::Denied),
    /// The token is good and lacks a scope that every token needs.
    Scopes(Arc<Principal>),
}

impl Edge {
    async fn verify(
        &self,
        tokens: &TokenAuth,
        bearer: Result<Bearer, NoToken>,
    ) -> Result<Known, Failed> {
        let failed = |decision: &str, failed: Failed| {
            self.decided("jwt", decision);
            tracing::debug!(decision, "a request without a valid token");
            Err(failed)
        };
        let bearer = match bearer {
            Ok(bearer) => bearer,
            Err(none) => return failed(none.as_str(), Failed::NoToken(none)),
        };
        let accepted = match tokens.verifier.verify(bearer.token()).await {
            Ok(accepted) => accepted,
            Err(denied) => return failed(denied.as_str(), Failed::Denied(denied)),
        };
        if tokens.lacks(&accepted.principal) {
            return failed("insufficient_scope", Failed::Scopes(accepted.principal));
        }
        self.decided("jwt", "accepted");
        self.metrics.http_auth_success.inc();
        Ok(Known {
            revoked: None,
            remaining: Some(accepted.remaining()),
            by: Some("jwt"),
            principal: accepted.principal,
        })
    }

    async fn check_token(
        &self,
        tokens: &TokenAuth,
        bearer: Result<Bearer, NoToken>,
        asked: &Asked<'_>,
    ) -> Result<Known, Box<TurnedAway>> {
        let verified = self.verify(tokens, bearer).await;
        verified.map_err(|failed| Box::new(failed.turn_away(tokens, asked)))
    }

    /// Whoever shows an API key.
    fn check_key(
        &self,
        ring: &KeyRing,
        shown: Result<SecretString, NoToken>,
    ) -> Result<Known, Box<TurnedAway>> {
        let (decision, sentence) = match shown.map(|key| ring.check(key.expose_secret())) {
            Ok(Ok(admitted)) => {
                self.decided(KEY, "accepted");
                self.metrics.http_auth_success.inc();
                return Ok(Known {
                    principal: admitted.principal,
                    by: Some(KEY),
                    remaining: admitted.remaining,
                    revoked: Some(admitted.revoked),
                });
            }
            Ok(Err(denied)) => (denied.as_str(), denied.sentence()),
            Err(NoToken::Missing) => (
                NoToken::Missing.as_str(),
                "an API key is needed, as `Authorization: Bearer <key>` or `x-api-key: <key>`",
            ),
            Err(none) => (none.as_str(), none.sentence()),
        };
        self.decided(KEY, decision);
        let refusal = match decision == NoToken::Several.as_str() {
            true => {
                let (status, code) = (StatusCode::BAD_REQUEST, ErrorCode::InvalidArgument);
                Refusal::http(status, code, sentence)
            }
            false => unauthenticated(sentence),
        };
        Err(Box::new(TurnedAway {
            refusal,
            challenge: Some(HeaderValue::from_static("Bearer")),
            why: (KEY, decision),
            principal: None,
        }))
    }

    /// The caller with the rights of the admin token, when that came along.
    fn elevated(&self, known: Known, headers: &HeaderMap) -> Result<Known, Box<TurnedAway>> {
        let mut tokens = headers.get_all(ADMIN_TOKEN).iter();
        let elevated = match (tokens.next(), tokens.next()) {
            (None, _) => return Ok(known),
            // Without a configured token everybody has what it would give.
            _ if known.principal.has(Scope::Admin) => return Ok(known),
            (Some(token), None) => token
                .to_str()
                .ok()
                .and_then(|token| self.operations.elevate(&known.principal, token)),
            (Some(_), Some(_)) => None,
        };
        match elevated {
            Some(principal) => {
                self.decided("admin_token", "accepted");
                self.metrics.http_auth_success.inc();
                Ok(Known {
                    principal,
                    by: Some("admin_token"),
                    ..known
                })
            }
            None => {
                self.decided("admin_token", "wrong");
                let message = "the x-mcp-admin-token is not the configured one";
                let challenge = "AdminToken header=\"x-mcp-admin-token\"";
                Err(Box::new(TurnedAway {
                    refusal: unauthenticated(message),
                    challenge: Some(HeaderValue::from_static(challenge)),
                    why: ("admin_token", "wrong"),
                    principal: Some(known.principal),
                }))
            }
        }
    }

    fn decided(&self, method: &str, decision: &str) {
        let decisions = &self.metrics.auth_decisions;
        decisions.with_label_values(&[method, decision]).inc();
    }
}

impl Failed {
    /// RFC 6750, section 3.1: no `error` when no credential was sent.
    fn turn_away(self, tokens: &TokenAuth, asked: &Asked<'_>) -> TurnedAway {
        match self {
            Failed::NoToken(NoToken::Several) => {
                let sentence = NoToken::Several.sentence();
                let (status, code) = (StatusCode::BAD_REQUEST, ErrorCode::InvalidArgument);
                TurnedAway {
                    refusal: Refusal::http(status, code, sentence),
                    challenge: tokens.challenge(asked, Some(("invalid_request", sentence))),
                    why: ("jwt", NoToken::Several.as_str()),
                    principal: None,
                }
            }
            Failed::NoToken(none) => {
                let sentence = none.sentence();
                let sent = none == NoToken::Unreadable;
                TurnedAway {
                    refusal: unauthenticated(sentence),
                    challenge: tokens.challenge(asked, sent.then_some(("invalid_token", sentence))),
                    why: ("jwt", none.as_str()),
                    principal: None,
                }
            }
            Failed::Denied(denied) => {
                let sentence = denied.sentence();
                TurnedAway {
                    refusal: unauthenticated(sentence),
                    challenge: tokens.challenge(asked, Some(("invalid_token", sentence))),
                    why: ("jwt", denied.as_str()),
                    principal: None,
                }
            }
            Failed::Scopes(principal) => TurnedAway {
                refusal: Refusal::http(
                    StatusCode::FORBIDDEN,
                    ErrorCode::PermissionDenied,
                    "the token lacks a scope that is needed here; WWW-Authenticate names all",
                ),
                challenge: tokens.insufficient(asked, None),
                why: ("jwt", "insufficient_scope"),
                principal: Some(principal),
            },
        }
    }
}

fn unauthenticated(message: &'static str) -> Refusal {
    Refusal::http(
        StatusCode::UNAUTHORIZED,
        ErrorCode::Unauthenticated,
        message,
    )
}
