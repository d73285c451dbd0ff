//! The keys of an issuer, and which of them a token means.

use serde::Deserialize;
use serde_json::Value;

use super::algorithm::Algorithm;
use super::denied::Denied;
use super::jose::Header;
use super::key::{Jwk, PublicKey};

/// Most keys of a set; more is taken for an attack or a mistake.
pub(crate) const MAX_KEYS: usize = 100;

/// Keys that can check signatures.
#[derive(Default, PartialEq)]
pub(crate) struct KeySet {
    keys: Vec<PublicKey>,
    /// Whether the keys have names that tokens refer to: PEM blocks have none.
    named: bool,
}

/// Why a key set cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadKeySet {
    #[error("is not a JSON Web Key Set")]
    Malformed,
    #[error("holds more than 100 keys")]
    TooMany,
}

/// Why a text with public keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadPem {
    #[error("is not PEM")]
    NotPem,
    #[error("holds no key")]
    Empty,
    #[error("holds a block {0:?} where \"PUBLIC KEY\" is needed")]
    WrongBlock(String),
    #[error(
        "holds a key that is not RSA with 2048-8192 bits, EC P-256, EC P-384 or Ed25519; make one \
         with: openssl pkey -in private.pem -pubout"
    )]
    NotUsable,
    #[error("holds more than 100 keys")]
    TooMany,
}

impl KeySet {
    /// Reads a JSON Web Key Set; keys that are of no use here are left out.
    pub(crate) fn from_json(json: &[u8]) -> Result<Self, BadKeySet> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let document: Document = serde_json::from_slice(json).map_err(|_| BadKeySet::Malformed)?;
        if document.keys.len() > MAX_KEYS {
            return Err(BadKeySet::TooMany);
        }
        let read = |value| PublicKey::from_jwk(serde_json::from_value::<Jwk>(value).ok()?);
        Ok(Self {
            keys: document.keys.into_iter().filter_map(read).collect(),
            named: true,
        })
    }

    /// Reads one or more `PUBLIC KEY` blocks, one after the other.
    pub(crate) fn from_pem(text: &str) -> Result<Self, BadPem> {
        let blocks = pem::parse_many(text).map_err(|_| BadPem::NotPem)?;
        if blocks.len() > MAX_KEYS {
            return Err(BadPem::TooMany);
        }
        let read = |block: &pem::Pem| {
            if block.tag() != "PUBLIC KEY" {
                return Err(BadPem::WrongBlock(block.tag().chars().take(40).collect()));
            }
            PublicKey::from_spki(block.contents()).ok_or(BadPem::NotUsable)
        };
        let keys: Vec<PublicKey> = blocks.iter().map(read).collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err(BadPem::Empty);
        }
        let named = false;
        Ok(Self { keys, named })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Checks a signature with the key that the header names. Without a name there must be one key
    /// only that fits; nameless keys from PEM blocks are all tried.
    pub(crate) fn verify(
        &self,
        header: &Header,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Denied> {
        let algorithm = header.algorithm;
        if !self.named {
            return self.try_all(algorithm, message, signature);
        }
        let mut meant = self
            .keys
            .iter()
            .filter(|key| key.fits(algorithm))
            .filter(|key| header.key_id.is_none() || key.id() == header.key_id.as_deref());
        match (meant.next(), meant.next()) {
            (None, _) => Err(Denied::UnknownKey),
            (Some(key), None) => match key.verifies(algorithm, message, signature) {
                true => Ok(()),
                false => Err(Denied::Signature),
            },
            (Some(_), Some(_)) => Err(Denied::AmbiguousKey),
        }
    }

    fn try_all(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Denied> {
        let mut fitting = self
            .keys
            .iter()
            .filter(|key| key.fits(algorithm))
            .peekable();
        if fitting.peek().is_none() {
            return Err(Denied::Algorithm);
        }
        match fitting.any(|key| key.verifies(algorithm, message, signature)) {
            true => Ok(()),
            false => Err(Denied::Signature),
        }
    }
}
