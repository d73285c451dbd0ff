//! The registry on real databases: a SQLite file, and a Postgres server in `postgres`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod audit;
mod conformance;
mod declared;
mod faults;
mod fleet;
mod import;
mod keys;
mod model;
mod postgres;
mod retries;
mod store;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::{CallContext, Principal, RequestId, Scope, ToolDraft, ToolName};
use registry::{Registry, Settings, SqliteStore};
use telemetry::{BuildInfo, Metrics};

fn metrics() -> Arc<Metrics> {
    let build = BuildInfo {
        service: "registry",
        version: "test",
        commit: "test",
    };
    Arc::new(Metrics::new(build).unwrap())
}

async fn open(path: &Path, settings: Settings) -> Registry {
    let store = SqliteStore::open(path).await.unwrap();
    Registry::new(Arc::new(store), settings, metrics())
}

fn admin() -> CallContext {
    let principal = Principal::anonymous(&[Scope::Admin]);
    CallContext::new(
        Arc::new(principal),
        RequestId::random(),
        Duration::from_secs(30),
    )
}

fn service() -> CallContext {
    CallContext::service("gateway", Duration::from_secs(30))
}

fn name(text: &str) -> ToolName {
    ToolName::parse(text).unwrap()
}

fn small(tool: &str) -> ToolDraft {
    ToolDraft {
        name: name(tool),
        spec: serde_json::from_str(r#"{"description":"a tool"}"#).unwrap(),
        code: "return 1".into(),
        lock: None,
    }
}
