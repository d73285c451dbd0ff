//! API keys: a secret of ours that a caller shows instead of an identity provider's token.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::keys::{KeyDigest, KeyPrefix};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What every key starts with, so that scanners of leaked secrets know it.
const MARK: &str = "dmcp_";
/// Bytes of the public part, as hex.
const PREFIX_BYTES: usize = KeyPrefix::CHARS / 2;
/// Bytes of the secret part: 256 bits.
const SECRET_BYTES: usize = 32;
/// Characters of the secret part.
const SECRET_CHARS: usize = 43;

/// A key that was just made. Its text is given out once and kept nowhere.
pub struct MadeKey {
    /// `dmcp_<prefix, 8 hex digits>_<256 bits, base64url>`.
    pub text: SecretString,
    /// The public part.
    pub prefix: KeyPrefix,
    /// What is kept: a hash without salt and stretching is enough for 256 random bits.
    pub digest: KeyDigest,
}

/// The system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

/// A key as a caller shows it: where to look it up, and what it has to be.
pub struct ShownKey {
    prefix: KeyPrefix,
    digest: [u8; 32],
}

impl MadeKey {
    /// Makes a key.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut public = [0_u8; PREFIX_BYTES];
        SystemRandom::new()
            .fill(&mut public)
            .map_err(|_| NoRandomness)?;
        let prefix = KeyPrefix::of(public);
        let text = format!("{MARK}{prefix}_{}", random_text()?);
        let digest = KeyDigest::of(Sha256::digest(text.as_bytes()).into());
        Ok(Self {
            text: SecretString::from(text),
            prefix,
            digest,
        })
    }
}

/// 256 random bits as 43 characters of base64url: a password or a token of ours, fit for a URL.
///
/// # Errors
/// [`NoRandomness`].
pub fn random_text() -> Result<String, NoRandomness> {
    let mut secret = [0_u8; SECRET_BYTES];
    SystemRandom::new()
        .fill(&mut secret)
        .map_err(|_| NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(secret))
}

impl std::fmt::Debug for MadeKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "MadeKey({})", self.prefix)
    }
}

impl ShownKey {
    /// Whether a credential says that it is a key, rather than a token.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        text.starts_with(MARK)
    }

    /// Reads a key. `None`: it has not the form of one.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (prefix, secret) = text.strip_prefix(MARK)?.split_once('_')?;
        let of_secret = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if secret.len() != SECRET_CHARS || !secret.bytes().all(of_secret) {
            return None;
        }
        Some(Self {
            prefix: KeyPrefix::parse(prefix).ok()?,
            digest: Sha256::digest(text.as_bytes()).into(),
        })
    }

    /// Its public part, which anybody may invent.
    #[must_use]
    pub fn prefix(&self) -> KeyPrefix {
        self.prefix
    }

    /// Whether it is the key that is kept as this; takes the same time for every wrong one.
    #[must_use]
    pub fn is(&self, kept: &KeyDigest) -> bool {
        self.digest.ct_eq(kept.as_bytes()).into()
    }
}

impl std::fmt::Debug for ShownKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "ShownKey({})", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn only_the_key_itself_is_it() {
        let made = MadeKey::generate().unwrap();
        let other = MadeKey::generate().unwrap();
        let text = made.text.expose_secret();
        assert!(text.starts_with(&format!("dmcp_{}_", made.prefix)) && text.len() == 57);
        let shown = ShownKey::read(text).unwrap();
        assert_eq!(shown.prefix(), made.prefix);
        assert!(shown.is(&made.digest) && !shown.is(&other.digest));
        // The right prefix with another secret.
        let theirs = other.text.expose_secret();
        let mixed = format!("{}{}", &text[..14], &theirs[14..]);
        assert!(!ShownKey::read(&mixed).unwrap().is(&made.digest));
        for debug in [format!("{made:?}"), format!("{shown:?}")] {
            assert!(!debug.contains(&text[14..]), "{debug}");
        }
    }

    #[test]
    fn what_has_not_the_form_of_a_key_is_none() {
        let made = MadeKey::generate().unwrap();
        let text = made.text.expose_secret();
        let (head, secret) = text.split_at(14);
        for bad in [
            "",
            "dmcp_",
            "dmcp__",
            &text[..56],
            &format!("{text}a"),
            &format!(" {text}"),
            &format!("{head}{}\u{fc}", &secret[..41]),
            &format!("{head}{}=", &secret[..42]),
            &text.to_uppercase(),
            &text.replacen('_', "-", 1),
            &format!("dmcp_0A0A0A0A_{secret}"),
            "eyJhbGciOiJub25lIn0.e30.",
        ] {
            assert!(ShownKey::read(bad).is_none(), "{bad:?}");
        }
        assert!(ShownKey::is_one(text) && !ShownKey::is_one("eyJ"));
    }
}
