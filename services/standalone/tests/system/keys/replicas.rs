//! Two registries over one database and a gateway at each: what is done at one is known at the other.

use super::*;
use crate::deployment::{Deployment, Kind};

const ENV: &[(&str, &str)] = &[
    ("MCP_AUTH_MODE", "jwt+apikey"),
    UNLIMITED,
    // What is called here is answered without Docker: the keys are the subject.
    ("MCP_EXECUTION_ENGINE", "isolate"),
];

/// Words that reach a registry of a deployment.
fn at(folder: &Path, registry: &str) -> String {
    let folder = folder.display();
    format!("--registry unix:{folder}/{registry}.sock --signing-key {folder}/service.pem")
}

#[tokio::test]
async fn a_key_that_is_revoked_at_one_registry_ends_at_every_gateway() {
    let deployment = Deployment::start(Kind::Production, ENV).await;
    let second = deployment.second_side().await;
    let folder = deployment.folder();
    let (one, two) = (at(folder, "registry"), at(folder, "registry2"));
    let mut slowest = Duration::ZERO;
    for round in 0..5 {
        let (maker, ender) = if round % 2 == 0 {
            (&one, &two)
        } else {
            (&two, &one)
        };
        let words = format!("create --name round{round} --role developer {maker}");
        let key = keys(folder, &words, &[]).await.key();
        let here = with(&deployment.address, &key);
        let there = with(&second.address, &key);
        until(&here, 200, EVERYWHERE).await;
        until(&there, 200, EVERYWHERE).await;
        let words = format!("rotate {} --overlap 1h {maker}", prefix(&key));
        let new = keys(folder, &words, &[]).await.key();
        until(&with(&second.address, &new), 200, EVERYWHERE).await;
        assert_eq!(ask(&here).await.status, 200, "the overlap");
        let words = format!("revoke {} {ender}", prefix(&key));
        keys(folder, &words, &[]).await.ok();
        let (first, other) = tokio::join!(
            until(&here, 401, EVERYWHERE),
            until(&there, 401, EVERYWHERE)
        );
        slowest = slowest.max(first).max(other);
        assert_eq!(ask(&with(&deployment.address, &new)).await.status, 200);
    }
    assert!(slowest < EVERYWHERE, "{slowest:?}");
    // Tokens go on beside keys.
    assert_eq!(ask(&deployment.client(Era::Modern)).await.status, 200);
    second.stop().await;
    deployment.stop().await;
}

#[tokio::test]
async fn keys_go_on_while_the_registry_is_away() {
    let mut deployment =
        Deployment::start(Kind::Three, &[("MCP_AUTH_MODE", "apikey"), UNLIMITED]).await;
    let words = format!(
        "create --name ci --role developer {}",
        at(deployment.folder(), "registry")
    );
    let key = keys(deployment.folder(), &words, &[]).await.key();
    let client = with(&deployment.address, &key);
    until(&client, 200, EVERYWHERE).await;
    deployment.kill_registry().await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(ask(&client).await.status, 200);
    let words = format!(
        "revoke {} {}",
        prefix(&key),
        at(deployment.folder(), "registry")
    );
    let refused = keys(deployment.folder(), &words, &[]).await;
    assert_eq!(refused.code, Some(1), "{}", refused.complaint);
    assert_eq!(ask(&client).await.status, 200);
    deployment.restart_registry();
    let end = Instant::now() + Duration::from_secs(10);
    while keys(deployment.folder(), &words, &[]).await.code != Some(0) {
        assert!(Instant::now() < end, "the registry does not come back");
        sleep(Duration::from_millis(100)).await;
    }
    until(&client, 401, EVERYWHERE).await;
    deployment.stop().await;
}

#[tokio::test]
async fn a_gateway_is_not_ready_before_it_has_keys() {
    let mut deployment =
        Deployment::start(Kind::Three, &[("MCP_AUTH_MODE", "apikey"), UNLIMITED]).await;
    deployment.kill_registry().await;
    let (status, body) = deployment.get("/readyz").await;
    assert_eq!(status, 200, "it has keys: {body}");
    deployment.restart_gateway_alone().await;
    let (status, body) = deployment.get("/readyz").await;
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("keys"), "{body}");
    let shown = with(
        &deployment.address,
        &format!("dmcp_00000000_{}", "A".repeat(43)),
    );
    let refused = ask(&shown).await;
    assert_eq!(refused.status, 401);
    assert!(
        refused.text().contains("cannot be checked now"),
        "{}",
        refused.text()
    );
    deployment.restart_registry();
    deployment.wait_ready().await;
    deployment.stop().await;
}
