//! The suite of the port: one registry, two that share a database, and through gRPC. Ten thousand
//! tools are made by SQL in `super::store`, not one by one.

use std::sync::Arc;

use async_trait::async_trait;
use testkit::conformance::catalog::{Catalogs, Rules, Subject};
use testkit::postgres::{Cluster, Durability};

use super::super::conformance::{over_grpc, settings, subject};
use super::open;

enum World {
    OneRegistry,
    TwoRegistriesOnOneDatabase,
    ThroughGrpc,
}

#[async_trait]
impl Catalogs for World {
    async fn make(&self, rules: Rules) -> Subject {
        let cluster = Arc::new(Cluster::start(Durability::Relaxed).await);
        let settings = settings(rules);
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
    testkit::catalog_conformance!(super::World::OneRegistry, small);
}

mod two_registries_on_one_database {
    testkit::catalog_conformance!(super::World::TwoRegistriesOnOneDatabase, small);
}

mod through_grpc {
    testkit::catalog_conformance!(super::World::ThroughGrpc, small);
}
