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
