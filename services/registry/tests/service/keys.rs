//! The suite of the port of API keys: one registry, two that share a file, and through gRPC.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use auth::internal::Audience;
use domain::keys::Keys;
use registry::{Registry, Settings};
use rpc::client::{KeysClient, Link};
use rpc::server::{Incoming, Server};
use rpc::{Endpoint, pipe};
use testkit::Identity;
use testkit::conformance::keys::{Bounds, KeyPorts, Subject};
use tokio::task::JoinSet;

use super::open;

enum World {
    OneRegistry,
    TwoRegistriesOnOneFile,
    ThroughGrpc,
}

#[async_trait]
impl KeyPorts for World {
    async fn make(&self, bounds: Bounds) -> Subject {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registry.db");
        let settings = settings(bounds);
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

pub(crate) fn settings(bounds: Bounds) -> Settings {
    Settings {
        max_keys: bounds.own,
        max_keys_of_all: bounds.everybodys,
        max_ended_keys: bounds.ended,
        ..Settings::default()
    }
}

pub(crate) fn subject(
    keys: impl Keys + 'static,
    other: impl Keys + 'static,
    keep: impl Any + Send + Sync,
) -> Subject {
    Subject {
        keys: Arc::new(keys),
        other: Arc::new(other),
        keep: Box::new(keep),
    }
}

/// A server of the registry and two connections to it.
pub(crate) fn over_grpc(registry: Registry) -> (KeysClient, KeysClient, JoinSet<()>) {
    let identity = Identity::new();
    let (dialer, listener) = pipe();
    let server = Server::new(identity.verifier(Audience::Registry)).keys(Arc::new(registry));
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
        KeysClient::new(Link::new(&endpoint, identity.signer(Audience::Registry)).unwrap())
    };
    (connect(), connect(), tasks)
}

mod one_registry {
    testkit::keys_conformance!(super::World::OneRegistry);
}

mod two_registries_on_one_file {
    testkit::keys_conformance!(super::World::TwoRegistriesOnOneFile);
}

mod through_grpc {
    testkit::keys_conformance!(super::World::ThroughGrpc);
}
