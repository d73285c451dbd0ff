//! `dynamic-mcp keys --registry https://...`: keys of a registry that speaks TLS only.

use serde_json::Value;

use super::rig::Rig;
use crate::start::{Ended, run};

/// What asks as somebody with this certificate and the key of the gateway.
async fn keys(rig: &Rig, words: &str, shown: &str, authority: &str) -> Ended {
    let url = format!("https://{}", rig.registry_at);
    let (cert, key) = (format!("certs/{shown}.pem"), format!("certs/{shown}.key"));
    let at = [
        "keys",
        "--registry",
        &url,
        "--signing-key",
        "certs/gateway-signing.pem",
        "--ca",
        authority,
        "--cert",
        &cert,
        "--key",
        &key,
    ];
    let words: Vec<&str> = at.into_iter().chain(words.split(' ')).collect();
    run("dynamic-mcp", rig.folder.path(), &words, &[]).await
}

#[tokio::test]
async fn threat_99_keys_are_made_over_tls_with_our_certificates_and_no_others() {
    let rig = Rig::start(&[]).await;
    let ours = "certs/ca.pem";
    let create = "create --name ci --role developer";
    // A certificate that may not, and a registry whose authority nobody trusts here.
    let ended = keys(&rig, create, "executor", ours).await;
    ended.assert(1, &[]);
    assert!(ended.out.is_empty(), "{ended:?}");
    super::rig::certs(rig.folder.path(), &["ca", "--out", "other"]).await;
    let ended = keys(&rig, create, "gateway", "other/ca.pem").await;
    ended.assert(1, &[]);

    let made = keys(&rig, create, "gateway", ours).await;
    made.assert(0, &[]);
    let key = made.out.trim();
    assert!(key.starts_with("dmcp_") && key.len() == 57, "{made:?}");
    let rotate = format!("rotate {} --overlap 1h", &key[5..13]);
    let rotated = keys(&rig, &rotate, "gateway", ours).await;
    rotated.assert(0, &[]);
    let revoke = format!("revoke {}", &rotated.out.trim()[5..13]);
    keys(&rig, &revoke, "gateway", ours).await.assert(0, &[]);
    let listed = keys(&rig, "list --json", "gateway", ours).await;
    listed.assert(0, &[]);
    let listed: Value = serde_json::from_str(&listed.out).unwrap();
    let states = listed["keys"].as_array().unwrap().iter();
    let states: Vec<&str> = states.map(|key| key["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["revoked", "rotated"], "{listed}");
    rig.stop().await;
}
