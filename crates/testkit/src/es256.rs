//! As [`Issuer`](crate::issuer::Issuer), with the algorithm that most identity providers use.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::issuer::{AUDIENCE, ISSUER};

/// Head of the SubjectPublicKeyInfo of a P-256 key (RFC 5480).
const SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Signs access tokens with ES256.
pub struct Es256(EcdsaKeyPair);

impl Default for Es256 {
    fn default() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Self(pair.unwrap_or_else(|error| panic!("{error}")))
    }
}

impl Es256 {
    /// The public key as PEM, for `MCP_AUTH_PUBLIC_KEY`.
    #[must_use]
    pub fn public_pem(&self) -> String {
        let key = [&SPKI_HEAD, self.0.public_key().as_ref()].concat();
        let text = STANDARD.encode(key);
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    }

    /// A token for an hour. No two of different `id` (its `jti`) are alike.
    #[must_use]
    pub fn token(&self, subject: &str, scope: &str, id: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "scope": scope, "jti": id,
            "iat": now, "exp": now + 3_600,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = part(&json!({"alg": "ES256", "typ": "at+jwt"}));
        let signed = format!("{head}.{}", part(&claims));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.unwrap_or_else(|error| panic!("{error}"));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}
