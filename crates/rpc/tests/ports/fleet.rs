//! The fleet through gRPC.

use std::collections::BTreeMap;

use domain::fleet::{ExecutorInfo, Fleet};
use domain::runner::EngineKind;
use domain::{ErrorCode, Scope};
use futures::StreamExt as _;
use testkit::context;

use super::setup::{TRANSPORTS, World, within};

#[tokio::test]
async fn executors_join_are_seen_and_leave() {
    for transport in TRANSPORTS {
        let world = World::new(transport).await;
        let client = world.fleet_client();
        let service = context(&[Scope::Internal]);
        let executor = ExecutorInfo {
            id: "host-1".to_owned(),
            address: "http://10.0.0.1:50052".to_owned(),
            labels: BTreeMap::from([("pool".to_owned(), "ml".to_owned())]),
            engines: vec![EngineKind::Isolate, EngineKind::Docker],
            capacity: 8,
            draining: true,
            version: "0.5.0".to_owned(),
        };
        let mut feed = client.watch(&service).await.unwrap();
        assert_eq!(within(2, feed.next()).await.unwrap().unwrap(), []);
        client.heartbeat(&service, executor.clone()).await.unwrap();
        // A second heartbeat of the same context is another request and no replay.
        client.heartbeat(&service, executor.clone()).await.unwrap();
        assert_eq!(within(2, feed.next()).await.unwrap().unwrap(), [executor]);
        client.leave(&service, "host-1").await.unwrap();
        while !within(2, feed.next()).await.unwrap().unwrap().is_empty() {}

        let outsider = context(&[Scope::Admin]);
        let error = client.leave(&outsider, "host-1").await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::PermissionDenied);
        assert!(client.watch(&outsider).await.is_err());
    }
}
