//! Dependencies of a tool: package names and version ranges, and nothing that a package manager
//! would read as an address, an alias, a tag or an option.

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
                npm_name(&self.name),
                npm_range(&self.version),
                "a package name of npm",
                "a semver version or range such as 1.2.3, ^1.2.0 or >=1.2 <2",
            ),
            Runtime::Python => (
                pypi_name(&self.name),
                pep440(&self.version),
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

fn npm_name(name: &str) -> bool {
    let part = |text: &str| {
        let mut bytes = text.bytes();
        let first = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'~';
        let rest = |b: u8| first(b) || b"._-".contains(&b);
        bytes.next().is_some_and(first) && bytes.all(rest)
    };
    name.len() <= 214
        && match name.strip_prefix('@') {
            Some(scoped) => scoped
                .split_once('/')
                .is_some_and(|(scope, id)| part(scope) && part(id)),
            None => part(name),
        }
}

fn pypi_name(name: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    name.len() <= 128
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
}

/// A range of node-semver: alternatives by `||`, comparators by spaces, `1.2 - 2.3`, `x` parts.
fn npm_range(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.split("||").all(|alternative| {
            let alternative = alternative.trim();
            match alternative.split_once(" - ") {
                Some((low, high)) => partial(low.trim()) && partial(high.trim()),
                None => {
                    !alternative.is_empty() && alternative.split_ascii_whitespace().all(comparator)
                }
            }
        })
}

fn comparator(text: &str) -> bool {
    let version = ["<=", ">=", "<", ">", "=", "^", "~"]
        .iter()
        .find_map(|operator| text.strip_prefix(operator))
        .unwrap_or(text);
    partial(version.strip_prefix('v').unwrap_or(version))
}

fn partial(text: &str) -> bool {
    let (core, build) = text
        .split_once('+')
        .map_or((text, None), |(c, b)| (c, Some(b)));
    let (core, pre) = core
        .split_once('-')
        .map_or((core, None), |(c, p)| (c, Some(p)));
    let part = |p: &str| {
        matches!(p, "x" | "X" | "*")
            || (1..=16).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit())
    };
    let tail = |t: &str| {
        t.split('.')
            .all(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
    };
    let parts: Vec<&str> = core.split('.').collect();
    parts.len() <= 3
        && parts.iter().all(|p| part(p))
        && pre.is_none_or(tail)
        && build.is_none_or(tail)
        && (pre.is_none() || parts.len() == 3)
}

fn pep440(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.split(',').all(|clause| {
            let clause = clause.trim();
            let version = ["==", ">=", "<=", "~=", "!=", "<", ">"]
                .iter()
                .find_map(|operator| clause.strip_prefix(operator))
                .unwrap_or(clause)
                .trim();
            version.bytes().next().is_some_and(|b| b.is_ascii_digit())
                && version
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b".!+*-".contains(&b))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npm_versions() {
        for good in [
            "1.2.3",
            "^1.2.0",
            "~1.2",
            ">=1.2.3 <2.0.0",
            "1.x",
            "*",
            "1 - 2",
            "1.0.0-rc.1",
            "^1 || ^2",
            "=1.2.3+b.1",
        ] {
            assert!(npm_range(good), "{good}");
        }
        for bad in [
            "latest",
            "",
            "npm:pm2@1",
            "git+ssh://x",
            "https://x/y.tgz",
            "file:../x",
            "--flag",
            "1.2.3; rm",
            "user/repo",
            "1.2.3.4",
            "||",
            "next",
            "^",
        ] {
            assert!(!npm_range(bad), "{bad}");
        }
    }

    #[test]
    fn names() {
        for good in ["lodash", "@scope/pkg", "a.b-c_d~e"] {
            assert!(npm_name(good), "{good}");
        }
        for bad in ["", "PM2", "../x", "@scope", "@/x", "a b", "-x", ".x", "_x"] {
            assert!(!npm_name(bad), "{bad}");
        }
        assert!(pypi_name("ruamel.yaml") && !pypi_name("-e") && !pypi_name("x y"));
        assert!(
            pep440(">=1.2,<2")
                && pep440("1!2.0.post1")
                && !pep440("@ https://x")
                && !pep440("latest")
        );
    }
}
