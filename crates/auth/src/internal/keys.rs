//! The Ed25519 key that signs.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use domain::{Error, Result};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use sha2::{Digest, Sha256};

use super::Claims;

/// SubjectPublicKeyInfo of Ed25519 up to the 32 bytes of the key (RFC 8410, section 4).
pub(crate) const SPKI_PREFIX: [u8; 12] = [
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
    #[error("has text that is neither a PEM block nor a [[keys]] table: line {0}")]
    Stray(usize),
    #[error("has a [[keys]] table that cannot be read: {0}")]
    Table(String),
    #[error("names the key of {0:?} twice")]
    Twice(String),
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

    /// A new key and its PKCS#8 `PRIVATE KEY` block, to be kept in a file.
    ///
    /// # Errors
    /// [`KeyError::NotMade`] when the system has no randomness.
    pub fn generate_pem() -> std::result::Result<(Self, String), KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::NotMade)?;
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::NotMade)?;
        let text = pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8.as_ref()));
        Ok((Self::from_pkcs8(pkcs8.as_ref())?, text))
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

    pub(crate) fn public(&self) -> &[u8; 32] {
        &self.public
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

pub(crate) fn key_id(public: &[u8; 32]) -> String {
    hex::encode(&Sha256::digest(public)[..16])
}

#[cfg(test)]
mod tests {
    use super::super::VerifyKeys;
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

    fn ids(keys: &VerifyKeys) -> Vec<&str> {
        keys.ids().into_keys().collect()
    }

    #[test]
    fn reads_what_openssl_writes() {
        let key = SigningKey::from_pem(OPENSSL_PRIVATE).unwrap();
        assert_eq!(ids(&VerifyKeys::parse(OPENSSL_PUBLIC).unwrap()), [key.id()]);
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
        let keys = VerifyKeys::parse(&(one.public_pem() + &two.public_pem())).unwrap();
        let mut wanted = [one.id(), two.id()];
        wanted.sort();
        assert_eq!(ids(&keys), wanted);
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
            VerifyKeys::parse(OPENSSL_PRIVATE),
            Err(KeyError::WrongBlock(..))
        ));
        assert_eq!(VerifyKeys::parse("").unwrap_err(), KeyError::Empty);
        let rsa = pem::encode(&pem::Pem::new("PUBLIC KEY", vec![0x30, 0x82, 0x01]));
        assert_eq!(VerifyKeys::parse(&rsa).unwrap_err(), KeyError::NotEd25519);
        let not_a_key = pem::encode(&pem::Pem::new("PRIVATE KEY", vec![0x30, 0x00]));
        assert_eq!(
            SigningKey::from_pem(&not_a_key).unwrap_err(),
            KeyError::NotEd25519
        );
        let key = SigningKey::generate().unwrap();
        assert!(!format!("{key:?}").contains("private"));
    }
}
