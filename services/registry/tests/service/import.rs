//! The JSON store of the Node server.

use std::path::{Path, PathBuf};

use domain::{Catalog, ErrorCode, Revision};
use registry::{ImportError, ImportReport, Registry, Settings, StorePaths};
use serde_json::{Value, json};

use super::{admin, name, open, small};

struct World {
    directory: tempfile::TempDir,
    registry: Registry,
    source: PathBuf,
}

async fn world(settings: Settings) -> World {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(&directory.path().join("registry.db"), settings).await;
    let source = directory.path().join("tools.json");
    World {
        directory,
        registry,
        source,
    }
}

impl World {
    async fn import(&self, store: &Value) -> Result<Option<ImportReport>, ImportError> {
        self.import_text(&store.to_string()).await
    }

    async fn import_text(&self, text: &str) -> Result<Option<ImportReport>, ImportError> {
        std::fs::write(&self.source, text).unwrap();
        let result = self.registry.import_node_store(&self.source).await;
        assert_eq!(
            std::fs::read_to_string(&self.source).unwrap(),
            text,
            "the source is altered"
        );
        result
    }
}

fn record(tool: &str) -> Value {
    json!({
        "name": tool, "title": "T", "description": "d", "image": "node:20-alpine",
        "timeoutMs": 5000, "dependencies": [{ "name": "zod", "version": "^3.0.0" }],
        "code": "return args", "enabled": false, "createdAt": "2026-01-02T03:04:05.678Z",
        "updatedAt": "2026-02-03T04:05:06.789Z", "revision": 7, "unknown": true,
    })
}

#[tokio::test]
async fn tools_keep_their_numbers_times_and_state() {
    let world = world(Settings {
        read_only: true,
        ..Settings::default()
    })
    .await;
    let store = json!({ "version": 1, "tools": [record("node.one"), record("node.two")] });
    let report = world.import(&store).await.unwrap().unwrap();
    assert_eq!((report.imported, report.invalid), (2, vec![]));
    let tool = world
        .registry
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
}

#[tokio::test]
async fn what_is_invalid_is_named_and_the_rest_goes_on() {
    let with = |field: &str, value: Value| {
        let mut record = record(&format!("bad.{field}"));
        record[field] = value;
        record
    };
    let without = |field: &str| {
        let mut record = record(&format!("no.{field}"));
        record.as_object_mut().unwrap().remove(field);
        record
    };
    let tag = json!([{ "name": "zod", "version": "latest" }]);
    let cases = [
        (json!("text"), None, "invalid type"),
        (
            with("name", json!("a b")),
            Some("a b"),
            "is not a tool name",
        ),
        (record("system.health"), Some("system.health"), "Reserved"),
        (
            record("dynamic.tool.mine"),
            Some("dynamic.tool.mine"),
            "Reserved",
        ),
        (with("code", json!("")), Some("bad.code"), "code: is empty"),
        (
            with("timeoutMs", json!(1)),
            Some("bad.timeoutMs"),
            "timeoutMs",
        ),
        (
            with("timeoutMs", json!("1")),
            Some("bad.timeoutMs"),
            "invalid type",
        ),
        (
            with("dependencies", tag),
            Some("bad.dependencies"),
            "dependencies/0/version",
        ),
        (
            with("createdAt", json!("yesterday")),
            Some("bad.createdAt"),
            "createdAt",
        ),
        (with("revision", json!(0)), Some("bad.revision"), "revision"),
        (
            with("revision", json!(u64::MAX)),
            Some("bad.revision"),
            "revision",
        ),
        (
            without("description"),
            Some("no.description"),
            "missing field `description`",
        ),
        (
            without("updatedAt"),
            Some("no.updatedAt"),
            "missing field `updatedAt`",
        ),
        (record("good.one"), Some("good.one"), "same name"),
    ];
    let mut tools = vec![record("good.one")];
    tools.extend(cases.iter().map(|(record, ..)| record.clone()));
    tools.push(record("good.two"));
    let world = world(Settings::default()).await;
    let report = world
        .import(&json!({ "version": 1, "tools": tools }))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(report.imported, 2);
    assert_eq!(report.invalid.len(), cases.len());
    for (at, ((_, name, reason), invalid)) in cases.iter().zip(&report.invalid).enumerate() {
        assert_eq!((invalid.position, invalid.name.as_deref()), (at + 1, *name));
        assert!(
            invalid.reason.contains(reason),
            "{} is not {reason}",
            invalid.reason
        );
    }
    for good in ["good.one", "good.two"] {
        world
            .registry
            .get(&admin(), &name(good), None)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn only_a_registry_that_never_held_a_tool_imports() {
    let world = world(Settings::default()).await;
    let store = json!({ "version": 1, "tools": [record("node.one")] });
    assert!(
        world
            .registry
            .import_node_store(&world.source)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        world
            .import(&json!({ "version": 1, "tools": [] }))
            .await
            .unwrap()
            .unwrap()
            .imported,
        0
    );
    assert_eq!(world.import(&store).await.unwrap().unwrap().imported, 1);
    assert!(
        world.import(&store).await.unwrap().is_none(),
        "a second time"
    );
    // Deleted is not "never held": a restart must not bring it back.
    world
        .registry
        .delete(&admin(), &name("node.one"), None)
        .await
        .unwrap();
    world.registry.close().await;
    let again = open(
        &world.directory.path().join("registry.db"),
        Settings::default(),
    )
    .await;
    assert!(
        again
            .import_node_store(&world.source)
            .await
            .unwrap()
            .is_none()
    );
    let made = again.create(&admin(), small("node.one")).await.unwrap();
    assert_eq!(made.revision, Revision(8), "numbers go on");
}

#[tokio::test]
async fn too_many_are_refused_whole() {
    let world = world(Settings {
        max_tools: 2,
        ..Settings::default()
    })
    .await;
    let tools: Vec<Value> = (0..3).map(|at| record(&format!("node.{at}"))).collect();
    let error = world
        .import(&json!({ "version": 1, "tools": tools }))
        .await
        .unwrap_err();
    let text = error.to_string();
    for part in [
        "holds 3 tools",
        "2 are allowed",
        "MCP_DYNAMIC_MAX_TOOLS to at least 3",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let read = world.registry.get(&admin(), &name("node.0"), None).await;
    assert_eq!(read.unwrap_err().code(), ErrorCode::NotFound);
}

#[tokio::test]
async fn a_file_of_another_kind_is_an_error_that_names_it() {
    let world = world(Settings::default()).await;
    for text in [
        "",
        "{",
        "[]",
        "{\"version\":2,\"tools\":[]}",
        "{\"version\":1}",
        "{\"version\":1,\"tools\":{}}",
    ] {
        let error = world.import_text(text).await.unwrap_err();
        assert!(matches!(error, ImportError::Foreign { .. }), "{text}");
        assert!(error.to_string().contains("tools.json"));
    }
    let folder = world.directory.path().join("folder.json");
    std::fs::create_dir(&folder).unwrap();
    let error = world.registry.import_node_store(&folder).await.unwrap_err();
    assert!(matches!(error, ImportError::Unreadable { .. }), "{error}");
}

#[test]
fn the_configured_path_says_where_database_and_import_are() {
    for (configured, database, import) in [
        (
            ".dynamic-mcp/registry.db",
            ".dynamic-mcp/registry.db",
            ".dynamic-mcp/tools.json",
        ),
        ("/data/tools.json", "/data/registry.db", "/data/tools.json"),
        ("mine.JSON", "registry.db", "mine.JSON"),
        ("plain", "plain", "tools.json"),
    ] {
        let paths = StorePaths::of(Path::new(configured));
        assert_eq!(paths.database, Path::new(database));
        assert_eq!(paths.import, Path::new(import));
    }
}
