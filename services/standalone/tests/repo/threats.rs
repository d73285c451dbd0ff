//! `docs/threat-tests.md` has every threat of its tables, and every test that it names exists.
//! `docs/authorization.md` has the roles and scopes of the code.

use std::collections::{BTreeMap, BTreeSet};

use domain::principal::{Roles, Scope};

use super::{files_below, root};

/// The numbers of the tables that the page is about.
fn wanted() -> BTreeSet<u16> {
    (1..=66)
        .chain(86..=104)
        .chain(105..=107)
        .chain([109, 111, 112, 120])
        .collect()
}

/// Number and last cell of each row.
fn rows() -> BTreeMap<u16, String> {
    let page = std::fs::read_to_string(root().join("docs/threat-tests.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let Ok(number) = cells[0].parse::<u16>() else {
            continue;
        };
        let last = (*cells.last().unwrap()).to_owned();
        let twice = rows.insert(number, last);
        assert!(twice.is_none(), "{number} has two rows");
    }
    rows
}

/// The names of all functions of all sources.
fn functions() -> BTreeSet<String> {
    let mut files = Vec::new();
    for folder in ["crates", "services"] {
        files_below(&root().join(folder), ".rs", &mut files);
    }
    let mut names = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        for rest in text.split("fn ").skip(1) {
            let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            names.insert(rest[..end.unwrap_or(rest.len())].to_owned());
        }
    }
    names
}

#[test]
fn every_threat_has_a_row_and_every_row_its_tests() {
    let (rows, functions) = (rows(), functions());
    assert_eq!(rows.keys().copied().collect::<BTreeSet<u16>>(), wanted());
    let mut named = BTreeSet::new();
    for (number, shown_by) in &rows {
        let tests = shown_by.split('`').skip(1).step_by(2);
        for test in tests.filter(|test| test.contains('_')) {
            assert!(
                functions.contains(test),
                "{number}: there is no test {test}"
            );
            named.insert(test.to_owned());
        }
    }
    // What says by its name that it is of a threat is on the page.
    let of_a_threat = |name: &&String| {
        let rest = name.strip_prefix("threat_").unwrap_or_default();
        rest.starts_with(|letter: char| letter.is_ascii_digit())
    };
    for test in functions.iter().filter(of_a_threat) {
        let number = test.split('_').nth(1).unwrap().parse::<u16>().unwrap();
        let elsewhere = !wanted().contains(&number);
        assert!(
            elsewhere || named.contains(test),
            "docs/threat-tests.md lacks {test}"
        );
    }
}

#[test]
fn the_page_about_rights_has_the_roles_and_scopes_of_the_code() {
    let page = std::fs::read_to_string(root().join("docs/authorization.md")).unwrap();
    for (role, scopes) in Roles::default().iter() {
        let scopes: Vec<String> = scopes.iter().map(|scope| format!("`{scope}`")).collect();
        let row = format!("| `{role}` | {} |", scopes.join(" "));
        assert!(page.contains(&row), "docs/authorization.md lacks {row:?}");
    }
    for scope in Scope::OUTSIDE {
        let row = format!("| `{scope}` | ");
        assert!(page.contains(&row), "docs/authorization.md lacks {row:?}");
    }
}
