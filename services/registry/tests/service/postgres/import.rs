//! The Node server's table `dynamic_tools`.

use domain::{Catalog, ErrorCode, Revision};
use registry::{ImportError, Settings};
use testkit::postgres::{Cluster, Durability};

use super::super::{admin, name, small};
use super::open;

/// Schema and table as the Node server makes them.
const TABLE: &str = "
    CREATE SCHEMA IF NOT EXISTS dynamic_mcp;
    CREATE TABLE IF NOT EXISTS dynamic_mcp.dynamic_tools (
        name TEXT PRIMARY KEY, title TEXT, description TEXT NOT NULL, image TEXT NOT NULL,
        timeout_ms INTEGER NOT NULL, dependencies JSONB NOT NULL, code TEXT NOT NULL,
        enabled BOOLEAN NOT NULL, created_at TIMESTAMPTZ NOT NULL,
        updated_at TIMESTAMPTZ NOT NULL, revision INTEGER NOT NULL
    );";

fn row(tool: &str, rest: &str) -> String {
    format!(
        "INSERT INTO dynamic_mcp.dynamic_tools VALUES ('{tool}', 'T', 'd', 'node:20-alpine', 5000,
         '[{{\"name\":\"zod\",\"version\":\"^3.0.0\"}}]', 'return args', false,
         '2026-01-02T03:04:05.678Z', '2026-02-03T06:05:06.789+02', 7) {rest};"
    )
}

async fn world(rows: &str) -> Cluster {
    let cluster = Cluster::start(Durability::Relaxed).await;
    cluster.sql("postgres", &format!("{TABLE}{rows}")).await;
    cluster
}

async fn contents(cluster: &Cluster) -> String {
    let all = "SELECT * FROM dynamic_mcp.dynamic_tools ORDER BY name";
    cluster.sql("postgres", all).await
}

#[tokio::test]
async fn tools_keep_their_numbers_times_and_state() {
    let cluster = world(&(row("node.one", "") + &row("node.two", ""))).await;
    let before = contents(&cluster).await;
    let settings = Settings {
        read_only: true,
        ..Settings::default()
    };
    let registry = open(&cluster, settings).await;
    let report = registry.import_node_table().await.unwrap().unwrap();
    assert_eq!((report.imported, report.invalid), (2, vec![]));
    assert!(
        report.source.contains("dynamic_mcp.dynamic_tools"),
        "{}",
        report.source
    );
    let tool = registry
        .get(&admin(), &name("node.one"), None)
        .await
        .unwrap();
    assert_eq!(&*tool.code, "return args");
    let kept = tool.record;
    assert_eq!(kept.revision, Revision(7));
    assert_eq!(
        domain::tool::iso_millis(kept.created_at),
        "2026-01-02T03:04:05.678Z"
    );
    assert_eq!(
        domain::tool::iso_millis(kept.updated_at),
        "2026-02-03T04:05:06.789Z"
    );
    assert_eq!(kept.spec.title.as_deref(), Some("T"));
    assert_eq!((kept.spec.timeout_ms, kept.spec.enabled), (5000, false));
    assert_eq!(kept.spec.image, "node:20-alpine");
    assert_eq!(kept.spec.dependencies[0].version, "^3.0.0");
    assert!(
        registry.import_node_table().await.unwrap().is_none(),
        "a second time"
    );
    assert_eq!(contents(&cluster).await, before, "the source is altered");
}

#[tokio::test]
async fn what_is_invalid_is_named_and_left() {
    let set = |tool: &str, change: &str| {
        let at = format!("WHERE name = '{tool}'");
        row(tool, "") + &format!("UPDATE dynamic_mcp.dynamic_tools SET {change} {at};")
    };
    let rows = [
        row("a b", ""),
        set("bad.code", "code = ''"),
        set(
            "bad.dependencies",
            "dependencies = '[{\"name\":\"zod\",\"version\":\"latest\"}]'",
        ),
        set("bad.image", "image = '-'"),
        set("bad.revision", "revision = 0"),
        set("bad.time", "created_at = 'infinity'"),
        set("bad.timeout", "timeout_ms = 1"),
        row("good.one", ""),
        set("good.two", "title = NULL, code = 'return \"ü 😀\"'"),
        row("system.health", ""),
    ];
    let cluster = world(&rows.concat()).await;
    let before = contents(&cluster).await;
    let registry = open(&cluster, Settings::default()).await;
    let report = registry.import_node_table().await.unwrap().unwrap();
    assert_eq!(report.imported, 2);
    let invalid: Vec<&str> = report
        .invalid
        .iter()
        .filter_map(|it| it.name.as_deref())
        .collect();
    assert_eq!(
        invalid,
        [
            "a b",
            "bad.code",
            "bad.dependencies",
            "bad.image",
            "bad.revision",
            "bad.time",
            "bad.timeout",
            "system.health"
        ]
    );
    assert!(report.invalid.iter().all(|it| !it.reason.is_empty()));
    let kept = registry
        .get(&admin(), &name("good.two"), None)
        .await
        .unwrap();
    assert_eq!(
        (&*kept.code, kept.record.spec.title),
        ("return \"ü 😀\"", None)
    );
    assert_eq!(contents(&cluster).await, before, "the source is altered");
}

#[tokio::test]
async fn only_a_registry_that_never_held_a_tool_imports() {
    let cluster = world(&row("node.one", "")).await;
    let registry = open(&cluster, Settings::default()).await;
    registry.create(&admin(), small("mine")).await.unwrap();
    registry
        .delete(&admin(), &name("mine"), None)
        .await
        .unwrap();
    assert!(registry.import_node_table().await.unwrap().is_none());

    let none = Cluster::start(Durability::Relaxed).await;
    let registry = open(&none, Settings::default()).await;
    assert!(
        registry.import_node_table().await.unwrap().is_none(),
        "no table"
    );
}

/// Registries that start together import once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_start_at_once_import_once() {
    let rows: Vec<String> = (0..200)
        .map(|at| row(&format!("node.{at:03}"), ""))
        .collect();
    let cluster = world(&rows.concat()).await;
    let (one, two) = tokio::join!(
        open(&cluster, Settings::default()),
        open(&cluster, Settings::default())
    );
    let (first, second) = tokio::join!(one.import_node_table(), two.import_node_table());
    let (first, second) = (first.unwrap(), second.unwrap());
    assert!(first.is_some() != second.is_some(), "{first:?} {second:?}");
    let numbers = "SELECT count(*), min(revision), max(revision) FROM dynamic_mcp.mcp_tools";
    assert_eq!(cluster.sql("postgres", numbers).await, "200\t7\t7");
    let tool = two.get(&admin(), &name("node.199"), None).await.unwrap();
    assert_eq!(tool.record.revision, Revision(7));
}

#[tokio::test]
async fn too_many_or_another_table_is_an_error_and_nothing_is_imported() {
    let cluster = world(&(row("node.one", "") + &row("node.two", ""))).await;
    let settings = Settings {
        max_tools: 1,
        ..Settings::default()
    };
    let registry = open(&cluster, settings).await;
    let error = registry.import_node_table().await.unwrap_err();
    assert!(
        matches!(
            error,
            ImportError::TooMany {
                found: 2,
                limit: 1,
                ..
            }
        ),
        "{error}"
    );
    let read = registry.get(&admin(), &name("node.one"), None).await;
    assert_eq!(read.unwrap_err().code(), ErrorCode::NotFound);

    cluster
        .sql(
            "postgres",
            "ALTER TABLE dynamic_mcp.dynamic_tools DROP COLUMN code",
        )
        .await;
    let error = registry.import_node_table().await.unwrap_err();
    assert!(matches!(error, ImportError::Foreign { .. }), "{error}");
    assert!(error.to_string().contains("code"), "{error}");
}
