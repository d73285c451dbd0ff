//! Why a token is not accepted.

/// The reason of a refusal. None of its texts holds anything of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Denied {
    /// More than [`super::MAX_TOKEN_BYTES`].
    TooLong,
    /// Not three parts of base64url JSON with members of the right types.
    Malformed,
    /// `typ` names another kind of token.
    Type,
    /// `crit` names extensions; none is known here.
    Critical,
    /// `alg` is not one of the accepted signature algorithms.
    Algorithm,
    /// The issuer has no such key, or none for this algorithm.
    UnknownKey,
    /// No `kid`, and more than one key that could be meant.
    AmbiguousKey,
    /// The issuer's keys are not known, or too old to be believed.
    KeysUnavailable,
    /// The signature is not the key's.
    Signature,
    /// A required claim is missing, or a claim is of the wrong type.
    Claims,
    /// `iss` is another issuer.
    Issuer,
    /// `aud` does not hold the configured audience.
    Audience,
    /// `exp` has passed.
    Expired,
    /// `nbf` or `iat` is in the future.
    NotYetValid,
    /// `sub` is empty, too long or holds control characters.
    Subject,
    /// The scopes are too many, or one is none (RFC 6749, section 3.3).
    Scopes,
    /// The configured claim names no tenant.
    Tenant,
}

impl Denied {
    /// Every reason.
    pub const ALL: &'static [Denied] = &[
        Denied::TooLong,
        Denied::Malformed,
        Denied::Type,
        Denied::Critical,
        Denied::Algorithm,
        Denied::UnknownKey,
        Denied::AmbiguousKey,
        Denied::KeysUnavailable,
        Denied::Signature,
        Denied::Claims,
        Denied::Issuer,
        Denied::Audience,
        Denied::Expired,
        Denied::NotYetValid,
        Denied::Subject,
        Denied::Scopes,
        Denied::Tenant,
    ];

    /// The label of metrics: one lower-case word or two.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Denied::TooLong => "too_long",
            Denied::Malformed => "malformed",
            Denied::Type => "type",
            Denied::Critical => "critical",
            Denied::Algorithm => "algorithm",
            Denied::UnknownKey => "unknown_key",
            Denied::AmbiguousKey => "ambiguous_key",
            Denied::KeysUnavailable => "keys_unavailable",
            Denied::Signature => "signature",
            Denied::Claims => "claims",
            Denied::Issuer => "issuer",
            Denied::Audience => "audience",
            Denied::Expired => "expired",
            Denied::NotYetValid => "not_yet_valid",
            Denied::Subject => "subject",
            Denied::Scopes => "scopes",
            Denied::Tenant => "tenant",
        }
    }

    /// A sentence for `error_description`: printable ASCII without quotes (RFC 6750, section 3).
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Denied::TooLong => "the token is longer than 16 KiB",
            Denied::Malformed => "the token is not a signed JWT",
            Denied::Type => "the token is of another type: typ must be JWT, at+jwt or absent",
            Denied::Critical => "the token needs extensions (crit) that are not known here",
            Denied::Algorithm => "the signature algorithm of the token is not accepted",
            Denied::UnknownKey => "the token is signed with a key that the issuer does not have",
            Denied::AmbiguousKey => "the token names no key (kid) and the issuer has several",
            Denied::KeysUnavailable => {
                "the token cannot be checked now: the keys of the issuer are not available"
            }
            Denied::Signature => "the signature of the token is wrong",
            Denied::Claims => "the token lacks iss, aud, exp or sub, or a claim is of a wrong type",
            Denied::Issuer => "the token is from another issuer",
            Denied::Audience => "the token is for another audience",
            Denied::Expired => "the token has expired",
            Denied::NotYetValid => "the token is not valid yet",
            Denied::Subject => {
                "sub must have 1-256 bytes, no control characters and not begin with key:"
            }
            Denied::Scopes => {
                "the scopes must be printable ASCII and have no more than 4 KiB together"
            }
            Denied::Tenant => "the token names no tenant",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit_into_a_header() {
        for reason in Denied::ALL {
            let sentence = reason.sentence();
            let fits = |b: u8| (0x20..0x7f).contains(&b) && b != b'"' && b != b'\\';
            assert!(sentence.bytes().all(fits), "{sentence}");
            assert!(
                reason
                    .as_str()
                    .bytes()
                    .all(|b| b == b'_' || b.is_ascii_lowercase())
            );
        }
    }

    #[test]
    fn the_page_about_tokens_has_every_reason() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/authentication.md");
        let page = std::fs::read_to_string(page).unwrap();
        for reason in Denied::ALL {
            let row = format!("| `{}` | {} |", reason.as_str(), reason.sentence());
            assert!(page.contains(&row), "docs/authentication.md lacks {row:?}");
        }
    }
}
