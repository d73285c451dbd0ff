//! The lockfile of npm packages.

use std::collections::{BTreeMap, HashMap, VecDeque};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LockedPackage, fault};
use crate::dependency::{Dependency, npm};
use crate::error::{Error, Result};

/// Deepest nesting of `node_modules`.
const DEPTH: usize = 32;
/// Length of a SHA-512, in bytes.
const SHA512: usize = 64;

/// `package-lock.json` of version 3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lock {
    /// 3.
    pub lockfile_version: u32,
    /// By place: `` for the tool itself, `node_modules/x`, `node_modules/x/node_modules/y`.
    pub packages: BTreeMap<String, Package>,
}

/// What is needed of one package.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "the fields are npm's own; its page on package-lock.json tells of each"
)]
pub struct Package {
    /// The package's own name where the place has another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The path of its file below the registry's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrity: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub optional: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub peer: bool,
    /// It is part of the file of the package around it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub in_bundle: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub has_install_script: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bin: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub os: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpu: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub libc: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dependencies: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub optional_dependencies: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub peer_dependencies: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub peer_dependencies_meta: BTreeMap<String, PeerMeta>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bundle_dependencies: Vec<String>,
}

/// What is said of a peer dependency.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerMeta {
    /// Whether it may be missing.
    #[serde(default)]
    pub optional: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Fields of a package that npm writes and no install needs.
const NOT_NEEDED: [&str; 7] = [
    "license",
    "licenses",
    "engines",
    "funding",
    "deprecated",
    "hasShrinkwrap",
    "ideallyInert",
];

impl Lock {
    /// Takes over what npm wrote; the addresses of files below `registry` become relative, and others
    /// are dropped, so that the registry is asked for them again.
    ///
    /// # Errors
    /// `invalid_argument` when npm wrote what no package from a registry has: a link, an address, a
    /// folder.
    pub fn of_npm(text: &str, registry: &str) -> Result<Self> {
        let bad = |error: serde_json::Error| Error::invalid("lockfile", error.to_string());
        let mut written: Value = serde_json::from_str(text).map_err(bad)?;
        let mut packages = BTreeMap::new();
        let prefix = format!("{}/", registry.trim_end_matches('/'));
        let all = written.get_mut("packages").and_then(Value::as_object_mut);
        for (place, mut value) in all.map(std::mem::take).into_iter().flatten() {
            let Some(fields) = value.as_object_mut() else {
                return Err(fault(&place, "is not described"));
            };
            for field in NOT_NEEDED {
                fields.remove(field);
            }
            if place.is_empty() {
                fields.retain(|name, _| name == "dependencies");
            }
            // Older packages say yes or no here, and mean all or none of their dependencies.
            fields.retain(|name, value| name != "bundleDependencies" || value.is_array());
            fields.retain(|name, value| name != "bin" || value.is_object());
            let mut package: Package = serde_json::from_value(value).map_err(|error| {
                fault(&place, format!("does not come from the registry: {error}"))
            })?;
            if let Some(address) = package.resolved.take() {
                if !address.starts_with("http://") && !address.starts_with("https://") {
                    return Err(fault(&place, "does not come from the registry"));
                }
                let below = address.strip_prefix(&prefix).map(str::to_owned);
                package.resolved = below.filter(|path| is_file_path(path));
            }
            if let Some(integrity) = package.integrity.take() {
                let strong = integrity
                    .split_ascii_whitespace()
                    .find(|hash| is_sha512(hash));
                package.integrity = Some(strong.map_or(integrity.clone(), str::to_owned));
            }
            packages.insert(place, package);
        }
        Ok(Self {
            lockfile_version: 3,
            packages,
        })
    }

    /// The same with the registry's address in front of each file: what npm is given.
    #[must_use]
    pub fn with_registry(&self, registry: &str) -> Self {
        let registry = registry.trim_end_matches('/');
        let mut lock = self.clone();
        for package in lock.packages.values_mut() {
            if let Some(path) = &package.resolved {
                package.resolved = Some(format!("{registry}/{path}"));
            }
        }
        lock
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.lockfile_version != 3 {
            return Err(fault("", "is not of version 3"));
        }
        let root = self.packages.get("");
        let root = root.ok_or_else(|| fault("", "does not say what it is for"))?;
        let only = Package {
            dependencies: root.dependencies.clone(),
            ..Package::default()
        };
        let ranges = |(name, range): (&String, &String)| npm::is_name(name) && npm::is_range(range);
        if *root != only || !root.dependencies.iter().all(ranges) {
            return Err(fault("", "names dependencies that are none"));
        }
        let mut rest = self.packages.iter().filter(|(place, _)| !place.is_empty());
        rest.try_for_each(|(place, package)| package.check(place))
    }

    pub(super) fn requested(&self) -> Vec<Dependency> {
        let root = self.packages.get("").into_iter();
        root.flat_map(|root| &root.dependencies)
            .map(|(name, version)| Dependency {
                name: name.clone(),
                version: version.clone(),
            })
            .collect()
    }

    pub(super) fn list(&self) -> Vec<LockedPackage> {
        let ways = self.ways();
        let mut list: Vec<LockedPackage> = self
            .packages
            .iter()
            .filter_map(|(place, package)| {
                let at = name_at(place)?;
                let name = package.name.as_deref().unwrap_or(at);
                // A part of another package's file is reached by that one.
                let around = || {
                    let (around, _) = place.rsplit_once("/node_modules/")?;
                    let mut way = ways.get(around)?.clone();
                    way.push(name.to_owned());
                    Some(way)
                };
                let path = ways.get(place.as_str()).cloned().or_else(around);
                Some(LockedPackage {
                    name: name.to_owned(),
                    version: package.version.clone().unwrap_or_default(),
                    integrity: package.integrity.iter().cloned().collect(),
                    path: path.unwrap_or_else(|| vec![name.to_owned()]),
                    aliases: vec![at.to_owned()],
                })
            })
            .collect();
        list.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        list
    }

    /// For each place a shortest way to it, as names.
    fn ways(&self) -> HashMap<&str, Vec<String>> {
        let mut ways: HashMap<&str, Vec<String>> = HashMap::from([("", Vec::new())]);
        let mut open = VecDeque::from([""]);
        while let Some(place) = open.pop_front() {
            let (Some(package), Some(way)) = (self.packages.get(place), ways.get(place).cloned())
            else {
                continue;
            };
            let needs = [
                &package.dependencies,
                &package.optional_dependencies,
                &package.peer_dependencies,
            ];
            for name in needs.into_iter().flat_map(BTreeMap::keys) {
                let Some((found, its)) = self.find_from(place, name) else {
                    continue;
                };
                if !ways.contains_key(found) {
                    let shown = its.name.as_ref().unwrap_or(name);
                    let mut longer = way.clone();
                    longer.push(shown.clone());
                    ways.insert(found, longer);
                    open.push_back(found);
                }
            }
        }
        ways
    }

    /// What `require(name)` finds from a place: the nearest one going up.
    fn find_from(&self, place: &str, name: &str) -> Option<(&str, &Package)> {
        let mut base = place;
        loop {
            let there = if base.is_empty() {
                format!("node_modules/{name}")
            } else {
                format!("{base}/node_modules/{name}")
            };
            if let Some((place, package)) = self.packages.get_key_value(&there) {
                return Some((place.as_str(), package));
            }
            if base.is_empty() {
                return None;
            }
            base = base.rfind("/node_modules/").map_or("", |at| &base[..at]);
        }
    }
}

impl Package {
    fn check(&self, place: &str) -> Result<()> {
        let Some(at) = name_at(place) else {
            return Err(fault(place, "is not a place of a package"));
        };
        if !npm::is_old_name(self.name.as_deref().unwrap_or(at)) {
            return Err(fault(place, "has a name that is none"));
        }
        if !self.version.as_deref().is_some_and(npm::is_version) {
            return Err(fault(place, "has no exact version"));
        }
        let nested = place.matches("node_modules/").count() > 1;
        let sound = match (&self.integrity, self.in_bundle) {
            // Its bytes are covered by the hash of the package around it.
            (None, true) => nested && self.resolved.is_none(),
            (Some(hash), _) => is_sha512(hash),
            (None, false) => false,
        };
        if !sound {
            return Err(fault(
                place,
                "has no SHA-512 that its file could be checked by",
            ));
        }
        if !self.resolved.as_deref().is_none_or(is_file_path) {
            return Err(fault(place, "names a file outside of the registry"));
        }
        let needs = self.dependencies.iter().chain(&self.optional_dependencies);
        for (name, spec) in needs.chain(&self.peer_dependencies) {
            if !npm::is_old_name(name) || !npm::is_registry_spec(spec) {
                let name: String = name.chars().take(100).collect();
                let message = format!("needs {name} from elsewhere than the registry");
                return Err(fault(place, message));
            }
        }
        let inside = |path: &String| {
            !path.starts_with('/') && !path.contains('\\') && !path.split('/').any(|it| it == "..")
        };
        let plain = |name: &String| !name.contains("..") && !name.contains(['\\', '\0']);
        if self.bin.len() > 200
            || !self
                .bin
                .iter()
                .all(|(name, path)| plain(name) && inside(path))
        {
            return Err(fault(place, "has programs outside of itself"));
        }
        Ok(())
    }
}

/// The name by which a place is required; nothing when it is not a place.
fn name_at(place: &str) -> Option<&str> {
    let mut rest = place.strip_prefix("node_modules/")?;
    for _ in 0..DEPTH {
        match rest.split_once("/node_modules/") {
            None => return npm::is_old_name(rest).then_some(rest),
            Some((name, more)) if npm::is_old_name(name) => rest = more,
            Some(_) => return None,
        }
    }
    None
}

fn is_sha512(hash: &str) -> bool {
    let digest = hash.strip_prefix("sha512-");
    digest
        .and_then(|text| BASE64_STANDARD.decode(text).ok())
        .is_some_and(|bytes| bytes.len() == SHA512)
}

/// A path below the registry's address, and nothing that leads out of it.
fn is_file_path(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-~@%+".contains(&b);
    (1..=512).contains(&path.len())
        && path.bytes().all(plain)
        && !path.starts_with('/')
        && !path.split('/').any(|part| matches!(part, "" | "." | ".."))
        && !path.to_ascii_lowercase().contains("%2e")
}
