//! Audit logs in Postgres: the rules of `super::super::audit`, and several registries at once.

use domain::audit::archive::{Archive as _, Batch, Head, LogName};
use registry::Settings;
use testkit::postgres::{Cluster, Durability};

use super::super::audit::{bounded, bounds, rules};
use super::super::service;
use super::open;

#[tokio::test]
async fn the_rules_hold_on_postgres() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    rules(&open(&cluster, Settings::default()).await).await;
}

#[tokio::test]
async fn the_copy_is_bounded_on_postgres() {
    for (settings, most) in bounded() {
        let cluster = Cluster::start(Durability::Relaxed).await;
        bounds(&open(&cluster, settings).await, most).await;
    }
}

#[tokio::test]
async fn segments_stay_whoever_is_asked() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    let registry = open(&cluster, Settings::default()).await;
    let line = format!(
        r#"{{"timestamp":"2026-01-02T03:04:05.678Z","actor":{{"subject":"a"}},"action":"x","result":"y","seq":1,"prev":"{}"}}"#,
        "0".repeat(64)
    );
    let log = LogName::parse("gw-1").unwrap();
    let batch = Batch {
        log: log.clone(),
        after: None,
        lines: vec![line.clone()],
        lost: false,
    };
    registry.append(&service(), batch).await.unwrap();
    for statement in [
        "DELETE FROM dynamic_mcp.mcp_audit_segments",
        "UPDATE dynamic_mcp.mcp_audit_segments SET hash = '\\x00'::bytea",
        "UPDATE dynamic_mcp.mcp_audit_segments SET start = 'restart', seq = seq + 1",
    ] {
        let guarded = format!(
            "DO $$ BEGIN {statement}; RAISE 'it was done'; EXCEPTION WHEN raise_exception THEN \
             IF SQLERRM = 'it was done' THEN RAISE 'it was done: %', 1; END IF; END $$"
        );
        cluster.sql("postgres", &guarded).await;
    }
    let head = registry.head(&service(), &log).await.unwrap();
    assert_eq!(head, Head::of(line.as_bytes()));
}
