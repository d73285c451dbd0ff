//! Dependencies of a tool: package names and version ranges, and nothing that a package manager
//! would read as an address, an alias, a tag or an option.

pub(crate) mod npm;
pub(crate) mod pypi;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::tool::Runtime;

/// One dependency as the author names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// The package's name in npm or PyPI.
    pub name: String,
    /// A version or a range of versions.
    pub version: String,
}

impl Dependency {
    /// Checks both fields by the rules of the runtime's package index.
    ///
    /// # Errors
    /// `invalid_argument` naming `<field>/name` or `<field>/version`.
    pub fn check(&self, field: &str, runtime: Runtime) -> Result<()> {
        let (name_ok, version_ok, names, versions) = match runtime {
            Runtime::Node => (
                npm::is_name(&self.name),
                npm::is_range(&self.version),
                "a package name of npm",
                "a semver version or range such as 1.2.3, ^1.2.0 or >=1.2 <2",
            ),
            Runtime::Python => (
                pypi::is_name(&self.name),
                pypi::is_specifier(&self.version),
                "a package name of PyPI",
                "a PEP 440 version or specifier such as 1.2.3 or >=1.2,<2",
            ),
        };
        if !name_ok {
            return Err(
                Error::invalid(format!("{field}/name"), "is not a package name").with_limit(names),
            );
        }
        if !version_ok {
            return Err(
                Error::invalid(format!("{field}/version"), "is not a version or range")
                    .with_limit(versions)
                    .with_fix("tags, aliases, URLs, git and file specs are not accepted"),
            );
        }
        Ok(())
    }
}

/// The name by which a package index knows a package: what differs only in this way is the same one.
#[must_use]
pub fn canonical(runtime: Runtime, name: &str) -> String {
    match runtime {
        Runtime::Node => name.to_ascii_lowercase(),
        Runtime::Python => pypi::canonical(name),
    }
}

#[cfg(test)]
mod tests;
