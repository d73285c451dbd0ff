//! Executors, seen through two registries.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::fleet::{ExecutorInfo, Fleet, FleetStream};
use domain::runner::EngineKind;
use futures::StreamExt;
use registry::Settings;
use testkit::postgres::{Cluster, Durability};
use tokio::time::timeout;

use super::super::service;
use super::open;

fn executor(id: &str) -> ExecutorInfo {
    ExecutorInfo {
        id: id.to_owned(),
        address: "http://127.0.0.1:50052".to_owned(),
        labels: BTreeMap::from([("pool".to_owned(), "ml".to_owned())]),
        engines: vec![EngineKind::Docker],
        capacity: 8,
        draining: false,
        version: "0.5.0".to_owned(),
    }
}

async fn next(stream: &mut FleetStream) -> Vec<ExecutorInfo> {
    let next = timeout(Duration::from_secs(3), stream.next()).await;
    next.unwrap().unwrap().unwrap()
}

/// Joins, changes and departures at one registry are told of by the other at once: its poll would
/// come too late here.
#[tokio::test]
async fn the_other_registry_tells_of_joins_changes_and_departures() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    let patient = Settings {
        poll_interval: Duration::from_secs(60),
        ..Settings::default()
    };
    let (here, there) = (
        open(&cluster, patient.clone()).await,
        open(&cluster, patient).await,
    );
    let mut list = Fleet::watch(&there, &service()).await.unwrap();
    assert_eq!(next(&mut list).await, []);
    here.heartbeat(&service(), executor("b")).await.unwrap();
    assert_eq!(next(&mut list).await, [executor("b")]);
    here.heartbeat(&service(), executor("a")).await.unwrap();
    assert_eq!(next(&mut list).await, [executor("a"), executor("b")]);
    let draining = ExecutorInfo {
        draining: true,
        ..executor("b")
    };
    here.heartbeat(&service(), draining.clone()).await.unwrap();
    assert_eq!(next(&mut list).await, [executor("a"), draining.clone()]);
    here.leave(&service(), "a").await.unwrap();
    assert_eq!(next(&mut list).await, [draining]);
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_ends() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    let short = Settings {
        lease: Duration::from_millis(400),
        poll_interval: Duration::from_millis(50),
        ..Settings::default()
    };
    let (here, there) = (
        open(&cluster, short.clone()).await,
        open(&cluster, short).await,
    );
    let mut list = Fleet::watch(&there, &service()).await.unwrap();
    here.heartbeat(&service(), executor("kept")).await.unwrap();
    here.heartbeat(&service(), executor("lost")).await.unwrap();
    let mut seen = next(&mut list).await;
    while seen.len() < 2 {
        seen = next(&mut list).await;
    }
    while seen != [executor("kept")] {
        here.heartbeat(&service(), executor("kept")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        seen = next(&mut list).await;
    }
}

#[tokio::test]
async fn the_fleet_is_bounded() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    let registry = open(&cluster, Settings::default()).await;
    let many = "INSERT INTO dynamic_mcp.mcp_executors
        SELECT 'e' || n, '{}', 9999999999999 FROM generate_series(1, 1000) AS n";
    cluster.sql("postgres", many).await;
    let refusal = registry.heartbeat(&service(), executor("late")).await;
    assert_eq!(
        refusal.unwrap_err().code(),
        domain::ErrorCode::LimitExceeded
    );
    registry
        .heartbeat(&service(), executor("e1"))
        .await
        .unwrap();
    registry.leave(&service(), "e2").await.unwrap();
    registry
        .heartbeat(&service(), executor("late"))
        .await
        .unwrap();
}
