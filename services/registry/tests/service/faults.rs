//! The store goes away and comes back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::catalog::CatalogChange;
use domain::tool::ToolPatch;
use domain::{CallContext, Catalog, CatalogVersion, ErrorCode, Principal, RequestId, Scope};
use futures::StreamExt;
use registry::Settings;

use super::{admin, name, open, service, small};

/// Moves the three files of a store.
fn move_store(from: &Path, to: &Path) {
    for end in ["", "-wal", "-shm"] {
        let of = |path: &Path| PathBuf::from(format!("{}{end}", path.display()));
        if of(from).exists() {
            std::fs::rename(of(from), of(to)).unwrap();
        }
    }
}

/// Without its file the registry answers `unavailable` and acknowledges nothing; with it, it goes
/// on, without a restart. Three ways to be without.
#[tokio::test]
async fn a_lost_store_is_unavailable_and_heals() {
    type Spoil = fn(&Path);
    let ways: [(&str, Spoil); 3] = [
        ("gone", |_| {}),
        ("garbage", |path| {
            std::fs::write(path, "no database".repeat(999)).unwrap()
        }),
        ("empty", |path| std::fs::write(path, "").unwrap()),
    ];
    for (way, spoil) in ways {
        let directory = tempfile::tempdir().unwrap();
        let (path, away) = (
            directory.path().join("r.db"),
            directory.path().join("away.db"),
        );
        let settings = Settings {
            poll_interval: Duration::from_millis(50),
            ..Settings::default()
        };
        let registry = open(&path, settings).await;
        registry.create(&admin(), small("kept")).await.unwrap();
        let mut feed = Catalog::watch(&registry, &service(), CatalogVersion(0))
            .await
            .unwrap();

        move_store(&path, &away);
        spoil(&path);
        for _ in 0..3 {
            let errors = [
                registry.create(&admin(), small("lost")).await.err(),
                registry.get(&admin(), &name("kept"), None).await.err(),
                registry.delete(&admin(), &name("kept"), None).await.err(),
                registry.check().await.err(),
                Catalog::watch(&registry, &service(), CatalogVersion(0))
                    .await
                    .err(),
            ];
            for error in errors {
                assert_eq!(error.unwrap().code(), ErrorCode::Unavailable, "{way}");
            }
        }
        let end = async {
            loop {
                if let Err(error) = feed.next().await.unwrap() {
                    return error;
                }
            }
        };
        let end = tokio::time::timeout(Duration::from_secs(5), end)
            .await
            .unwrap();
        assert_eq!(end.code(), ErrorCode::Unavailable, "{way}");
        assert!(feed.next().await.is_none(), "an error ends the feed");

        for file in std::fs::read_dir(directory.path()).unwrap() {
            let file = file.unwrap().path();
            if file
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("r.db")
            {
                std::fs::remove_file(file).unwrap();
            }
        }
        move_store(&away, &path);
        registry.check().await.unwrap();
        assert!(
            registry.get(&admin(), &name("kept"), None).await.is_ok(),
            "{way}"
        );
        registry.create(&admin(), small("later")).await.unwrap();
        registry.close().await;
        let again = open(&path, Settings::default()).await;
        assert!(
            again.get(&admin(), &name("later"), None).await.is_ok(),
            "{way}"
        );
        assert!(
            again.get(&admin(), &name("lost"), None).await.is_err(),
            "{way}"
        );
    }
}

/// A writer that holds the file for long makes others wait, then answers `unavailable`; afterwards
/// all is well.
#[tokio::test]
async fn a_file_that_is_held_by_another_process_is_waited_for() {
    use sqlx::{ConnectOptions, Connection};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.db");
    let registry = open(&path, Settings::default()).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut other = options.connect().await.unwrap();
    let held = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let refusal = registry.create(&admin(), small("one")).await.unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::Unavailable);
    registry.check().await.unwrap();
    let (me, later) = (admin(), Duration::from_millis(300));
    let release = async {
        tokio::time::sleep(later).await;
        held.rollback().await
    };
    let (made, released) = tokio::join!(registry.create(&me, small("one")), release);
    released.unwrap();
    made.unwrap();
}

/// A caller that goes away in the middle leaves a whole write or none, and the feed tells of it.
#[tokio::test]
async fn dropped_callers_leave_nothing_half_done() {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(&directory.path().join("r.db"), Settings::default()).await;
    let made = registry.create(&admin(), small("one")).await.unwrap();
    let mut feed = Catalog::watch(&registry, &service(), made.version)
        .await
        .unwrap();
    for round in 0..40_u64 {
        let (me, tool) = (admin(), name("one"));
        let update = registry.update(&me, &tool, ToolPatch::default(), None);
        let patience = Duration::from_micros(round * 40);
        drop(tokio::time::timeout(patience, update).await);
    }
    let last = registry
        .update(&admin(), &name("one"), ToolPatch::default(), None)
        .await
        .unwrap();
    assert_eq!(
        last.revision.0 - 1,
        last.version.0 - made.version.0,
        "one version a revision"
    );
    // An update whose caller went may come after the last one, and the feed tells of both in one.
    loop {
        match feed.next().await.unwrap().unwrap() {
            CatalogChange::Synced(version) if version >= last.version => break,
            _ => {}
        }
    }
    for revision in 1..=last.revision.0 {
        let revision = Some(domain::Revision(revision));
        assert!(registry.get(&admin(), &name("one"), revision).await.is_ok());
    }
}

/// Time that runs out is an error that says whether something may have been done, and what goes on
/// behind it is done whole.
#[tokio::test]
async fn a_caller_whose_time_runs_out_is_told_so() {
    use sqlx::{ConnectOptions, Connection};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.db");
    let registry = open(&path, Settings::default()).await;
    let within = |budget: Duration| {
        let principal = std::sync::Arc::new(Principal::anonymous(&[Scope::Admin]));
        CallContext::new(principal, RequestId::random(), budget)
    };
    let late = within(Duration::ZERO);
    for error in [
        registry.create(&late, small("none")).await.err(),
        registry.get(&late, &name("none"), None).await.err(),
    ] {
        let error = error.unwrap();
        assert_eq!(error.code(), ErrorCode::Unavailable);
        assert!(error.message().contains("nothing was done"), "{error}");
    }
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut other = options.connect().await.unwrap();
    let held = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let hasty = within(Duration::from_millis(100));
    let error = registry.create(&hasty, small("slow")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert!(error.message().contains("may have been made"), "{error}");
    let mut feed = Catalog::watch(&registry, &service(), CatalogVersion(0))
        .await
        .unwrap();
    held.rollback().await.unwrap();
    let made = async {
        loop {
            if let CatalogChange::Upserted(record) = feed.next().await.unwrap().unwrap() {
                return record;
            }
        }
    };
    let made = tokio::time::timeout(Duration::from_secs(5), made)
        .await
        .unwrap();
    assert_eq!(made.name.as_str(), "slow");
    let none = registry
        .get(&admin(), &name("none"), None)
        .await
        .unwrap_err();
    assert_eq!(none.code(), ErrorCode::NotFound);
}
