//! Ed25519 keys: the one that signs and those that are accepted.

use std::collections::HashMap;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use domain::{Error, Result};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use sha2::{Digest, Sha256};

use super::Claims;

/// SubjectPublicKeyInfo of Ed25519 up to the 32 bytes of the key (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Why a key could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each means")]
pub enum KeyError {
    #[error("is not PEM")]
    NotPem,
    #[error("holds no key")]
    Empty,
    #[error("holds a block {0:?} where {1:?} is needed")]
    WrongBlock(String, &'static str),
    #[error("is not an Ed25519 key; make one with: openssl genpkey -algorithm ed25519")]
    NotEd25519,
    #[error("could not be made")]
    NotMade,
}

/// The private key that signs this service's requests.
pub struct SigningKey {
    header: Header,
    private: EncodingKey,
    public: [u8; 32],
}

impl SigningKey {
    /// A new key that lives as long as the process: for standalone and tests.
    ///
    /// # Errors
    /// [`KeyError::NotMade`] when the system has no randomness.
    pub fn generate() -> std::result::Result<Self, KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::NotMade)?;
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::NotMade)?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    /// Reads one PKCS#8 `PRIVATE KEY` block, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    /// What is wrong with the text; the text itself is in no error.
    pub fn from_pem(text: &str) -> std::result::Result<Self, KeyError> {
        let block = pem::parse(text).map_err(|_| KeyError::NotPem)?;
        if block.tag() != "PRIVATE KEY" {
            return Err(KeyError::WrongBlock(block.tag().to_owned(), "PRIVATE KEY"));
        }
        Self::from_pkcs8(block.contents())
    }

    fn from_pkcs8(der: &[u8]) -> std::result::Result<Self, KeyError> {
        let pair =
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| KeyError::NotEd25519)?;
        let public: [u8; 32] = pair
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| KeyError::NotEd25519)?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(key_id(&public));
        Ok(Self {
            header,
            private: EncodingKey::from_ed_der(der),
            public,
        })
    }

    /// The key's id: the first 16 bytes of the SHA-256 of the public key, in hex.
    #[must_use]
    pub fn id(&self) -> String {
        key_id(&self.public)
    }

    /// The public key as a PEM block, for the services that shall accept this one.
    #[must_use]
    pub fn public_pem(&self) -> String {
        pem::encode(&pem::Pem::new(
            "PUBLIC KEY",
            [&SPKI_PREFIX[..], &self.public].concat(),
        ))
    }

    /// Signs claims as they are. [`super::Signer`] makes them; tests make wrong ones.
    ///
    /// # Errors
    /// `internal` when the key cannot sign.
    pub fn sign(&self, claims: &Claims) -> Result<String> {
        jsonwebtoken::encode(&self.header, claims, &self.private).map_err(Error::internal)
    }

    #[cfg(test)]
    pub(crate) fn sign_raw(&self, claims: &serde_json::Value) -> String {
        jsonwebtoken::encode(&self.header, claims, &self.private).unwrap()
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SigningKey")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// The public keys whose tokens are accepted: several while a key is being replaced.
#[derive(Clone, Default)]
pub struct VerifyKeys(HashMap<String, DecodingKey>);

impl VerifyKeys {
    /// Accepts one key of this process: for standalone and tests.
    #[must_use]
    pub fn of(key: &SigningKey) -> Self {
        let mut keys = Self::default();
        keys.add(&key.public);
        keys
    }

    /// Reads one or more `PUBLIC KEY` blocks, one after the other.
    ///
    /// # Errors
    /// What is wrong with the text; nothing is accepted when one block is wrong.
    pub fn from_pem(text: &str) -> std::result::Result<Self, KeyError> {
        let blocks = pem::parse_many(text).map_err(|_| KeyError::NotPem)?;
        let mut keys = Self::default();
        for block in &blocks {
            if block.tag() != "PUBLIC KEY" {
                return Err(KeyError::WrongBlock(block.tag().to_owned(), "PUBLIC KEY"));
            }
            let public = block
                .contents()
                .strip_prefix(&SPKI_PREFIX)
                .and_then(|rest| <&[u8; 32]>::try_from(rest).ok())
                .ok_or(KeyError::NotEd25519)?;
            keys.add(public);
        }
        if keys.0.is_empty() {
            Err(KeyError::Empty)
        } else {
            Ok(keys)
        }
    }

    /// The ids of the keys, for the start-up lines.
    #[must_use]
    pub fn ids(&self) -> Vec<&str> {
        let mut ids: Vec<&str> = self.0.keys().map(String::as_str).collect();
        ids.sort_unstable();
        ids
    }

    pub(crate) fn get(&self, id: &str) -> Option<&DecodingKey> {
        self.0.get(id)
    }

    fn add(&mut self, public: &[u8; 32]) {
        self.0
            .insert(key_id(public), DecodingKey::from_ed_der(public));
    }
}

impl std::fmt::Debug for VerifyKeys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("VerifyKeys").field(&self.ids()).finish()
    }
}

fn key_id(public: &[u8; 32]) -> String {
    hex::encode(&Sha256::digest(public)[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` for this test only.
    const OPENSSL_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIO4mPlqeepwdvJ31EnUNKt7CqgfRsr9A0FhYzqY/3xm/
-----END PRIVATE KEY-----
";
    const OPENSSL_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA6dt5rVde/AydimdBRDIZ3whJ2Clv6LfmLJUOMgdShp0=
-----END PUBLIC KEY-----
";

    #[test]
    fn reads_what_openssl_writes() {
        let key = SigningKey::from_pem(OPENSSL_PRIVATE).unwrap();
        assert_eq!(
            VerifyKeys::from_pem(OPENSSL_PUBLIC).unwrap().ids(),
            [key.id()]
        );
        assert_eq!(
            pem::parse(key.public_pem()).unwrap(),
            pem::parse(OPENSSL_PUBLIC).unwrap()
        );
    }

    #[test]
    fn reads_several_public_keys() {
        let (one, two) = (
            SigningKey::generate().unwrap(),
            SigningKey::generate().unwrap(),
        );
        let keys = VerifyKeys::from_pem(&(one.public_pem() + &two.public_pem())).unwrap();
        let mut ids = [one.id(), two.id()];
        ids.sort();
        assert_eq!(keys.ids(), ids);
    }

    #[test]
    fn names_what_is_wrong() {
        assert_eq!(
            SigningKey::from_pem("secret").unwrap_err(),
            KeyError::NotPem
        );
        assert!(matches!(
            SigningKey::from_pem(OPENSSL_PUBLIC),
            Err(KeyError::WrongBlock(..))
        ));
        assert!(matches!(
            VerifyKeys::from_pem(OPENSSL_PRIVATE),
            Err(KeyError::WrongBlock(..))
        ));
        assert_eq!(VerifyKeys::from_pem("").unwrap_err(), KeyError::Empty);
        let rsa = pem::encode(&pem::Pem::new("PUBLIC KEY", vec![0x30, 0x82, 0x01]));
        assert_eq!(
            VerifyKeys::from_pem(&rsa).unwrap_err(),
            KeyError::NotEd25519
        );
        let not_a_key = pem::encode(&pem::Pem::new("PRIVATE KEY", vec![0x30, 0x00]));
        assert_eq!(
            SigningKey::from_pem(&not_a_key).unwrap_err(),
            KeyError::NotEd25519
        );
        let key = SigningKey::generate().unwrap();
        assert!(!format!("{key:?}").contains("private"));
    }
}
