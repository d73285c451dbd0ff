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

/// Each change is begun on record before it is made, and its end is recorded too.
#[tokio::test]
async fn changes_are_recorded_in_a_chained_log() {
    use std::collections::BTreeSet;

    use domain::audit::Archive as _;
    use domain::audit::archive::Search;
    use domain::audit::chain::place_of;
    use domain::keys::{KeyDigest, KeyPrefix, NewKey, Rotation};

    let directory = tempfile::tempdir().unwrap();
    let registry = open(&directory.path().join("registry.db"), Settings::default()).await;
    let admin = super::admin();
    let prefix = KeyPrefix::of([1; 4]);
    let key = NewKey {
        prefix,
        digest: KeyDigest::of([7; 32]),
        name: "ci".to_owned(),
        subject: None,
        scopes: BTreeSet::from(["mcp:invoke".to_owned()]),
        role: None,
        tier: None,
        expires_at: None,
    };
    registry.create(&admin, key.clone()).await.unwrap();
    registry.create(&admin, key).await.unwrap_err();
    let rotation = Rotation {
        prefix: KeyPrefix::of([2; 4]),
        digest: KeyDigest::of([8; 32]),
        overlap_seconds: 1,
        expires_at: None,
    };
    registry.rotate(&admin, &prefix, rotation).await.unwrap();
    registry.revoke(&admin, &prefix).await.unwrap();

    let search = Search {
        limit: 100,
        ..Search::default()
    };
    let found = registry.search(&super::service(), search).await.unwrap();
    let lines: Vec<&str> = found
        .records
        .iter()
        .rev()
        .map(|of| of.line.as_str())
        .collect();
    let told: Vec<(String, String)> = lines
        .iter()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(
                !line.to_string().contains(&"07".repeat(32)),
                "a hash: {line}"
            );
            let text = |name: &str| line[name].as_str().unwrap().to_owned();
            assert_eq!(text("target"), prefix.to_string());
            (text("action"), text("result"))
        })
        .collect();
    let told: Vec<(&str, &str)> = told.iter().map(|(a, r)| (a.as_str(), r.as_str())).collect();
    assert_eq!(
        told,
        [
            ("key.create", "begun"),
            ("key.create", "success"),
            ("key.create", "begun"),
            ("key.create", "error"),
            ("key.rotate", "begun"),
            ("key.rotate", "success"),
            ("key.revoke", "begun"),
            ("key.revoke", "success"),
        ]
    );
    let places = lines
        .iter()
        .map(|line| place_of(line.as_bytes()).unwrap().seq);
    assert!(places.eq(1..=8), "one chain");
}
