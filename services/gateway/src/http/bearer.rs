//! The credential in the header `Authorization` (RFC 6750, section 2.1). Tokens in the query string
//! or the body are not taken.

use auth::ShownKey;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use secrecy::SecretString;

/// The scheme, in any case.
const SCHEME: &[u8] = b"bearer";

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// A bearer token, not checked yet.
pub(super) struct Bearer(HeaderValue);

/// A credential, not checked yet.
pub(super) enum Shown {
    /// In the header `x-api-key`, or with the form of a key.
    Key(SecretString),
    /// Any other bearer token.
    Token(Bearer),
}

/// Why there is no token to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoToken {
    /// No credential was sent.
    Missing,
    /// None was sent but one in the query string.
    InQuery,
    /// A credential of another scheme.
    OtherScheme,
    /// More than one credential.
    Several,
    /// `Bearer` without a token that could be one.
    Unreadable,
}

impl NoToken {
    /// The label of metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            NoToken::Missing => "missing",
            NoToken::InQuery => "in_query",
            NoToken::OtherScheme => "scheme",
            NoToken::Several => "several",
            NoToken::Unreadable => "malformed",
        }
    }

    /// A sentence for the client.
    pub(super) fn sentence(self) -> &'static str {
        match self {
            NoToken::Missing => "a bearer token is needed in the header Authorization",
            NoToken::InQuery => {
                "tokens in the query string are not accepted: send it in the header Authorization"
            }
            NoToken::OtherScheme => "the credential is not a bearer token",
            NoToken::Several => "send one credential, in one header Authorization",
            NoToken::Unreadable => "the header Authorization holds no readable token",
        }
    }
}

impl Bearer {
    /// Finds the one token of a request.
    pub(super) fn find(headers: &HeaderMap, uri: &Uri) -> Result<Self, NoToken> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = match (values.next(), values.next(), has_token(uri)) {
            (None, _, false) => return Err(NoToken::Missing),
            (None, _, true) => return Err(NoToken::InQuery),
            (Some(_), Some(_), _) | (Some(_), None, true) => return Err(NoToken::Several),
            (Some(value), None, false) => value,
        };
        let text = value.as_bytes();
        let (scheme, rest) =
            text.split_at(text.iter().position(|b| *b == b' ').unwrap_or(text.len()));
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(NoToken::OtherScheme);
        }
        if rest.trim_ascii().is_empty() || value.to_str().is_err() {
            return Err(NoToken::Unreadable);
        }
        Ok(Self(value.clone()))
    }

    /// Finds the one API key of a request: in the header `x-api-key`, or sent as a bearer token.
    pub(super) fn find_key(headers: &HeaderMap, uri: &Uri) -> Result<SecretString, NoToken> {
        match Self::find_either(headers, uri)? {
            Shown::Key(key) => Ok(key),
            Shown::Token(bearer) => Ok(SecretString::from(bearer.token())),
        }
    }

    /// Finds the one credential of a request that may be a token or an API key.
    pub(super) fn find_either(headers: &HeaderMap, uri: &Uri) -> Result<Shown, NoToken> {
        let mut keys = headers.get_all(API_KEY).iter();
        let key = match (
            keys.next(),
            keys.next(),
            headers.contains_key(AUTHORIZATION) || has_token(uri),
        ) {
            (None, _, _) => {
                let bearer = Self::find(headers, uri)?;
                if !ShownKey::is_one(bearer.token()) {
                    return Ok(Shown::Token(bearer));
                }
                SecretString::from(bearer.token())
            }
            (Some(key), None, false) => {
                SecretString::from(key.to_str().map_err(|_| NoToken::Unreadable)?)
            }
            _ => return Err(NoToken::Several),
        };
        Ok(Shown::Key(key))
    }

    /// The token.
    pub(super) fn token(&self) -> &str {
        let text = self.0.to_str().unwrap_or_default();
        text.get(SCHEME.len()..).unwrap_or_default().trim()
    }
}

fn has_token(uri: &Uri) -> bool {
    let pairs = uri.query().unwrap_or_default().split('&');
    pairs
        .filter_map(|pair| pair.split('=').next())
        .any(|name| name == "access_token")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(values: &[&str], uri: &str) -> Result<String, NoToken> {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(AUTHORIZATION, value);
        }
        let found = Bearer::find(&headers, &uri.parse().unwrap());
        found.map(|bearer| bearer.token().to_owned())
    }

    #[test]
    fn the_one_token_in_the_header() {
        for good in ["Bearer a.b", "bearer a.b", "BEARER   a.b  "] {
            assert_eq!(found(&[good], "/mcp?x=1").as_deref(), Ok("a.b"), "{good}");
        }
        for (values, uri, wanted) in [
            (&[][..], "/mcp", NoToken::Missing),
            (&[], "/mcp?access_token=a.b", NoToken::InQuery),
            (&[], "/mcp?x=1&access_token", NoToken::InQuery),
            (&["Bearer a.b"], "/mcp?access_token=a.b", NoToken::Several),
            (&["Bearer a.b", "Bearer a.b"], "/mcp", NoToken::Several),
            (&["Basic YTpi"], "/mcp", NoToken::OtherScheme),
            (&["Bearera.b"], "/mcp", NoToken::OtherScheme),
            (&[""], "/mcp", NoToken::OtherScheme),
            (&["DPoP a.b"], "/mcp", NoToken::OtherScheme),
            (&["Bearer"], "/mcp", NoToken::Unreadable),
            (&["Bearer "], "/mcp", NoToken::Unreadable),
            (&["Bearer ü"], "/mcp", NoToken::Unreadable),
        ] {
            assert_eq!(found(values, uri), Err(wanted), "{values:?} {uri}");
        }
    }

    #[test]
    fn the_page_about_tokens_has_every_reason() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/authentication.md");
        let page = std::fs::read_to_string(page).unwrap();
        for reason in [
            NoToken::Missing,
            NoToken::InQuery,
            NoToken::OtherScheme,
            NoToken::Several,
            NoToken::Unreadable,
        ] {
            let row = format!("| `{}` | {} |", reason.as_str(), reason.sentence());
            assert!(page.contains(&row), "docs/authentication.md lacks {row:?}");
        }
    }
}
