//! The rules of the repository that no other tool keeps: arrows between crates, inherited lints and
//! versions, file sizes, a page for each error code.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "repo/compose.rs"]
mod compose;
#[path = "repo/faults.rs"]
mod faults;
#[path = "repo/images.rs"]
mod images;
#[path = "repo/kubernetes.rs"]
mod kubernetes;
#[path = "repo/pages.rs"]
mod pages;
#[path = "repo/security.rs"]
mod security;
#[path = "repo/threats.rs"]
mod threats;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Which of our crates each crate may use. A service never uses another; standalone composes.
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("telemetry", &["domain"]),
    ("auth", &["domain", "telemetry"]),
    ("rpc", &["auth", "domain", "telemetry"]),
    ("bootstrap", &["domain", "telemetry"]),
    ("sandbox", &["domain", "telemetry"]),
    ("testkit", &["auth", "domain"]),
    (
        "gateway",
        &["auth", "bootstrap", "domain", "rpc", "telemetry"],
    ),
    (
        "registry",
        &["auth", "bootstrap", "domain", "rpc", "telemetry"],
    ),
    (
        "executor",
        &["auth", "bootstrap", "domain", "rpc", "sandbox", "telemetry"],
    ),
    (
        "standalone",
        &[
            "auth",
            "bootstrap",
            "domain",
            "executor",
            "gateway",
            "registry",
            "rpc",
            "sandbox",
            "telemetry",
        ],
    ),
];

/// Longest Rust file, in lines.
const MOST_LINES: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn manifests() -> Vec<(PathBuf, toml::Table)> {
    let mut found = Vec::new();
    for folder in ["crates", "services"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if let Ok(text) = std::fs::read_to_string(path.join("Cargo.toml")) {
                found.push((path, text.parse().unwrap()));
            }
        }
    }
    assert!(
        found.len() >= ARROWS.len(),
        "found only {} crates",
        found.len()
    );
    found
}

fn files_below(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "node_modules" && name != "target" && !name.starts_with('.') {
                files_below(&path, ending, found);
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

#[test]
fn arrows_between_our_crates_hold() {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    for (path, manifest) in manifests() {
        let name = manifest["package"]["name"].as_str().unwrap();
        assert_eq!(
            Some(name),
            path.file_name().unwrap().to_str(),
            "folder name = crate name"
        );
        let mine = allowed
            .get(name)
            .unwrap_or_else(|| panic!("{name} has no row in ARROWS"));
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = manifest.get(section).and_then(toml::Value::as_table) else {
                continue;
            };
            for dependency in table
                .keys()
                .filter(|key| allowed.contains_key(key.as_str()))
            {
                let for_tests = section == "dev-dependencies"
                    && (dependency == "testkit" || name == "testkit" || dependency == name);
                assert!(
                    mine.contains(&dependency.as_str()) || for_tests,
                    "{name} may not use {dependency} ({section})"
                );
            }
        }
    }
}

#[test]
fn every_crate_inherits_lints_and_versions() {
    for (path, manifest) in manifests() {
        let place = path.display();
        assert_eq!(
            manifest
                .get("lints")
                .and_then(|lints| lints.get("workspace")),
            Some(&toml::Value::Boolean(true)),
            "{place}: lints"
        );
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            let inherited = manifest["package"]
                .get(key)
                .and_then(|value| value.get("workspace"));
            assert_eq!(
                inherited,
                Some(&toml::Value::Boolean(true)),
                "{place}: package.{key}"
            );
        }
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = manifest.get(section).and_then(toml::Value::as_table) else {
                continue;
            };
            for (dependency, how) in table {
                assert_eq!(
                    how.get("workspace"),
                    Some(&toml::Value::Boolean(true)),
                    "{place}: {dependency} takes its version from the workspace"
                );
            }
        }
    }
}

#[test]
fn files_stay_small() {
    let mut files = Vec::new();
    for folder in ["crates", "services"] {
        files_below(&root().join(folder), ".rs", &mut files);
    }
    let mut sizes: Vec<(usize, &PathBuf)> = files
        .iter()
        .map(|path| (std::fs::read_to_string(path).unwrap().lines().count(), path))
        .collect();
    sizes.sort();
    let too_long: Vec<_> = sizes
        .iter()
        .filter(|(lines, _)| *lines > MOST_LINES)
        .collect();
    assert!(too_long.is_empty(), "over {MOST_LINES} lines: {too_long:?}");
    let ninth_decile = sizes[sizes.len() * 9 / 10].0;
    assert!(
        ninth_decile <= 350,
        "90 % of the files should be under 350 lines, not {ninth_decile}"
    );
    for path in &files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let vague = [
            "utils.rs",
            "common.rs",
            "helpers.rs",
            "manager.rs",
            "mod.rs",
        ];
        assert!(
            !vague.contains(&name),
            "{} has a name that says nothing",
            path.display()
        );
    }
}

#[test]
fn every_error_code_has_its_page() {
    let folder = root().join("docs/errors");
    for code in domain::ErrorCode::ALL {
        let page = std::fs::read_to_string(folder.join(format!("{code}.md")))
            .unwrap_or_else(|error| panic!("docs/errors/{code}.md: {error}"));
        let start = format!("# {code}\n\n{}\n", code.meaning());
        assert!(
            page.starts_with(&start),
            "docs/errors/{code}.md has to start with {start:?}"
        );
        for heading in ["## What happened", "## Why", "## What to do"] {
            assert!(
                page.contains(heading),
                "docs/errors/{code}.md lacks {heading}"
            );
        }
    }
    let pages = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(pages, domain::ErrorCode::ALL.len(), "a page without a code");
}

#[test]
fn documents_link_to_what_exists() {
    let mut documents = vec![root().join("README.md")];
    files_below(&root().join("docs"), ".md", &mut documents);
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = link.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = document.parent().unwrap().join(target);
            assert!(path.exists(), "{}: link to {target}", document.display());
        }
    }
}
