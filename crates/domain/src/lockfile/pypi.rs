//! The lockfile of packages of PyPI.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{LockedPackage, fault};
use crate::dependency::{Dependency, pypi};
use crate::error::Result;

/// Most hashes of a package: it may have a wheel for each version of Python and each kind of machine.
const HASHES: usize = 400;

/// The whole of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// 1.
    pub version: u32,
    /// The Python that it was resolved for, as `3.11`. Another one may need other packages.
    pub python: String,
    /// What the author named.
    pub requested: Vec<Dependency>,
    /// By name.
    pub packages: Vec<Package>,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of each wheel that it has for this kind of machine: `sha256:` and 64 digits.
    pub hashes: Vec<String>,
    /// Names of the packages of this lock that it needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
}

impl Lock {
    pub(super) fn check(&self) -> Result<()> {
        let is_python = self.python.split_once('.').is_some_and(|(major, minor)| {
            let digits = |part: &str| {
                (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
            };
            digits(major) && digits(minor)
        });
        if self.version != 1 || !is_python {
            return Err(fault("", "is not of version 1, or of no Python"));
        }
        for wanted in &self.requested {
            if !pypi::is_name(&wanted.name) || !pypi::is_specifier(&wanted.version) {
                return Err(fault("", "names dependencies that are none"));
            }
        }
        let mut last: Option<String> = None;
        for package in &self.packages {
            package.check()?;
            let canonical = pypi::canonical(&package.name);
            if last.as_ref().is_some_and(|last| *last >= canonical) {
                return Err(fault(&package.name, "is there twice, or not in its place"));
            }
            last = Some(canonical);
        }
        Ok(())
    }

    /// Puts everything in the order that [`Lockfile::parse`](super::Lockfile::parse) wants.
    pub fn sort(&mut self) {
        self.requested.sort();
        self.packages
            .sort_by_cached_key(|package| pypi::canonical(&package.name));
        for package in &mut self.packages {
            package.hashes.sort();
            package.hashes.dedup();
            package.requires.sort();
            package.requires.dedup();
        }
    }

    pub(super) fn requested(&self) -> Vec<Dependency> {
        self.requested.clone()
    }

    pub(super) fn list(&self) -> Vec<LockedPackage> {
        let by_name: HashMap<String, &Package> = self
            .packages
            .iter()
            .map(|package| (pypi::canonical(&package.name), package))
            .collect();
        let mut ways: HashMap<String, Vec<String>> = HashMap::new();
        let mut open: VecDeque<(String, Vec<String>)> = self
            .requested
            .iter()
            .map(|wanted| (pypi::canonical(&wanted.name), Vec::new()))
            .collect();
        while let Some((name, mut way)) = open.pop_front() {
            let Some(package) = by_name.get(&name) else {
                continue;
            };
            if ways.contains_key(&name) {
                continue;
            }
            way.push(package.name.clone());
            let needs = package.requires.iter();
            open.extend(needs.map(|needed| (pypi::canonical(needed), way.clone())));
            ways.insert(name, way);
        }
        let listed = |package: &Package| LockedPackage {
            name: package.name.clone(),
            version: package.version.clone(),
            integrity: package.hashes.clone(),
            path: ways
                .remove(&pypi::canonical(&package.name))
                .unwrap_or_else(|| vec![package.name.clone()]),
            aliases: Vec::new(),
        };
        self.packages.iter().map(listed).collect()
    }
}

impl Package {
    fn check(&self) -> Result<()> {
        if !pypi::is_name(&self.name) || !self.requires.iter().all(|name| pypi::is_name(name)) {
            return Err(fault(&self.name, "has a name that is none"));
        }
        if !pypi::is_version(&self.version) {
            return Err(fault(&self.name, "has no exact version"));
        }
        let is_hash = |hash: &String| {
            hash.strip_prefix("sha256:").is_some_and(|digits| {
                let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                digits.len() == 64 && digits.bytes().all(hex)
            })
        };
        let bounded = (1..=HASHES).contains(&self.hashes.len());
        if !bounded || !self.hashes.iter().all(is_hash) {
            return Err(fault(
                &self.name,
                "has no SHA-256 that its file could be checked by",
            ));
        }
        Ok(())
    }
}

/// What pip is asked for: the name and its versions.
#[must_use]
pub fn requirement(wanted: &Dependency) -> String {
    format!("{}{}", wanted.name, pypi::requirement(&wanted.version))
}
