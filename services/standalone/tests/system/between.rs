//! What stands between the services, against real processes over TLS: certificates and keys that
//! `dynamic-mcp certs` made, stolen, replaced and wrong.

mod gateway;
mod grpc;
mod keys;
mod rig;
mod rotation;
mod stolen;

use serde_json::json;

use self::rig::Rig;

#[tokio::test]
async fn three_services_find_each_other_over_tls() {
    let rig = Rig::start(&[]).await;
    // The executor has joined through the registry, under an address of its own.
    rig.works("tls.first").await;
    let listed = rig.client().ok("dynamic.tool.list", json!({})).await;
    assert_eq!(listed["tools"].as_array().unwrap().len(), 1, "{listed}");
    rig.stop().await;
}
