//! grpc.health.v1, the one service that needs no identity.

use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::raw;
use super::setup::{Transport, World, within};

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

#[tokio::test]
async fn it_says_what_is_served_and_when_that_ends() {
    let mut world = World::new(Transport::Tcp).await;
    let mut client = HealthClient::new(raw::connect(world.address()).await);
    for service in [
        "",
        "dynamic_mcp.v1.Catalog",
        "dynamic_mcp.v1.Runner",
        "dynamic_mcp.v1.Fleet",
    ] {
        let answer = client.check(of(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let unknown = client.check(of("nothing")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);

    let mut watch = client.watch(of("")).await.unwrap().into_inner();
    let first = within(2, watch.message()).await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    world.server.stop();
    let second = within(2, watch.message()).await.unwrap().unwrap();
    assert_eq!(second.status(), ServingStatus::NotServing);
    assert!(
        within(2, watch.message()).await.unwrap().is_none(),
        "a watcher does not hold the stop up"
    );
    world.server.stopped().await;
}

/// Whoever has no identity can make the service hold nothing without bound.
#[tokio::test]
async fn those_who_watch_are_bounded_and_do_not_keep_others_from_asking() {
    let world = World::new(Transport::Tcp).await;
    let mut client = HealthClient::new(raw::connect(world.address()).await);
    let mut watching = Vec::new();
    let refused = loop {
        match client.watch(of("")).await {
            Ok(answer) => watching.push(answer.into_inner()),
            Err(status) => break status,
        }
        assert!(watching.len() <= 256, "no bound");
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let answer = client.check(of("")).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
    watching.clear();
    let freed = async { while client.watch(of("")).await.is_err() {} };
    within(2, freed).await;
    let long = client.check(of(&"x".repeat(5_000))).await.unwrap_err();
    assert_eq!(long.code(), Code::OutOfRange);
}
