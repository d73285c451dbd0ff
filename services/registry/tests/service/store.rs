//! The file: how it is made, what is refused, what survives.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use domain::catalog::CatalogChange;
use domain::tool::ToolPatch;
use domain::{Catalog, CatalogVersion, ErrorCode, Revision};
use futures::StreamExt;
use registry::{OpenError, Settings, SqliteStore};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::{admin, metrics, name, open, service, small};

async fn raw(path: &Path) -> SqliteConnection {
    sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

async fn execute(path: &Path, statement: &'static str) {
    let mut connection = raw(path).await;
    sqlx::raw_sql(statement)
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn directory_and_files_are_for_the_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/deep/registry.db");
    let registry = open(&path, Settings::default()).await;
    registry.create(&admin(), small("one")).await.unwrap();
    assert_eq!(mode(&directory.path().join("new")), 0o700);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let file = entry.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    registry.close().await;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    open(&path, Settings::default()).await.close().await;
    assert_eq!(mode(&path), 0o600, "tightened");
}

#[tokio::test]
async fn what_is_not_a_store_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let refused = async |file: &str| {
        let path = directory.path().join(file);
        let as_it_is = || Some((std::fs::read(&path).ok()?, mode(&path)));
        let before = as_it_is();
        let error = SqliteStore::open(&path).await.unwrap_err();
        if matches!(error, OpenError::Foreign { .. }) {
            assert!(
                before.is_some() && before == as_it_is(),
                "{file} was changed"
            );
        }
        let named = file.split('/').next().unwrap();
        assert!(error.to_string().contains(named), "{error}");
        error
    };
    std::fs::write(
        directory.path().join("text"),
        "hello, this is no database".repeat(99),
    )
    .unwrap();
    assert!(matches!(refused("text").await, OpenError::Foreign { .. }));

    execute(
        &directory.path().join("other"),
        "CREATE TABLE a (b); CREATE TABLE c (d)",
    )
    .await;
    assert!(matches!(refused("other").await, OpenError::Foreign { .. }));

    std::fs::create_dir(directory.path().join("folder")).unwrap();
    assert!(matches!(
        refused("folder").await,
        OpenError::Unusable { .. }
    ));
    assert!(matches!(
        refused("text/below").await,
        OpenError::Unusable { .. }
    ));

    let newer = directory.path().join("newer");
    open(&newer, Settings::default()).await.close().await;
    execute(
        &newer,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from later', TRUE, x'00', 0)",
    )
    .await;
    let error = refused("newer").await;
    assert!(
        matches!(error, OpenError::Newer { step: 9999, .. }),
        "{error}"
    );

    let damaged = directory.path().join("damaged");
    open(&damaged, Settings::default()).await.close().await;
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[100..4096].fill(0xff);
    std::fs::write(&damaged, bytes).unwrap();
    let error = refused("damaged").await;
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

/// What was acknowledged is in the files at that moment: a copy of them is what a crash leaves.
#[tokio::test]
async fn what_was_acknowledged_survives_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.db");
    let registry = open(&path, Settings::default()).await;
    let mut expected = Vec::new();
    for round in 0..12 {
        let tool = format!("tool{}", round % 4);
        let record = if round < 4 {
            registry.create(&admin(), small(&tool)).await.unwrap()
        } else {
            let patch = ToolPatch {
                title: domain::tool::Change::Set(format!("{round}")),
                ..ToolPatch::default()
            };
            registry
                .update(&admin(), &name(&tool), patch, None)
                .await
                .unwrap()
        };
        expected.retain(|known: &domain::ToolRecord| known.name != record.name);
        expected.push(record);

        let copy = directory.path().join(format!("crash{round}.db"));
        std::fs::copy(&path, &copy).unwrap();
        let mut log = std::fs::read(directory.path().join("registry.db-wal")).unwrap();
        // A frame that was being written when the power went.
        log.extend_from_slice(&vec![0x5a; 1 + round * 777]);
        std::fs::write(directory.path().join(format!("crash{round}.db-wal")), log).unwrap();
        let recovered = open(&copy, Settings::default()).await;
        for record in &expected {
            let read = recovered.get(&admin(), &record.name, None).await.unwrap();
            assert_eq!(&read.record, record);
        }
        recovered
            .create(&admin(), small("after.crash"))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_reopened_store_goes_on_with_versions_and_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.db");
    let first = open(&path, Settings::default()).await;
    let made = first.create(&admin(), small("one")).await.unwrap();
    first.close().await;
    let closed = first.create(&admin(), small("two")).await.unwrap_err();
    assert_eq!(closed.code(), ErrorCode::Unavailable);

    let second = open(&path, Settings::default()).await;
    let mut feed = Catalog::watch(&second, &service(), made.version)
        .await
        .unwrap();
    assert_eq!(
        feed.next().await.unwrap().unwrap(),
        CatalogChange::Synced(made.version)
    );
    let changed = second
        .update(
            &admin(),
            &made.name,
            ToolPatch::default(),
            Some(Revision(1)),
        )
        .await
        .unwrap();
    assert_eq!(
        (changed.version.0, changed.revision),
        (made.version.0 + 1, Revision(2))
    );
    assert_eq!(
        feed.next().await.unwrap().unwrap(),
        CatalogChange::Upserted(Box::new(changed))
    );
}

/// A store made anew at the same place is told from the one that a follower knew.
#[tokio::test]
async fn a_new_store_starts_old_followers_again() {
    let directory = tempfile::tempdir().unwrap();
    let old = open(&directory.path().join("old.db"), Settings::default()).await;
    let known = old.create(&admin(), small("one")).await.unwrap().version;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let new = open(&directory.path().join("new.db"), Settings::default()).await;
    for tool in ["two", "three", "four"] {
        new.create(&admin(), small(tool)).await.unwrap();
    }
    let mut feed = Catalog::watch(&new, &service(), known).await.unwrap();
    assert_eq!(feed.next().await.unwrap().unwrap(), CatalogChange::Reset);
}

/// Rows that cannot be read are left out, named and counted; all others are served, and the rows
/// can be deleted.
#[tokio::test]
async fn unreadable_rows_do_not_stop_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.db");
    let registry = open(&path, Settings::default()).await;
    for tool in ["aaa", "bbb", "ccc", "ddd"] {
        registry.create(&admin(), small(tool)).await.unwrap();
    }
    registry.close().await;
    execute(
        &path,
        "UPDATE revisions SET spec = '{\"no\":\"description\"}' WHERE name = 'bbb';
         DELETE FROM revisions WHERE name = 'ccc'",
    )
    .await;
    let metrics = metrics();
    let store = SqliteStore::open(&path).await.unwrap();
    let registry = registry::Registry::new(
        std::sync::Arc::new(store),
        Settings::default(),
        metrics.clone(),
    );
    let mut feed = Catalog::watch(&registry, &service(), CatalogVersion(0))
        .await
        .unwrap();
    let mut names = Vec::new();
    loop {
        match feed.next().await.unwrap().unwrap() {
            CatalogChange::Upserted(record) => names.push(record.name.to_string()),
            CatalogChange::Synced(_) => break,
            CatalogChange::Reset | CatalogChange::Removed { .. } => {}
        }
    }
    assert_eq!(names, ["aaa", "ddd"]);
    assert_eq!(metrics.registry_unreadable_records.get(), 2);
    let broken = registry
        .get(&admin(), &name("bbb"), None)
        .await
        .unwrap_err();
    assert_eq!(broken.code(), ErrorCode::Internal);
    for tool in ["bbb", "ccc"] {
        registry.delete(&admin(), &name(tool), None).await.unwrap();
        registry.create(&admin(), small(tool)).await.unwrap();
    }
}

/// A tool whose name the product took later stays stored and can be deleted.
#[tokio::test]
async fn a_reserved_name_stays_stored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.db");
    let registry = open(&path, Settings::default()).await;
    registry.create(&admin(), small("old.name")).await.unwrap();
    registry.close().await;
    execute(
        &path,
        "PRAGMA foreign_keys = OFF; UPDATE tools SET name = 'dev.echo'; UPDATE revisions SET name = 'dev.echo'",
    )
    .await;
    let registry = open(&path, Settings::default()).await;
    let mut feed = Catalog::watch(&registry, &service(), CatalogVersion(0))
        .await
        .unwrap();
    assert_eq!(feed.next().await.unwrap().unwrap(), CatalogChange::Reset);
    let CatalogChange::Upserted(record) = feed.next().await.unwrap().unwrap() else {
        panic!("the tool is not in the feed");
    };
    assert_eq!(record.name.as_str(), "dev.echo");
    let refusal = registry
        .update(&admin(), &record.name, ToolPatch::default(), None)
        .await;
    assert_eq!(refusal.unwrap_err().code(), ErrorCode::PolicyDenied);
    registry.delete(&admin(), &record.name, None).await.unwrap();
    let refusal = registry
        .delete(&admin(), &record.name, None)
        .await
        .unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::PolicyDenied);
}

/// The tables themselves refuse what the grammar refuses.
#[tokio::test]
async fn checks_mirror_the_grammar() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.db");
    open(&path, Settings::default()).await.close().await;
    let mut connection = raw(&path).await;
    let insert = "INSERT INTO tools (tenant, name, revision, version, deleted, created_at)
                  VALUES (?1, ?2, ?3, ?4, 0, 0)";
    let long = "x".repeat(65);
    let cases = [
        ("default", "ok.name-1_2:3", 1, true),
        ("T.e-n_1", "abc", 1, true),
        ("default", "ab", 1, false),
        ("default", "1abc", 1, false),
        ("default", "a b c", 1, false),
        ("default", "a/b", 1, false),
        ("default", "äbc", 1, false),
        ("default", "abc\0", 1, false),
        ("x\0", "abcd", 1, false),
        ("default", &long, 1, false),
        ("", "abcd", 1, false),
        (".x", "abcd", 1, false),
        ("a b", "abcd", 1, false),
        (&long, "abcd", 1, false),
        ("default", "abcd", 0, false),
    ];
    for (at, (tenant, tool, revision, good)) in (1_i64..).zip(cases) {
        let result = sqlx::query(insert)
            .bind(tenant)
            .bind(tool)
            .bind(revision)
            .bind(at)
            .execute(&mut connection)
            .await;
        assert_eq!(
            result.is_ok(),
            good,
            "{tenant:?} {tool:?} {revision} {result:?}"
        );
    }
}

/// Of deleted names a bounded number is remembered; forgetting is safe.
#[tokio::test]
async fn forgotten_names_never_reuse_a_number_and_start_followers_again() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        max_deleted: 3,
        ..Settings::default()
    };
    let registry = open(&directory.path().join("registry.db"), settings).await;
    let kept = registry.create(&admin(), small("kept")).await.unwrap();
    let mut last = Vec::new();
    for at in 0..8 {
        let tool = format!("gone{at}");
        let mut record = registry.create(&admin(), small(&tool)).await.unwrap();
        for _ in 0..at {
            let nothing = ToolPatch::default();
            record = registry
                .update(&admin(), &name(&tool), nothing, None)
                .await
                .unwrap();
        }
        registry.delete(&admin(), &name(&tool), None).await.unwrap();
        last.push(record.revision.0);
    }
    // gone0 to gone4 are forgotten, and no name starts at a number that one of them had.
    let again = registry.create(&admin(), small("gone2")).await.unwrap();
    assert_eq!(again.revision.0, last[4] + 1);
    let again = registry.create(&admin(), small("gone7")).await.unwrap();
    assert_eq!(again.revision.0, last[7] + 1, "one that is remembered");
    let mut feed = Catalog::watch(&registry, &service(), kept.version)
        .await
        .unwrap();
    assert_eq!(feed.next().await.unwrap().unwrap(), CatalogChange::Reset);
    let mut feed = Catalog::watch(&registry, &service(), again.version)
        .await
        .unwrap();
    assert_eq!(
        feed.next().await.unwrap().unwrap(),
        CatalogChange::Synced(again.version)
    );
}

/// Two processes that start at the same moment on a new file both come up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_store_is_opened_by_several_at_once() {
    for _ in 0..10 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registry.db");
        let opened = futures::future::join_all((0..4).map(|_| SqliteStore::open(&path))).await;
        for store in opened {
            assert!(store.is_ok(), "{}", store.unwrap_err());
        }
    }
}

/// An image that policy no longer allows: the tool can be switched off, and not on again.
#[tokio::test]
async fn what_policy_no_longer_allows_can_be_switched_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    let registry = open(&path, Settings::default()).await;
    registry.create(&admin(), small("old.tool")).await.unwrap();
    registry.close().await;
    let mut strict = Settings::default();
    strict.policy.allowed_images = vec!["other:1".to_owned()];
    let registry = open(&path, strict).await;
    let enabled = |enabled: bool| ToolPatch {
        enabled: Some(enabled),
        ..ToolPatch::default()
    };
    let old = name("old.tool");
    let update = async |patch| registry.update(&admin(), &old, patch, None).await;
    let off = update(enabled(false)).await.unwrap();
    assert!(!off.spec.enabled);
    for patch in [
        enabled(true),
        ToolPatch {
            timeout_ms: Some(1_000),
            ..enabled(false)
        },
    ] {
        let refused = update(patch).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::PolicyDenied);
    }
    registry.close().await;
}
