//! The tables themselves refuse what the grammar refuses.

use domain::Catalog;
use registry::Settings;
use serde_json::{Value, json};
use testkit::postgres::{Cluster, Durability};

use super::super::{admin, small};
use super::open;

#[tokio::test]
async fn checks_mirror_the_grammar() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    let registry = open(&cluster, Settings::default()).await;
    registry.create(&admin(), small("there")).await.unwrap();
    let long = "x".repeat(65);
    let names = [
        ("default", "ok.name-1_2:3", 1, true),
        ("T.e-n_1", "abc", 1, true),
        ("default", "ab", 1, false),
        ("default", "1abc", 1, false),
        ("default", "a b c", 1, false),
        ("default", "a/b", 1, false),
        ("default", "äbc", 1, false),
        ("default", "abc\n", 1, false),
        ("default", &long, 1, false),
        ("", "abcd", 1, false),
        (".x", "abcd", 1, false),
        ("a b", "abcd", 1, false),
        (&long, "abcd", 1, false),
        ("default", "abcd", 0, false),
    ];
    for (at, (tenant, tool, revision, good)) in (1_i64..).zip(names) {
        let insert = format!(
            "INSERT INTO dynamic_mcp.mcp_tools VALUES ('{tenant}', '{tool}', {revision}, {at}, false, 0)"
        );
        let result = cluster.try_sql("postgres", &insert).await;
        assert_eq!(
            result.is_ok(),
            good,
            "{tenant:?} {tool:?} {revision} {result:?}"
        );
    }
    for (column, bad) in [
        ("revision", "0"),
        ("revision", "-1"),
        ("version", "0"),
        ("code_bytes", "0"),
        ("code_bytes", "800001"),
        ("code_digest", "'\\x00'"),
        ("changed", "'{}'"),
        ("made_by", "NULL"),
        ("spec", "'[]'"),
        ("spec", "'{\"cut'"),
    ] {
        let update = format!("UPDATE dynamic_mcp.mcp_revisions SET {column} = {bad}");
        let result = cluster.try_sql("postgres", &update).await;
        assert!(result.is_err(), "{column} = {bad}");
    }
    for statement in [
        "INSERT INTO dynamic_mcp.mcp_codes VALUES ('default', sha256('b'), 'a')",
        "INSERT INTO dynamic_mcp.mcp_codes VALUES ('default', sha256(''), '')",
        "INSERT INTO dynamic_mcp.mcp_executors VALUES ('', '{}', 0)",
        "INSERT INTO dynamic_mcp.mcp_executors VALUES ('x', '[]', 0)",
        "INSERT INTO dynamic_mcp.mcp_catalog VALUES (2, 1, 1)",
        "UPDATE dynamic_mcp.mcp_catalog SET version = first_version - 1",
        "DELETE FROM dynamic_mcp.mcp_codes",
        "DELETE FROM dynamic_mcp.mcp_tools",
    ] {
        let result = cluster.try_sql("postgres", statement).await;
        assert!(result.is_err(), "{statement}");
    }
}

#[tokio::test]
async fn the_limits_of_a_definition_are_checked() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    drop(open(&cluster, Settings::default()).await);
    let fits = async |spec: &Value| {
        let spec = spec.to_string().replace('\'', "''");
        let call = format!("SELECT dynamic_mcp.mcp_spec_fits('{spec}')");
        match cluster.sql("postgres", &call).await.as_str() {
            "t" => true,
            "f" => false,
            other => panic!("{other:?}"),
        }
    };
    let good = json!({
        "description": "d", "image": "node:20", "timeoutMs": 1000, "dependencies": [],
        "enabled": true,
    });
    assert!(fits(&good).await);
    let changes = [
        ("title", json!("ä".repeat(120)), true),
        ("title", json!("ä".repeat(121)), false),
        ("title", json!(""), false),
        ("title", json!(7), false),
        ("description", json!("😀".repeat(4_000)), true),
        ("description", json!("x".repeat(4_001)), false),
        ("description", json!(""), false),
        ("description", json!("with\u{0}NUL"), true),
        ("description", Value::Null, false),
        ("image", json!("-x"), false),
        ("image", json!("a b"), false),
        ("image", json!("x".repeat(201)), false),
        ("timeoutMs", json!(999), false),
        ("timeoutMs", json!(120_001), false),
        ("timeoutMs", json!("1000"), false),
        ("dependencies", json!({}), false),
        ("dependencies", json!(vec![{}; 65]), false),
        ("enabled", json!("true"), false),
        ("annotations", json!([]), false),
        ("runtime", json!("ruby"), false),
        ("runtime", json!("python"), true),
        ("engine", json!("docker"), true),
        ("engine", json!("other"), false),
        ("isolation", json!("none"), false),
        ("tags", json!({}), false),
        ("rateLimit", json!(1), false),
        ("cache", json!(1), false),
        ("requiredScopes", json!("x"), false),
        ("inputSchema", json!({ "pattern": "\u{0}" }), true),
    ];
    for (field, value, expected) in changes {
        let mut spec = good.clone();
        spec[field] = value;
        assert_eq!(fits(&spec).await, expected, "{field}: {spec}");
    }
    for field in [
        "description",
        "image",
        "timeoutMs",
        "dependencies",
        "enabled",
    ] {
        let mut spec = good.clone();
        spec.as_object_mut().unwrap().remove(field);
        assert!(!fits(&spec).await, "without {field}");
    }
}
