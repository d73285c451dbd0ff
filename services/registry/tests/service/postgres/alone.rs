//! The database fails in every way it can while tools are changed: no write that was acknowledged
//! is lost, none that was refused is there, and everybody who follows comes to the same end.

use std::time::Duration;

use domain::{CallContext, Catalog, CatalogVersion, ErrorCode, Principal, RequestId, Scope};
use futures::StreamExt;
use registry::{PostgresSettings, PostgresStore, Registry, Settings};
use testkit::Link;
use testkit::postgres::{Cluster, Durability, Stop};
use tokio::time::{Instant, sleep, timeout};

use super::super::{admin, metrics, name, service, small};
use super::crowd::under;
use super::{database, open, open_with};

/// How often a fault happens: 10 times as often with `MCP_TEST_SOAK=1`.
fn times(few: usize) -> usize {
    #[allow(clippy::disallowed_methods, reason = "a test has no configuration")]
    let soak = std::env::var("MCP_TEST_SOAK").is_ok_and(|value| value == "1");
    if soak { few * 10 } else { few }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listening_connections_are_ended() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    under("listeners ended", cluster, async |cluster| {
        for _ in 0..times(5) {
            assert!(cluster.terminate("%listener").await <= 2);
            sleep(Duration::from_millis(60)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_connections_are_ended() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    under("all connections ended", cluster, async |cluster| {
        for _ in 0..times(10) {
            cluster.terminate("dynamic-mcp%").await;
            sleep(Duration::from_millis(40)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_restarted() {
    let cluster = Cluster::start(Durability::Synced).await;
    under("restarted", cluster, async |cluster| {
        for _ in 0..times(1) {
            for way in [Stop::Fast, Stop::Immediate, Stop::Kill] {
                cluster.restart(way).await;
                sleep(Duration::from_millis(300)).await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_away_for_a_while() {
    let cluster = Cluster::start(Durability::Synced).await;
    let tally = under("away for 4 s", cluster, async |cluster| {
        cluster.stop(Stop::Immediate).await;
        sleep(Duration::from_secs(4)).await;
        cluster.resume().await;
        sleep(Duration::from_secs(1)).await;
    })
    .await;
    assert!(tally.refused > 0, "nobody noticed: {tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_paused() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    under("paused", cluster, async |cluster| {
        for _ in 0..times(2) {
            cluster.pause();
            sleep(Duration::from_millis(1_500)).await;
            cluster.unpause();
            sleep(Duration::from_millis(500)).await;
        }
    })
    .await;
}

/// After a restart followers of both registries hear of a change without anybody's help.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_after_a_restart_is_heard_of_by_notification() {
    let mut cluster = Cluster::start(Durability::Relaxed).await;
    let seen = metrics();
    let patient = Settings {
        // What is not told of comes too late for this test.
        poll_interval: Duration::from_secs(60),
        ..Settings::default()
    };
    let here = open(&cluster, patient.clone()).await;
    let there = open_with(&cluster, patient, seen.clone()).await;
    let feed = Catalog::watch(&there, &service(), CatalogVersion(0)).await;
    let mut feed = feed.unwrap();
    let mut last = CatalogVersion(0);
    for (round, way) in [Stop::Fast, Stop::Immediate, Stop::Kill]
        .into_iter()
        .enumerate()
    {
        let made = here
            .create(&admin(), small(&format!("tool{round}")))
            .await
            .unwrap();
        let arrives = async {
            while last < made.version {
                if let domain::CatalogChange::Synced(version) = feed.next().await.unwrap().unwrap()
                {
                    last = version;
                }
            }
        };
        timeout(Duration::from_secs(10), arrives).await.unwrap();
        cluster.restart(way).await;
    }
    let told = |kind: &str| seen.store_notifications.with_label_values(&[kind]).get();
    assert!(told("notify") + told("reconnect") + told("poll") >= 3);
}

/// With the database away a write is answered within its time, and says that nothing was done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_database_everybody_is_answered_in_time() {
    let mut cluster = Cluster::start(Durability::Relaxed).await;
    let registry = open(&cluster, Settings::default()).await;
    registry.create(&admin(), small("kept")).await.unwrap();
    cluster.stop(Stop::Fast).await;
    let hasty = || {
        let principal = std::sync::Arc::new(Principal::anonymous(&[Scope::Admin]));
        CallContext::new(principal, RequestId::random(), Duration::from_millis(700))
    };
    let began = Instant::now();
    let (create, get) = tokio::join!(
        async { registry.create(&hasty(), small("new")).await.err() },
        async { registry.get(&hasty(), &name("kept"), None).await.err() },
    );
    for error in [create, get] {
        assert_eq!(error.unwrap().code(), ErrorCode::Unavailable);
    }
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    // With more time than the pool waits, it is known that nothing was done.
    let error = registry.create(&admin(), small("new")).await.unwrap_err();
    assert!(error.message().contains("nothing was done"), "{error}");
    cluster.resume().await;
    registry.get(&admin(), &name("kept"), None).await.unwrap();
    registry.check().await.unwrap();
}

/// A network that swallows everything, then all of it comes back or none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_network_is_noticed_and_heals() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    let link = Link::to(([127, 0, 0, 1], cluster.port()).into())
        .await
        .unwrap();
    let through = cluster.url("postgres").replace(
        &cluster.port().to_string(),
        &link.address().port().to_string(),
    );
    let settings = PostgresSettings {
        url: through.into(),
        statement_timeout: Duration::from_millis(300),
        ..database(&cluster)
    };
    let metrics = metrics();
    let store = PostgresStore::open(settings, metrics.clone())
        .await
        .unwrap();
    let registry = Registry::new(std::sync::Arc::new(store), Settings::default(), metrics);
    registry.create(&admin(), small("kept")).await.unwrap();
    for round in 0..times(2) {
        link.stall();
        let began = Instant::now();
        let error = registry
            .get(&admin(), &name("kept"), None)
            .await
            .unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unavailable);
        assert!(
            began.elapsed() < Duration::from_secs(8),
            "{:?}",
            began.elapsed()
        );
        // What was on its way is gone with its connections.
        link.cut();
        link.heal();
        let tool = format!("after.{round}");
        registry.create(&admin(), small(&tool)).await.unwrap();
    }
}

/// More work than connections waits for one, and is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_work_than_connections_is_done() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    let settings = PostgresSettings {
        max_connections: 2,
        ..database(&cluster)
    };
    let metrics = metrics();
    let store = PostgresStore::open(settings, metrics.clone())
        .await
        .unwrap();
    let registry = Registry::new(std::sync::Arc::new(store), Settings::default(), metrics);
    let work = (0..40).map(|at| {
        let registry = &registry;
        async move { registry.create(&admin(), small(&format!("tool{at}"))).await }
    });
    for made in futures::future::join_all(work).await {
        made.unwrap();
    }
    let used = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'dynamic-mcp%'";
    assert_eq!(cluster.sql("postgres", used).await, "2");
}
