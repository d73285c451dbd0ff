//! What a key is found and recognised by.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The public part of a key, by which people and programs tell keys apart: 8 hexadecimal digits in
/// lower case. No secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyPrefix([u8; 4]);

impl KeyPrefix {
    /// Characters of a prefix.
    pub const CHARS: usize = 8;

    /// The prefix of these random bytes.
    #[must_use]
    pub const fn of(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// Parses 8 hexadecimal digits in lower case.
    ///
    /// # Errors
    /// `invalid_argument` naming the field `prefix`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut bytes = [0; 4];
        let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) if lower => Ok(Self(bytes)),
            _ => Err(Error::invalid("prefix", "is no prefix of a key")
                .with_limit("8 of 0-9 a-f: the middle of `dmcp_<prefix>_<secret>`")),
        }
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyPrefix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl TryFrom<String> for KeyPrefix {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<KeyPrefix> for String {
    fn from(prefix: KeyPrefix) -> Self {
        prefix.to_string()
    }
}

/// SHA-256 of a whole key. It opens nothing, and is not printed all the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Takes 32 bytes over.
    #[must_use]
    pub const fn of(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Takes bytes over that came from elsewhere.
    ///
    /// # Errors
    /// `invalid_argument` when there are not exactly 32.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let bytes = bytes.try_into().map_err(|_| Self::invalid())?;
        Ok(Self(bytes))
    }

    /// Parses 64 hexadecimal digits.
    ///
    /// # Errors
    /// `invalid_argument` naming the field `digest`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| Self::invalid())?;
        Ok(Self(bytes))
    }

    fn invalid() -> Error {
        Error::invalid("digest", "is no SHA-256").with_limit("32 bytes, or 64 hexadecimal digits")
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("KeyDigest(***)")
    }
}
