//! The suite of the port: one registry, two that share a file, and through gRPC.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use auth::internal::Audience;
use domain::Catalog;
use registry::{Registry, Settings};
use rpc::client::{CatalogClient, Link};
use rpc::server::{Incoming, Server};
use rpc::{Endpoint, pipe};
use testkit::Identity;
use testkit::conformance::catalog::{Catalogs, Rules, Subject};
use tokio::task::JoinSet;

use super::open;

enum World {
    OneRegistry,
    TwoRegistriesOnOneFile,
    ThroughGrpc,
}

#[async_trait]
impl Catalogs for World {
    async fn make(&self, rules: Rules) -> Subject {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registry.db");
        let settings = settings(rules);
        let registry = open(&path, settings.clone()).await;
        match self {
            World::OneRegistry => subject(registry.clone(), registry, directory),
            World::TwoRegistriesOnOneFile => {
                subject(registry, open(&path, settings).await, directory)
            }
            World::ThroughGrpc => {
                let (client, other, server) = over_grpc(registry);
                subject(client, other, (directory, server))
            }
        }
    }
}

pub(crate) fn settings(rules: Rules) -> Settings {
    Settings {
        max_tools: rules.max_tools,
        max_revisions: rules.max_revisions,
        read_only: rules.read_only,
        policy: rules.policy,
        ..Settings::default()
    }
}

pub(crate) fn subject(
    catalog: impl Catalog + 'static,
    other: impl Catalog + 'static,
    keep: impl Any + Send + Sync,
) -> Subject {
    Subject {
        catalog: Arc::new(catalog),
        other: Arc::new(other),
        keep: Box::new(keep),
    }
}

/// A server of the registry and two connections to it.
pub(crate) fn over_grpc(registry: Registry) -> (CatalogClient, CatalogClient, JoinSet<()>) {
    let identity = Identity::new();
    let (dialer, listener) = pipe();
    let server = Server::new(identity.verifier(Audience::Registry)).catalog(Arc::new(registry));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let forever = std::future::pending();
        server
            .serve(Incoming::Pipe(listener), forever)
            .await
            .unwrap();
    });
    let connect = || {
        let endpoint = Endpoint::Pipe(dialer.clone());
        CatalogClient::new(Link::new(&endpoint, identity.signer(Audience::Registry)).unwrap())
    };
    (connect(), connect(), tasks)
}

mod one_registry {
    testkit::catalog_conformance!(super::World::OneRegistry);
}

mod two_registries_on_one_file {
    testkit::catalog_conformance!(super::World::TwoRegistriesOnOneFile, small);
}

mod through_grpc {
    testkit::catalog_conformance!(super::World::ThroughGrpc);
}
