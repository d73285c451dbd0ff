//! The tables: how they are made, what is refused, what survives.

use std::sync::Arc;
use std::time::Duration;

use domain::catalog::CatalogChange;
use domain::tool::ToolPatch;
use domain::{Catalog, CatalogVersion, ErrorCode, Revision};
use futures::StreamExt;
use futures::future::join_all;
use registry::{PostgresError, PostgresSettings, PostgresStore, Settings};
use testkit::postgres::{Cluster, Durability, Stop};
use tokio::time::Instant;

use super::super::{admin, metrics, name, service, small};
use super::{database, open, open_with};

async fn refused(settings: PostgresSettings) -> PostgresError {
    PostgresStore::open(settings, metrics()).await.unwrap_err()
}

/// Registries that start at the same moment on an empty database all come up, and the tables are
/// made once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_made_once_by_many_at_once() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    for round in 0..5 {
        let settings = PostgresSettings {
            schema: format!("round_{round}"),
            max_connections: 2,
            ..database(&cluster)
        };
        let stores = join_all((0..8).map(|_| PostgresStore::open(settings.clone(), metrics())));
        for store in stores.await {
            assert!(store.is_ok(), "{}", store.unwrap_err());
        }
        let steps = format!("SELECT count(*) FROM round_{round}.mcp_migrations WHERE success");
        let made = cluster.sql("postgres", &steps).await;
        assert_eq!(made, migrations().len().to_string());
    }
}

/// The files of `migrations/postgres`, in their order.
fn migrations() -> Vec<std::path::PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres");
    let files = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// A registry of the version before goes on while the tables are brought up to date: after the first
/// step nothing of what it uses is changed or taken away, and what it does not know of has a default.
#[test]
fn threat_66_later_steps_only_add() {
    for file in &migrations()[1..] {
        let text = std::fs::read_to_string(file).unwrap();
        let lines = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("--"));
        let text = lines.collect::<Vec<_>>().join(" ").to_lowercase();
        let place = file.display();
        for word in [
            "drop ",
            "rename",
            "alter column",
            "delete from",
            "truncate",
            "update mcp_",
        ] {
            assert!(!text.contains(word), "{place} has {word:?}");
        }
        for column in text.split("add column").skip(1) {
            let column = column.split(';').next().unwrap();
            let optional = !column.contains("not null") || column.contains("default");
            assert!(
                optional,
                "{place}: a column that registries of before cannot leave out"
            );
        }
    }
}

#[tokio::test]
async fn what_cannot_be_opened_is_an_error_that_says_what_to_do() {
    let mut cluster = Cluster::start(Durability::Relaxed).await;
    let with = |change: &dyn Fn(&mut PostgresSettings)| {
        let mut settings = database(&cluster);
        change(&mut settings);
        settings
    };
    for schema in ["", "Upper", "a-b", "1st", "pg_own", "a\"b", &"x".repeat(64)] {
        let error = refused(with(&|it| it.schema = schema.to_owned())).await;
        let text = error.to_string();
        assert!(text.contains("MCP_DYNAMIC_PG_SCHEMA"), "{text}");
    }
    let secret = "http://user:verysecret@host/db";
    let error = refused(with(&|it| it.url = secret.into()))
        .await
        .to_string();
    assert!(
        error.contains("MCP_DYNAMIC_PG_URL") && !error.contains("verysecret"),
        "{error}"
    );

    let url = cluster.url("none");
    let error = refused(with(&|it| it.url = url.as_str().into())).await;
    assert!(matches!(error, PostgresError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("/none"), "{error}");

    let ascii = "CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0";
    cluster.sql("postgres", ascii).await;
    let url = cluster.url("ascii");
    let error = refused(with(&|it| it.url = url.as_str().into())).await;
    assert!(error.to_string().contains("ENCODING 'UTF8'"), "{error}");

    // A user without rights: told so; with rights on a schema that is there, that is enough.
    let user = "CREATE ROLE plain LOGIN; CREATE SCHEMA theirs AUTHORIZATION plain";
    cluster.sql("postgres", user).await;
    let url = cluster.url("postgres").replace("postgres@", "plain@");
    let plain = |schema: &str| PostgresSettings {
        url: url.clone().into(),
        schema: schema.to_owned(),
        ..database(&cluster)
    };
    let error = refused(plain("not_theirs")).await;
    assert!(error.to_string().contains("permission denied"), "{error}");
    PostgresStore::open(plain("theirs"), metrics())
        .await
        .unwrap();

    drop(open(&cluster, Settings::default()).await);
    let newer = "INSERT INTO dynamic_mcp.mcp_migrations VALUES (9999, 'later', now(), true, '', 0)";
    cluster.sql("postgres", newer).await;
    let error = refused(database(&cluster)).await;
    assert!(
        matches!(error, PostgresError::Newer { step: 9999, .. }),
        "{error}"
    );

    cluster.stop(Stop::Fast).await;
    let began = Instant::now();
    let away = PostgresSettings {
        init_max_attempts: 3,
        ..database(&cluster)
    };
    let error = refused(away).await;
    assert!(
        matches!(error, PostgresError::Unreachable { attempts: 3, .. }),
        "{error}"
    );
    assert!(
        began.elapsed() >= Duration::from_millis(20 + 40),
        "it waits between attempts"
    );
}

/// A registry that starts before its database waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_waits_for_the_database() {
    let mut cluster = Cluster::start(Durability::Relaxed).await;
    cluster.stop(Stop::Fast).await;
    let settings = PostgresSettings {
        init_max_attempts: 100,
        ..database(&cluster)
    };
    let opened = tokio::join!(PostgresStore::open(settings, metrics()), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.resume().await;
    });
    assert!(opened.0.is_ok(), "{}", opened.0.unwrap_err());
}

/// Two schemas of one database are two catalogues that do not hear of each other.
#[tokio::test]
async fn schemas_are_apart() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    let open = async |schema: &str| {
        let settings = PostgresSettings {
            schema: schema.to_owned(),
            ..database(&cluster)
        };
        let metrics = metrics();
        let store = PostgresStore::open(settings, metrics.clone())
            .await
            .unwrap();
        registry::Registry::new(Arc::new(store), Settings::default(), metrics)
    };
    let (one, two) = (open("one").await, open("two").await);
    one.create(&admin(), small("only.one")).await.unwrap();
    two.create(&admin(), small("only.two")).await.unwrap();
    for (registry, own, other) in [
        (&one, "only.one", "only.two"),
        (&two, "only.two", "only.one"),
    ] {
        assert!(registry.get(&admin(), &name(own), None).await.is_ok());
        assert!(registry.get(&admin(), &name(other), None).await.is_err());
    }
}

#[tokio::test]
async fn a_reopened_store_goes_on_with_versions_and_numbers() {
    let mut cluster = Cluster::start(Durability::Synced).await;
    let first = open(&cluster, Settings::default()).await;
    let made = first.create(&admin(), small("one")).await.unwrap();
    first.close().await;
    let closed = first.create(&admin(), small("two")).await.unwrap_err();
    assert_eq!(closed.code(), ErrorCode::Unavailable);
    cluster.restart(Stop::Kill).await;

    let second = open(&cluster, Settings::default()).await;
    let feed = Catalog::watch(&second, &service(), made.version).await;
    let mut feed = feed.unwrap();
    assert_eq!(
        feed.next().await.unwrap().unwrap(),
        CatalogChange::Synced(made.version)
    );
    let nothing = ToolPatch::default();
    let changed = second
        .update(&admin(), &made.name, nothing, Some(Revision(1)))
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

/// Rows that were changed behind our back are left out, counted and named; all others are served,
/// and the rows can be deleted.
#[tokio::test]
async fn unreadable_rows_do_not_stop_the_rest() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    let metrics = metrics();
    let registry = open_with(&cluster, Settings::default(), metrics.clone()).await;
    let tools = ["aaa", "bbb", "ccc", "ddd", "eee", "fff"];
    for tool in tools {
        registry.create(&admin(), small(tool)).await.unwrap();
    }
    let spoil = "SET search_path TO dynamic_mcp;
        ALTER TABLE mcp_revisions DROP CONSTRAINT mcp_revisions_spec_check;
        ALTER TABLE mcp_revisions ALTER COLUMN spec TYPE text, ALTER COLUMN made_at DROP NOT NULL;
        UPDATE mcp_revisions SET spec = '{\"no\":\"description\"}' WHERE name = 'bbb';
        UPDATE mcp_revisions SET spec = '{\"cut' WHERE name = 'ccc';
        UPDATE mcp_revisions SET made_at = NULL WHERE name = 'ddd';
        DELETE FROM mcp_revisions WHERE name = 'eee'";
    cluster.sql("postgres", spoil).await;
    for reads in 1..=2 {
        let feed = Catalog::watch(&registry, &service(), CatalogVersion(0)).await;
        let mut feed = feed.unwrap();
        let mut names = Vec::new();
        loop {
            match feed.next().await.unwrap().unwrap() {
                CatalogChange::Upserted(record) => names.push(record.name.to_string()),
                CatalogChange::Synced(_) => break,
                CatalogChange::Reset | CatalogChange::Removed { .. } => {}
            }
        }
        assert_eq!(names, ["aaa", "fff"]);
        assert_eq!(metrics.registry_unreadable_records.get(), 4 * reads);
    }
    for tool in ["bbb", "ccc", "ddd"] {
        let broken = registry.get(&admin(), &name(tool), None).await.unwrap_err();
        assert_eq!(broken.code(), ErrorCode::Internal, "{tool}");
    }
    for tool in ["bbb", "ccc", "ddd", "eee"] {
        registry.delete(&admin(), &name(tool), None).await.unwrap();
        registry.create(&admin(), small(tool)).await.unwrap();
        assert!(registry.get(&admin(), &name(tool), None).await.is_ok());
    }
}

/// Tables that went away behind our back are an outage that heals when they come back.
#[tokio::test]
async fn a_schema_that_is_moved_away_is_unavailable_and_heals() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    let registry = open(&cluster, Settings::default()).await;
    registry.create(&admin(), small("kept")).await.unwrap();
    let moved = "ALTER SCHEMA dynamic_mcp RENAME TO away";
    cluster.sql("postgres", moved).await;
    let errors = [
        registry.create(&admin(), small("lost")).await.err(),
        registry.get(&admin(), &name("kept"), None).await.err(),
        registry.check().await.err(),
    ];
    for error in errors {
        let error = error.unwrap();
        assert_eq!(error.code(), ErrorCode::Unavailable);
        assert!(error.message().contains("nothing was done"), "{error}");
    }
    let back = "ALTER SCHEMA away RENAME TO dynamic_mcp";
    cluster.sql("postgres", back).await;
    registry.get(&admin(), &name("kept"), None).await.unwrap();
    registry.create(&admin(), small("lost")).await.unwrap();
}

/// A server that only reads answers reads; writes are `unavailable`.
#[tokio::test]
async fn a_server_that_only_reads_refuses_writes_alone() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    let registry = open(&cluster, Settings::default()).await;
    registry.create(&admin(), small("kept")).await.unwrap();
    // Written by what a standby answers, which no primary can be made to: a rule in its place.
    let refuse = "SET search_path TO dynamic_mcp;
        CREATE FUNCTION only_reads() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE SQLSTATE '25006' USING MESSAGE = 'read-only'; END $$;
        CREATE TRIGGER only_reads BEFORE INSERT OR UPDATE ON mcp_tools
            FOR EACH STATEMENT EXECUTE FUNCTION only_reads()";
    cluster.sql("postgres", refuse).await;
    let error = registry.create(&admin(), small("new")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert!(
        !error.to_string().contains("read-only"),
        "the cause is for the log: {error}"
    );
    registry.get(&admin(), &name("kept"), None).await.unwrap();
    cluster
        .sql(
            "postgres",
            "DROP TRIGGER only_reads ON dynamic_mcp.mcp_tools",
        )
        .await;
    registry.create(&admin(), small("new")).await.unwrap();
}

/// A lock that somebody holds is waited for, not for ever, and nothing is left behind.
#[tokio::test]
async fn a_lock_that_is_held_is_waited_for_but_not_for_ever() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    let registry = open(&cluster, Settings::default()).await;
    let hold = async |seconds: f32| {
        let sql = format!(
            "BEGIN; SELECT FROM dynamic_mcp.mcp_catalog FOR UPDATE; SELECT pg_sleep({seconds})"
        );
        cluster.sql("postgres", &sql).await;
    };
    let (me, pause) = (admin(), Duration::from_millis(300));
    let write = async {
        tokio::time::sleep(pause).await;
        registry.create(&me, small("one")).await
    };
    let (_, refusal) = tokio::join!(hold(3.0), write);
    assert_eq!(refusal.unwrap_err().code(), ErrorCode::Unavailable);
    let write = async {
        tokio::time::sleep(pause).await;
        registry.create(&me, small("one")).await
    };
    let (_, made) = tokio::join!(hold(0.8), write);
    made.unwrap();
}

/// Of deleted names a bounded number is remembered; forgetting is safe.
#[tokio::test]
async fn forgotten_names_never_reuse_a_number_and_start_followers_again() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    let settings = Settings {
        max_deleted: 3,
        ..Settings::default()
    };
    let registry = open(&cluster, settings).await;
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
    let again = registry.create(&admin(), small("gone2")).await.unwrap();
    assert_eq!(again.revision.0, last[4] + 1);
    let again = registry.create(&admin(), small("gone7")).await.unwrap();
    assert_eq!(again.revision.0, last[7] + 1, "one that is remembered");
    let feed = Catalog::watch(&registry, &service(), kept.version).await;
    let first = feed.unwrap().next().await.unwrap().unwrap();
    assert_eq!(first, CatalogChange::Reset);
}

/// A catalogue of many batches comes whole, in order, and once.
#[tokio::test]
async fn ten_thousand_tools_come_through_the_feed() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    let registry = open(&cluster, Settings::default()).await;
    registry.create(&admin(), small("first")).await.unwrap();
    let many = "SET search_path TO dynamic_mcp;
        INSERT INTO mcp_tools SELECT 'many', 'tool' || n, 1, version + n, false, 0
            FROM generate_series(1, 10000) AS n, mcp_catalog;
        INSERT INTO mcp_codes SELECT 'many', digest, code FROM mcp_codes;
        INSERT INTO mcp_revisions SELECT 'many', t.name, 1, t.version, r.spec, r.code_digest,
                r.code_bytes, 0, r.made_by, r.changed
            FROM mcp_tools AS t, mcp_revisions AS r WHERE t.tenant = 'many' AND r.name = 'first';
        UPDATE mcp_catalog SET version = version + 10000";
    cluster.sql("postgres", many).await;
    let feed = Catalog::watch(&registry, &service(), CatalogVersion(0)).await;
    let mut feed = feed.unwrap();
    assert_eq!(feed.next().await.unwrap().unwrap(), CatalogChange::Reset);
    let mut names = std::collections::BTreeSet::new();
    let mut last = CatalogVersion(0);
    loop {
        match feed.next().await.unwrap().unwrap() {
            CatalogChange::Upserted(record) => {
                assert!(record.version > last, "in order");
                last = record.version;
                assert!(names.insert(record.name), "once");
            }
            CatalogChange::Synced(version) => {
                assert_eq!(version, last);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(names.len(), 10_001);
}
