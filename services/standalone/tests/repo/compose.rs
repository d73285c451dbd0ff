//! The Compose stack and the settings: each one reaches the services that read it, or docs/compose.md says
//! why only the file decides it. One that is written into the settings and does nothing would be seen by
//! nobody.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::root;

/// Which program each service of the stack is.
const SERVICES: &[(&str, &str)] = &[
    ("gateway-1", "gateway"),
    ("gateway-2", "gateway"),
    ("registry", "registry"),
    ("executor-1", "executor"),
    ("executor-2", "executor"),
];
const STACK: &str = "deploy/docker-compose.postgres.yml";
/// Where the table of what cannot be set begins.
const FIXED: &str = "### What only the file decides";

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between backticks and is the name of a variable.
fn names(cell: &str) -> Vec<String> {
    let name = |word: &&str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    cell.split('`')
        .skip(1)
        .step_by(2)
        .filter(name)
        .map(str::to_owned)
        .collect()
}

/// The rows of tables: their cells.
fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

/// The settings of the services by name, each with the programs that read it: those of the generated page,
/// and the file that a secret can come from, but no second names.
fn settings() -> BTreeMap<String, BTreeSet<String>> {
    let page = read("docs/configuration.md");
    let mut found = BTreeMap::new();
    for row in rows(&page).into_iter().filter(|row| row.len() == 7) {
        let all = names(row[0]);
        let said = row[row.len() - 2];
        let programs: BTreeSet<String> = SERVICES
            .iter()
            .filter(|(_, program)| said == "all" || said.split(", ").any(|it| it == *program))
            .map(|(_, program)| (*program).to_owned())
            .collect();
        let file = format!("{}_FILE", all[0]);
        for name in &all {
            if (*name == all[0] || *name == file) && !programs.is_empty() {
                found.insert(name.clone(), programs.clone());
            }
        }
    }
    assert!(found.len() > 100, "{found:?}");
    found
}

/// What the page says cannot be set.
fn fixed() -> BTreeSet<String> {
    let page = read("docs/compose.md");
    let (_, table) = page.split_once(FIXED).unwrap();
    let table = table.split("\n#").next().unwrap();
    let mut found = BTreeSet::new();
    for row in rows(table) {
        assert!(row.len() == 2 && row[1].len() > 10, "no reason: {row:?}");
        for name in names(row[0]) {
            assert!(found.insert(name.clone()), "{name} is there twice");
        }
    }
    found
}

/// The variables of each service of a Compose file, merge keys followed.
fn environments(text: &str) -> BTreeMap<String, BTreeMap<String, Value>> {
    let mut file: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).unwrap();
    // What was merged may have a merge key of its own.
    for _ in 0..3 {
        file.apply_merge().unwrap();
    }
    let file = serde_json::to_value(file).unwrap();
    SERVICES
        .iter()
        .map(|(service, _)| {
            let variables = file["services"][*service]["environment"]
                .as_object()
                .unwrap();
            let variables = variables.iter().map(|(k, v)| (k.clone(), v.clone()));
            ((*service).to_owned(), variables.collect())
        })
        .collect()
}

/// Whether a variable of a service is what the settings say: one without a value, or `${NAME:-default}`.
fn from_outside(name: &str, value: Option<&Value>) -> bool {
    match value {
        Some(Value::Null) => true,
        Some(Value::String(text)) => text.starts_with(&format!("${{{name}:-")),
        _ => false,
    }
}

/// Everything that is wrong with these files, by name.
fn wrong(stack: &str) -> Vec<String> {
    let (settings, fixed) = (settings(), fixed());
    let environments = environments(stack);
    let mut found = Vec::new();
    for name in &fixed {
        if !settings.contains_key(name) {
            found.push(format!("{name} is listed as fixed and is no setting"));
        }
    }
    for (service, program) in SERVICES {
        let variables = &environments[*service];
        for (name, programs) in &settings {
            let passed = from_outside(name, variables.get(name));
            let base = name.strip_suffix("_FILE").unwrap_or(name);
            let kept = fixed.contains(name) || fixed.contains(base);
            if kept && passed {
                found.push(format!("{name} is listed as fixed, and {service} gets it"));
            } else if !kept && programs.contains(*program) && !passed {
                found.push(format!("{name} has no effect in {service}"));
            }
        }
        for name in variables.keys() {
            let known = settings.get(name).is_some_and(|of| of.contains(*program));
            if !known {
                found.push(format!("{service} does not read {name}"));
            }
        }
    }
    found
}

#[test]
fn every_setting_reaches_the_services_that_read_it() {
    let found = wrong(&read(STACK));
    assert!(found.is_empty(), "{found:#?}");
}

/// The test above can fail.
#[test]
fn a_setting_that_is_not_handed_on_is_seen() {
    let stack = read(STACK);
    let without = stack.replace("    MCP_EXECUTOR_CAPACITY:\n", "");
    assert_eq!(
        wrong(&without),
        ["executor-1", "executor-2"]
            .map(|it| format!("MCP_EXECUTOR_CAPACITY has no effect in {it}"))
    );
    let more = stack.replace(
        "    MCP_EXECUTOR_CAPACITY:\n",
        "    MCP_EXECUTOR_CAPACITY:\n    MCP_CAPACITY:\n",
    );
    assert_eq!(
        wrong(&more),
        ["executor-1", "executor-2"].map(|it| format!("{it} does not read MCP_CAPACITY"))
    );
}

/// Names of the example are settings of the stack, or of Compose itself.
#[test]
fn every_name_of_the_example_has_an_effect() {
    let (stack, example) = (read(STACK), read(".env.prod.example"));
    let lines = example.lines().map(|line| line.trim_start_matches("# "));
    let found: Vec<&str> = lines
        .filter_map(|line| Some(line.split_once('=')?.0))
        .filter(|name| names(&format!("`{name}`")).len() == 1)
        .collect();
    assert!(found.len() > 40, "{found:?}");
    for name in found {
        let used =
            stack.contains(&format!("${{{name}:-")) || stack.contains(&format!(" {name}:\n"));
        assert!(
            used || name == "COMPOSE_PROJECT_NAME",
            "{name} has no effect"
        );
    }
}
