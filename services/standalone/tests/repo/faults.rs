//! `docs/sandbox-faults.md` has every fault, every test that it names exists, and no test of a fault
//! is missing from it. And what tests break on purpose is in no build that is shipped.

use std::collections::{BTreeMap, BTreeSet};

use super::{files_below, manifests, root};

const FAULTS: u8 = 80;
/// What waits for a part that does not exist yet; the page says why.
const EXEMPT: [u8; 3] = [74, 75, 76];

struct Row {
    engines: String,
    shown_by: String,
}

fn rows() -> BTreeMap<u8, Row> {
    let page = std::fs::read_to_string(root().join("docs/sandbox-faults.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let Ok(number) = cells[0].parse::<u8>() else {
            continue;
        };
        let [_, attack, outcome, engines, shown_by] = cells[..] else {
            panic!("a row has five cells: {line}");
        };
        assert!(!attack.is_empty() && !outcome.is_empty(), "{line}");
        let row = Row {
            engines: engines.to_owned(),
            shown_by: shown_by.to_owned(),
        };
        let twice = rows.insert(number, row);
        assert!(twice.is_none(), "{number} has two rows");
    }
    rows
}

/// The numbers that a test says by its name: `fault_05_11_what_it_shows` says 5 and 11.
fn numbers(name: &str) -> BTreeSet<u8> {
    let rest = name.strip_prefix("fault_").unwrap_or_default();
    let numbers = rest.split('_').map_while(|part| {
        let is_number = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse().ok()).flatten()
    });
    numbers.collect()
}

/// Every test of a fault in the sources, with its numbers.
fn tests() -> BTreeMap<String, BTreeSet<u8>> {
    let mut files = Vec::new();
    for folder in ["crates", "services"] {
        files_below(&root().join(folder), ".rs", &mut files);
    }
    let mut found = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for rest in text.split("fn fault_").skip(1) {
            let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            let name = format!("fault_{}", &rest[..end.unwrap_or(rest.len())]);
            let numbers = numbers(&name);
            if !numbers.is_empty() {
                found.insert(name, numbers);
            }
        }
    }
    found
}

#[test]
fn every_fault_has_a_row_and_every_row_its_tests() {
    let (rows, tests) = (rows(), tests());
    let all: BTreeSet<u8> = (1..=FAULTS).collect();
    assert_eq!(rows.keys().copied().collect::<BTreeSet<u8>>(), all);
    for (number, row) in &rows {
        let engines = ["both", "docker", "isolate"];
        assert!(engines.contains(&&*row.engines), "{number}: which engines?");
        let named: BTreeSet<&str> = row.shown_by.split('`').skip(1).step_by(2).collect();
        if EXEMPT.contains(number) {
            assert!(row.shown_by.starts_with("Exempt: "), "{number}: why?");
            continue;
        }
        assert!(!named.is_empty(), "{number} has no test");
        for name in &named {
            assert!(
                tests.contains_key(*name),
                "{number}: there is no test {name}"
            );
        }
        let with_it = tests.iter().filter(|(_, numbers)| numbers.contains(number));
        let should: BTreeSet<&str> = with_it.map(|(name, _)| name.as_str()).collect();
        assert_eq!(named, should, "{number}: the tests that say this number");
    }
}

/// Fail points are asked for by development dependencies only, and are off where nobody asks.
#[test]
fn fail_points_are_in_no_build_that_is_shipped() {
    for (path, manifest) in manifests() {
        let place = path.display();
        let name = manifest["package"]["name"].as_str().unwrap();
        for section in ["dependencies", "build-dependencies"] {
            let Some(table) = manifest.get(section) else {
                continue;
            };
            let asks = table.to_string().contains("fail-points");
            assert!(!asks, "{place}: [{section}] asks for fail points");
        }
        let features = manifest.get("features").map(ToString::to_string);
        let features = features.unwrap_or_default();
        assert!(
            !features.contains("fail-points") || name == "sandbox",
            "{place}"
        );
        assert!(
            !features.contains("default"),
            "{place}: nothing is on unasked"
        );
    }
    let source = std::fs::read_to_string(root().join("crates/sandbox/src/failpoint.rs")).unwrap();
    let guarded = "#[cfg(all(feature = \"fail-points\", debug_assertions))]";
    let library = source.matches("fail::").count();
    let module = source.split("mod armed {").nth(1).unwrap();
    assert!(source.contains(&format!("{guarded}\nmod armed {{")));
    assert_eq!(
        module.matches("fail::").count(),
        library,
        "in the guarded module only"
    );
    let release: toml::Table = std::fs::read_to_string(root().join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let asserts = release["profile"]["release"].get("debug-assertions");
    assert!(asserts.is_none(), "a release build has no debug assertions");
}
