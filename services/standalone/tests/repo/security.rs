//! `docs/security.md` promises nothing that no test shows: each command of its table finds tests.

use super::{files_below, root};

/// The commands in the table of promises.
fn commands() -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let promises = page.split("## Promises").nth(1).unwrap();
    let promises = promises.split("## ").next().unwrap();
    let quoted = promises.split('`').skip(1).step_by(2);
    quoted
        .filter(|text| text.starts_with("cargo nextest run") || text.starts_with("-p "))
        .map(str::to_owned)
        .collect()
}

fn folder(package: &str) -> std::path::PathBuf {
    let places = ["crates", "services"].map(|kind| root().join(kind).join(package));
    let found = places.into_iter().find(|place| place.is_dir());
    found.unwrap_or_else(|| panic!("there is no package {package}"))
}

#[test]
fn promises_name_tests_that_exist() {
    let commands = commands();
    assert!(commands.len() >= 15, "{commands:?}");
    for command in commands {
        let mut words = command.split_whitespace().peekable();
        let (mut folders, mut filters) = (Vec::new(), Vec::new());
        while let Some(word) = words.next() {
            match word {
                "cargo" | "nextest" | "run" => {}
                "-p" => folders.push(folder(words.next().unwrap())),
                "--test" => {
                    let target = words.next().unwrap();
                    let tests = folders[0].join("tests");
                    let there =
                        tests.join(target).is_dir() || tests.join(format!("{target}.rs")).is_file();
                    assert!(there, "{command}: no test target {target}");
                }
                filter => filters.push(filter),
            }
        }
        if folders.is_empty() {
            folders = ["crates", "services"]
                .map(|kind| root().join(kind))
                .to_vec();
        }
        let mut files = Vec::new();
        for folder in &folders {
            files_below(folder, ".rs", &mut files);
        }
        for filter in filters {
            let shows = files.iter().any(|file| {
                let is_of_it = file.to_string_lossy().contains(filter);
                let text = std::fs::read_to_string(file).unwrap();
                let has_tests = text.contains("#[test]") || text.contains("#[tokio::test");
                has_tests && is_of_it
            });
            assert!(shows, "{command}: no test is found by {filter}");
        }
    }
}
