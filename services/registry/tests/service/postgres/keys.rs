//! The suite of the port of API keys: one registry, two that share a database, and through gRPC.

use std::sync::Arc;

use async_trait::async_trait;
use testkit::conformance::keys::{Bounds, KeyPorts, Subject};
use testkit::postgres::{Cluster, Durability};

use super::super::keys::{over_grpc, settings, subject};
use super::open;

enum World {
    OneRegistry,
    TwoRegistriesOnOneDatabase,
    ThroughGrpc,
}

#[async_trait]
impl KeyPorts for World {
    async fn make(&self, bounds: Bounds) -> Subject {
        let cluster = Arc::new(Cluster::start(Durability::Relaxed).await);
        let settings = settings(bounds);
        let registry = open(&cluster, settings.clone()).await;
        match self {
            World::OneRegistry => subject(registry.clone(), registry, cluster),
            World::TwoRegistriesOnOneDatabase => {
                let other = open(&cluster, settings).await;
                subject(registry, other, cluster)
            }
            World::ThroughGrpc => {
                let (client, other, server) = over_grpc(registry);
                subject(client, other, (cluster, server))
            }
        }
    }
}

mod one_registry {
    testkit::keys_conformance!(super::World::OneRegistry);
}

mod two_registries_on_one_database {
    testkit::keys_conformance!(super::World::TwoRegistriesOnOneDatabase);
}

mod through_grpc {
    testkit::keys_conformance!(super::World::ThroughGrpc);
}
