//! Tools of the configuration: made, changed, taken over, deleted, and nobody else's to change.

use std::sync::Arc;

use bootstrap::config::DeclaredTool;
use domain::audit::Archive;
use domain::audit::archive::Search;
use domain::tool::ToolPatch;
use domain::{Catalog, ErrorCode, Principal, Revision, Scope, TenantId};
use futures::future::join_all;
use registry::declared::{Diff, Difference};
use registry::{Registry, Settings};
use testkit::postgres::{Cluster, Durability};

use super::{admin, name, open, service, small};

fn declared(tool: &str, code: &str) -> DeclaredTool {
    let mut draft = small(tool);
    draft.code = code.into();
    DeclaredTool {
        tenant: TenantId::default(),
        draft,
    }
}

fn lines(diff: &Diff) -> Vec<String> {
    let line = |(tool, difference): &(String, Difference)| format!("{tool}: {difference}");
    diff.lines.iter().map(line).collect()
}

async fn apply(registry: &Registry, tools: &[DeclaredTool]) -> Vec<String> {
    lines(&registry.apply_declared(tools).await.unwrap())
}

async fn revision(registry: &Registry, tool: &str) -> Option<u64> {
    match registry.get(&admin(), &name(tool), None).await {
        Ok(found) => Some(found.record.revision.0),
        Err(error) => {
            assert_eq!(error.code(), ErrorCode::NotFound);
            None
        }
    }
}

fn patch(json: &str) -> ToolPatch {
    serde_json::from_str(json).unwrap()
}

async fn life(registry: &Registry) {
    let (one, two) = (
        declared("one.tool", "return 1"),
        declared("two.tool", "return 2"),
    );
    let mut both = [one.clone(), two.clone()];
    assert_eq!(
        apply(registry, &both).await,
        ["one.tool: created", "two.tool: created"]
    );
    let again = registry.apply_declared(&both).await.unwrap();
    assert_eq!(
        (lines(&again).len(), again.unchanged),
        (0, 2),
        "nothing is written twice"
    );
    assert_eq!(revision(registry, "one.tool").await, Some(1));

    both[1].draft.code = "return 22".into();
    both[1].draft.spec.title = Some("Two".to_owned());
    assert_eq!(
        apply(registry, &both).await,
        ["two.tool: changed: code, title"]
    );
    assert_eq!(revision(registry, "two.tool").await, Some(2));

    // Nobody else changes them, whatever their rights are.
    for context in [admin(), writer()] {
        let mut errors = Vec::new();
        let one = name("one.tool");
        for text in [r#"{"code": "return 0"}"#, r#"{"enabled": false}"#] {
            let update = registry.update(&context, &one, patch(text), None);
            errors.push(update.await.unwrap_err());
        }
        for expected in [None, Some(Revision(1))] {
            let delete = registry.delete(&context, &one, expected);
            errors.push(delete.await.unwrap_err());
        }
        for error in errors {
            assert_eq!(error.code(), ErrorCode::PolicyDenied);
            assert!(
                error
                    .message()
                    .contains("declared in the server's configuration")
            );
            assert!(error.fix().unwrap().contains("SIGHUP"));
        }
    }
    let create = registry
        .create(&admin(), small("one.tool"))
        .await
        .unwrap_err();
    assert_eq!(create.code(), ErrorCode::AlreadyExists);
    assert_eq!(revision(registry, "one.tool").await, Some(1));

    // What was made by hand stays, until it is named.
    registry.create(&admin(), small("by.hand")).await.unwrap();
    assert!(apply(registry, &both).await.is_empty());
    let mut three = both.to_vec();
    three.push(declared("by.hand", "return 1"));
    assert_eq!(
        apply(registry, &three).await,
        ["by.hand: taken over from MCP"]
    );
    let refused = registry
        .delete(&admin(), &name("by.hand"), None)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PolicyDenied);

    // A subject that calls itself `config` has made no declared tool.
    let mut impostor = Principal::anonymous(&[Scope::Admin]);
    impostor.subject = "config".to_owned();
    let mut context = admin();
    context.principal = Arc::new(impostor);
    registry.create(&context, small("own.tool")).await.unwrap();
    assert_eq!(apply(registry, &both).await, ["by.hand: deleted"]);
    registry
        .delete(&context, &name("own.tool"), None)
        .await
        .unwrap();

    // A name that comes back goes on with its numbers.
    assert_eq!(apply(registry, &three).await, ["by.hand: created"]);
    assert_eq!(revision(registry, "by.hand").await, Some(3));
    assert_eq!(registry.left_declared().await.unwrap(), 3);
    assert_eq!(
        apply(registry, &[]).await,
        ["by.hand: deleted", "one.tool: deleted", "two.tool: deleted"]
    );
    assert_eq!(registry.left_declared().await.unwrap(), 0);
    recorded(registry).await;
}

/// Who may write, and no more.
fn writer() -> domain::CallContext {
    let mut context = admin();
    let rights = [Scope::ToolsRead, Scope::ToolsWrite, Scope::Invoke];
    context.principal = Arc::new(Principal::anonymous(&rights));
    context
}

/// Each change has its two records by the actor `config`.
async fn recorded(registry: &Registry) {
    let search = Search {
        actor: Some("config".to_owned()),
        limit: 100,
        ..Search::default()
    };
    let found = registry.search(&service(), search).await.unwrap();
    let records: Vec<serde_json::Value> = found
        .records
        .iter()
        .map(|found| serde_json::from_str(&found.line).unwrap())
        .collect();
    let count = |action: &str, result: &str| {
        let of =
            |record: &&serde_json::Value| record["action"] == action && record["result"] == result;
        records.iter().filter(of).count()
    };
    for (action, times) in [
        ("dynamic.tool.create", 3),
        ("dynamic.tool.update", 2),
        ("dynamic.tool.delete", 4),
    ] {
        assert_eq!(count(action, "begun"), times, "{action}: {records:#?}");
        assert_eq!(count(action, "success"), times, "{action}");
    }
}

#[tokio::test]
async fn the_file_alone_makes_changes_and_deletes_its_tools() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        // For clients only.
        read_only: false,
        ..Settings::default()
    };
    let registry = open(&directory.path().join("registry.db"), settings).await;
    life(&registry).await;
}

#[tokio::test]
async fn the_file_alone_makes_changes_and_deletes_its_tools_on_postgres() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    let registry = super::postgres::open(&cluster, Settings::default()).await;
    life(&registry).await;
}

#[tokio::test]
async fn a_read_only_catalogue_takes_declared_tools_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        read_only: true,
        ..Settings::default()
    };
    let registry = open(&directory.path().join("registry.db"), settings).await;
    assert_eq!(
        apply(&registry, &[declared("one.tool", "x")]).await,
        ["one.tool: created"]
    );
    let refused = registry
        .create(&admin(), small("two.tool"))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PolicyDenied);
}

#[tokio::test]
async fn without_room_for_all_nothing_is_changed() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        max_tools: 3,
        ..Settings::default()
    };
    let registry = open(&directory.path().join("registry.db"), settings).await;
    registry.create(&admin(), small("by.hand")).await.unwrap();
    let old = [declared("one.tool", "1"), declared("two.tool", "2")];
    apply(&registry, &old).await;
    let mut more: Vec<_> = ["three.tool", "four.tool", "five.tool"]
        .map(|tool| declared(tool, "3"))
        .to_vec();
    let refused = registry.apply_declared(&more).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::LimitExceeded);
    assert!(
        refused.message().contains("nothing was changed"),
        "{refused}"
    );
    assert_eq!(revision(&registry, "one.tool").await, Some(1));
    assert_eq!(revision(&registry, "three.tool").await, None);
    // What is deleted makes room for what is made.
    more.pop();
    assert_eq!(
        apply(&registry, &more).await,
        [
            "one.tool: deleted",
            "two.tool: deleted",
            "three.tool: created",
            "four.tool: created"
        ]
    );
    // Another tenant has room of its own.
    more[0].tenant = TenantId::parse("other").unwrap();
    assert_eq!(
        apply(&registry, &more).await,
        ["three.tool: deleted", "other/three.tool: created"]
    );
}

/// Registries that start at once with one file write each difference once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registries_with_one_file_do_not_fight() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    let registries = join_all((0..3).map(|_| super::postgres::open(&cluster, Settings::default())));
    let registries = registries.await;
    let mut tools: Vec<DeclaredTool> = (0..6)
        .map(|number| declared(&format!("tool.{number}"), "return 1"))
        .collect();
    for round in 1..=3_u64 {
        for tool in &mut tools {
            tool.draft.code = format!("return {round}").into();
        }
        let applied = join_all(
            registries
                .iter()
                .map(|registry| registry.apply_declared(&tools)),
        );
        let written: usize = applied
            .await
            .iter()
            .map(|diff| diff.as_ref().unwrap().lines.len())
            .sum();
        assert_eq!(written, tools.len(), "each difference is written by one");
        for tool in &tools {
            let tool = tool.draft.name.as_str();
            assert_eq!(revision(&registries[1], tool).await, Some(round), "{tool}");
        }
    }
    let deleted = join_all(
        registries
            .iter()
            .map(|registry| registry.apply_declared(&[])),
    )
    .await;
    let deleted: usize = deleted
        .iter()
        .map(|diff| diff.as_ref().unwrap().lines.len())
        .sum();
    assert_eq!(deleted, tools.len());
}
