//! API keys: a secret of ours that a caller shows instead of an identity provider's token.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What every key starts with, so that scanners of leaked secrets know it.
const MARK: &str = "dmcp_";
/// Bytes of the public part, as hex.
const PREFIX_BYTES: usize = 4;
/// Bytes of the secret part: 256 bits.
const SECRET_BYTES: usize = 32;

/// A key as it is kept: its public prefix and the SHA-256 of the whole. A hash without salt and
/// stretching is enough for 256 random bits.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    prefix: String,
    digest: [u8; 32],
}

/// Why a kept key cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no API key as it is kept: a prefix of 8 hex digits and a SHA-256 of 64")]
pub struct NotAKey;

/// The system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

impl ApiKey {
    /// Makes a key. The secret is given out here and never again:
    /// `dmcp_<prefix, 8 hex digits>_<256 bits, base64url>`.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn generate() -> Result<(SecretString, Self), NoRandomness> {
        let mut bytes = [0_u8; PREFIX_BYTES + SECRET_BYTES];
        let random = SystemRandom::new();
        random.fill(&mut bytes).map_err(|_| NoRandomness)?;
        let (prefix, secret) = bytes.split_at(PREFIX_BYTES);
        let prefix = hex::encode(prefix);
        let text = format!("{MARK}{prefix}_{}", URL_SAFE_NO_PAD.encode(secret));
        let key = Self {
            prefix,
            digest: Sha256::digest(text.as_bytes()).into(),
        };
        Ok((SecretString::from(text), key))
    }

    /// A key that was kept.
    ///
    /// # Errors
    /// [`NotAKey`].
    pub fn kept(prefix: &str, digest: &str) -> Result<Self, NotAKey> {
        let mut bytes = [0_u8; 32];
        hex::decode_to_slice(digest, &mut bytes).map_err(|_| NotAKey)?;
        let hexadecimal = prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
        if prefix.len() != PREFIX_BYTES * 2 || !hexadecimal {
            return Err(NotAKey);
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            digest: bytes,
        })
    }

    /// The public part, by which people tell keys apart.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// SHA-256 of the key as hex: what is kept.
    #[must_use]
    pub fn digest(&self) -> String {
        hex::encode(self.digest)
    }

    /// Whether `presented` is the key; takes the same time for every wrong one.
    #[must_use]
    pub fn matches(&self, presented: &SecretString) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented.expose_secret().as_bytes()).into();
        self.digest.ct_eq(&presented).into()
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "ApiKey({})", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_itself_matches_also_after_it_was_kept() {
        let (secret, key) = ApiKey::generate().unwrap();
        let (other, _) = ApiKey::generate().unwrap();
        let text = secret.expose_secret();
        assert!(text.starts_with(&format!("dmcp_{}_", key.prefix())) && text.len() == 57);
        let kept = ApiKey::kept(key.prefix(), &key.digest()).unwrap();
        assert!(kept == key && kept.matches(&secret) && !kept.matches(&other));
        assert!(!kept.matches(&SecretString::from(&text[..56])));
        assert!(!format!("{kept:?}").contains(&text[14..]));
        for (prefix, digest) in [("", ""), (key.prefix(), "00"), ("zzzzzzzz", &*key.digest())] {
            assert_eq!(ApiKey::kept(prefix, digest), Err(NotAKey));
        }
    }
}
