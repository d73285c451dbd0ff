//! What the dependencies of a tool resolved to: every package with its exact version and the hashes
//! of its files, so that each install of it is the same.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::tool::Runtime;

/// Largest lockfile, in bytes of JSON.
pub const LOCKFILE_BYTES: usize = 1 << 20;

/// A lockfile: JSON text of a form that its runtime knows, and its SHA-256. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Lockfile {
    runtime: Runtime,
    text: Arc<str>,
    digest: Arc<str>,
}

impl Lockfile {
    /// Takes a text over that has the form of this runtime.
    ///
    /// # Errors
    /// `invalid_argument` with the place of what is not as it should be.
    pub fn parse(runtime: Runtime, text: &str) -> Result<Self> {
        if text.len() > LOCKFILE_BYTES {
            return Err(Error::invalid("lockfile", "is too large")
                .with_limit(format!("{LOCKFILE_BYTES} bytes")));
        }
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
            return Err(Error::invalid("lockfile", format!("is not JSON: {error}")));
        }
        Ok(Self {
            runtime,
            text: Arc::from(text),
            digest: hex::encode(Sha256::digest(text.as_bytes())).into(),
        })
    }

    /// The language whose packages it names.
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        self.runtime
    }

    /// The text, as it is stored.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the text in 64 hexadecimal digits: what an install is known by.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl fmt::Debug for Lockfile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Lockfile({:?}, {})", self.runtime, self.digest)
    }
}
