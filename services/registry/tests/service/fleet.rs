//! Executors join, renew, leave and expire.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::ErrorCode;
use domain::fleet::{ExecutorInfo, Fleet, FleetStream};
use domain::runner::EngineKind;
use futures::StreamExt;
use registry::Settings;
use tokio::time::timeout;

use super::{admin, open, service};

fn executor(id: &str) -> ExecutorInfo {
    ExecutorInfo {
        id: id.to_owned(),
        address: "http://127.0.0.1:50052".to_owned(),
        labels: BTreeMap::from([("pool".to_owned(), "ml".to_owned())]),
        engines: vec![EngineKind::Isolate],
        capacity: 8,
        draining: false,
        version: "0.5.0".to_owned(),
    }
}

fn settings() -> Settings {
    Settings {
        lease: Duration::from_millis(400),
        poll_interval: Duration::from_millis(50),
        ..Settings::default()
    }
}

async fn next(stream: &mut FleetStream) -> Vec<ExecutorInfo> {
    timeout(Duration::from_secs(5), stream.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn the_list_follows_joins_changes_and_departures() {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(&directory.path().join("r.db"), Settings::default()).await;
    let mut list = Fleet::watch(&registry, &service()).await.unwrap();
    assert_eq!(next(&mut list).await, []);
    registry.heartbeat(&service(), executor("b")).await.unwrap();
    assert_eq!(next(&mut list).await, [executor("b")]);
    registry.heartbeat(&service(), executor("a")).await.unwrap();
    assert_eq!(next(&mut list).await, [executor("a"), executor("b")]);
    let draining = ExecutorInfo {
        draining: true,
        ..executor("b")
    };
    registry
        .heartbeat(&service(), draining.clone())
        .await
        .unwrap();
    assert_eq!(next(&mut list).await, [executor("a"), draining.clone()]);
    registry.leave(&service(), "a").await.unwrap();
    assert_eq!(next(&mut list).await, std::slice::from_ref(&draining));
    registry.leave(&service(), "never.there").await.unwrap();
    // Unchanged, it is repeated within five seconds.
    assert_eq!(next(&mut list).await, [draining]);
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.db");
    let (here, there) = (open(&path, settings()).await, open(&path, settings()).await);
    let mut list = Fleet::watch(&there, &service()).await.unwrap();
    assert_eq!(next(&mut list).await, []);
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
async fn only_services_may_look_or_join() {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(&directory.path().join("r.db"), Settings::default()).await;
    let refusals = [
        registry.heartbeat(&admin(), executor("x")).await.err(),
        registry.leave(&admin(), "x").await.err(),
        Fleet::watch(&registry, &admin()).await.err(),
    ];
    for refusal in refusals {
        assert_eq!(refusal.unwrap().code(), ErrorCode::PermissionDenied);
    }
}

#[tokio::test]
async fn what_an_executor_says_of_itself_is_checked() {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(&directory.path().join("r.db"), Settings::default()).await;
    let labels = |count: usize| {
        (0..count)
            .map(|at| (format!("l{at}"), String::new()))
            .collect()
    };
    let cases = [
        (
            "id",
            ExecutorInfo {
                id: String::new(),
                ..executor("x")
            },
        ),
        (
            "id",
            ExecutorInfo {
                id: "x\n".to_owned(),
                ..executor("x")
            },
        ),
        (
            "id",
            ExecutorInfo {
                id: "x".repeat(129),
                ..executor("x")
            },
        ),
        (
            "address",
            ExecutorInfo {
                address: "ftp://x".to_owned(),
                ..executor("x")
            },
        ),
        (
            "address",
            ExecutorInfo {
                address: "http://ü".to_owned(),
                ..executor("x")
            },
        ),
        (
            "labels",
            ExecutorInfo {
                labels: labels(33),
                ..executor("x")
            },
        ),
        (
            "engines",
            ExecutorInfo {
                engines: vec![EngineKind::Docker; 9],
                ..executor("x")
            },
        ),
        (
            "capacity",
            ExecutorInfo {
                capacity: 0,
                ..executor("x")
            },
        ),
        (
            "version",
            ExecutorInfo {
                version: String::new(),
                ..executor("x")
            },
        ),
    ];
    for (field, bad) in cases {
        let refusal = registry.heartbeat(&service(), bad).await.unwrap_err();
        assert_eq!(
            (refusal.code(), refusal.field()),
            (ErrorCode::InvalidArgument, Some(field))
        );
    }
}

#[tokio::test]
async fn the_fleet_is_bounded_and_who_leaves_makes_room() {
    let directory = tempfile::tempdir().unwrap();
    let roomy = Settings {
        lease: Duration::from_secs(600),
        ..Settings::default()
    };
    let registry = open(&directory.path().join("r.db"), roomy).await;
    for at in 0..1_000 {
        registry
            .heartbeat(&service(), executor(&format!("e{at}")))
            .await
            .unwrap();
    }
    let refusal = registry
        .heartbeat(&service(), executor("late"))
        .await
        .unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::LimitExceeded);
    registry
        .heartbeat(&service(), executor("e0"))
        .await
        .unwrap();
    registry.leave(&service(), "e1").await.unwrap();
    registry
        .heartbeat(&service(), executor("late"))
        .await
        .unwrap();
}
