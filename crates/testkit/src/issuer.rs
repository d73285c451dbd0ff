//! An identity provider that is nothing but a key: for tests whose subject is not the provider.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// The `iss` of its tokens.
pub const ISSUER: &str = "https://issuer.test/";
/// The `aud` of its tokens.
pub const AUDIENCE: &str = "dynamic-mcp-test";
/// Head of the SubjectPublicKeyInfo of an Ed25519 key (RFC 8410, section 4).
const SPKI_HEAD: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Signs access tokens (EdDSA).
pub struct Issuer(Ed25519KeyPair);

impl Default for Issuer {
    fn default() -> Self {
        Self(Ed25519KeyPair::generate().unwrap_or_else(|error| panic!("{error}")))
    }
}

impl Issuer {
    /// The public key as PEM, for `MCP_AUTH_PUBLIC_KEY`.
    #[must_use]
    pub fn public_pem(&self) -> String {
        let key = [&SPKI_HEAD, self.0.public_key().as_ref()].concat();
        let text = STANDARD.encode(key);
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    }

    /// A token for an hour: `sub` and `scope` (separated by spaces) as given, and more `claims`,
    /// which replace those of the same name.
    #[must_use]
    pub fn token(&self, subject: &str, scope: &str, claims: &Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        let mut all = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "scope": scope,
            "iat": now, "exp": now + 3_600,
        });
        for (name, value) in claims.as_object().into_iter().flatten() {
            all[name] = value.clone();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = part(&json!({"alg": "EdDSA", "typ": "at+jwt"}));
        let signed = format!("{head}.{}", part(&all));
        let signature = self.0.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}
