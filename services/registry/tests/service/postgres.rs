//! The registry on a real Postgres.

mod alone;
mod audit;
mod checks;
mod conformance;
mod crowd;
mod fleet;
mod import;
mod keys;
mod model;
mod store;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use registry::{PostgresSettings, PostgresStore, Registry, Settings};
use telemetry::Metrics;
use testkit::postgres::Cluster;

use super::metrics;

/// Settings for the cluster's database, with little patience where it is away.
fn database(cluster: &Cluster) -> PostgresSettings {
    PostgresSettings {
        init_backoff: Duration::from_millis(20),
        max_connections: 8,
        ..PostgresSettings::of(cluster.url("postgres"))
    }
}

pub(super) async fn open(cluster: &Cluster, settings: Settings) -> Registry {
    open_with(cluster, settings, metrics()).await
}

async fn open_with(cluster: &Cluster, settings: Settings, metrics: Arc<Metrics>) -> Registry {
    let store = PostgresStore::open(database(cluster), Arc::clone(&metrics));
    Registry::new(Arc::new(store.await.unwrap()), settings, metrics)
}
