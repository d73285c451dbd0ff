//! What the dependencies of a tool resolved to: every package with its exact version and the hashes
//! of its files, so that each install of it is the same.
//!
//! The text is JSON of one of two forms. For Node.js it is a `package-lock.json` of version 3 with
//! nothing in it but what `npm ci` needs, and no addresses: `resolved` is relative to whichever
//! registry is configured. For Python it is a list of packages with the hashes of their wheels.

pub mod npm;
pub mod pypi;

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::dependency::{self, Dependency};
use crate::error::{Error, ErrorCode, Result};
use crate::tool::Runtime;

/// Largest lockfile, in bytes of JSON.
pub const LOCKFILE_BYTES: usize = 1 << 20;
/// Most packages of a lockfile.
pub const LOCKED_PACKAGES: usize = 2_000;

/// A lockfile: JSON text of a form that its runtime knows, and its SHA-256. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Lockfile {
    runtime: Runtime,
    text: Arc<str>,
    digest: Arc<str>,
    contents: Arc<Contents>,
}

/// What is read from the text.
#[derive(Debug, PartialEq, Eq)]
struct Contents {
    requested: Vec<Dependency>,
    packages: Vec<LockedPackage>,
}

/// One package of a lockfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedPackage {
    /// Its name in the index.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Hashes of which its file has to have one: `sha512-` and base64 for npm (none for a package
    /// that is part of another one's file), `sha256:` and hexadecimal digits for PyPI.
    pub integrity: Vec<String>,
    /// The packages that lead to it, from one that the author named down to itself.
    pub path: Vec<String>,
    /// Other names that it is known by in this tree, by which the block list goes too.
    aliases: Vec<String>,
}

impl Lockfile {
    /// Takes a text over that has the form of this runtime.
    ///
    /// # Errors
    /// `invalid_argument` with the place of what is not as it should be: more than 1 MiB or 2,000
    /// packages, a package without a hash, or one that does not come from the package index.
    pub fn parse(runtime: Runtime, text: &str) -> Result<Self> {
        if text.len() > LOCKFILE_BYTES {
            return Err(Error::invalid("lockfile", "is too large")
                .with_limit(format!("{LOCKFILE_BYTES} bytes")));
        }
        let unreadable = |error: serde_json::Error| {
            Error::invalid("lockfile", format!("cannot be read: {error}"))
        };
        let (requested, packages) = match runtime {
            Runtime::Node => {
                let lock: npm::Lock = serde_json::from_str(text).map_err(unreadable)?;
                bounded(lock.packages.len().saturating_sub(1))?;
                lock.check()?;
                (lock.requested(), lock.list())
            }
            Runtime::Python => {
                let lock: pypi::Lock = serde_json::from_str(text).map_err(unreadable)?;
                bounded(lock.packages.len())?;
                lock.check()?;
                (lock.requested(), lock.list())
            }
        };
        Ok(Self {
            runtime,
            text: Arc::from(text),
            digest: hex::encode(Sha256::digest(text.as_bytes())).into(),
            contents: Arc::new(Contents {
                requested,
                packages,
            }),
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

    /// Every package, by name.
    pub fn packages(&self) -> impl Iterator<Item = &LockedPackage> {
        self.contents.packages.iter()
    }

    /// Checks that it was made for these dependencies.
    ///
    /// # Errors
    /// `invalid_argument`.
    pub fn check_for(&self, dependencies: &[Dependency]) -> Result<()> {
        let sorted = |list: &[Dependency]| {
            let mut list = list.to_vec();
            list.sort();
            list
        };
        if sorted(dependencies) == sorted(&self.contents.requested) {
            return Ok(());
        }
        Err(Error::invalid("lockfile", "is of other dependencies"))
    }

    /// Checks every package, wherever it comes from, against a list of blocked ones.
    ///
    /// # Errors
    /// `policy_denied` with the way that leads to the package.
    pub fn check_blocked(&self, blocked: &[String]) -> Result<()> {
        let canonical = |name: &String| dependency::canonical(self.runtime, name);
        let blocked: Vec<String> = blocked.iter().map(canonical).collect();
        let is_blocked = |package: &&LockedPackage| {
            std::iter::once(&package.name)
                .chain(&package.aliases)
                .any(|name| blocked.contains(&canonical(name)))
        };
        let Some(package) = self.packages().find(is_blocked) else {
            return Ok(());
        };
        let message = format!("{} is a blocked package", package.name);
        let way = package.path.join(" > ");
        Err(Error::new(ErrorCode::PolicyDenied, message)
            .with_field("dependencies")
            .with_fix(format!("it comes by way of {way}; leave that out")))
    }
}

impl fmt::Debug for Lockfile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Lockfile({:?}, {})", self.runtime, self.digest)
    }
}

fn bounded(count: usize) -> Result<()> {
    if count <= LOCKED_PACKAGES {
        return Ok(());
    }
    Err(Error::invalid(
        "lockfile",
        format!("has {count} packages, which are too many"),
    )
    .with_limit(LOCKED_PACKAGES.to_string()))
}

/// The error about one package.
fn fault(package: &str, message: impl Into<String>) -> Error {
    // What a registry says ends up in messages: bounded, on one line.
    let name: String = package
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    Error::invalid(format!("lockfile/{name}"), message)
}

#[cfg(test)]
mod tests;
