//! The admin token and scopes.

use std::sync::Arc;

use domain::{Principal, Scope};
use serde_json::{Value, json};

use super::rig::{CALLER, Rig, merge, rig, tool_call, tool_call_as};

const TOKEN: &str = "golden-admin-token";

async fn guarded() -> Rig {
    rig(|settings| settings.admin_token = Some(TOKEN.into())).await
}

fn managing() -> Vec<(&'static str, Value)> {
    let tool = json!({"name": "token.one", "description": "d", "code": "return 1;"});
    vec![
        ("dynamic.tool.create", json!({ "tool": tool })),
        ("dynamic.tool.list", json!({})),
        ("dynamic.tool.get", json!({"name": "token.one"})),
        (
            "dynamic.tool.update",
            json!({"name": "token.one", "patch": {"title": "T"}}),
        ),
        (
            "dynamic.tool.enable",
            json!({"name": "token.one", "enabled": true}),
        ),
        ("dynamic.tool.delete", json!({"name": "token.one"})),
    ]
}

#[tokio::test]
async fn every_management_tool_needs_the_token() {
    let rig = guarded().await;
    for (name, arguments) in managing() {
        for wrong in [None, Some("golden-admin-tokenx"), Some("")] {
            let mut arguments = arguments.clone();
            if let Some(wrong) = wrong {
                merge(&mut arguments, json!({ "adminToken": wrong }));
            }
            let refused = rig.refused(name, arguments, "permission_denied").await;
            let told = refused["error"].as_str().unwrap();
            assert!(
                told.starts_with("Unauthorized: invalid admin token."),
                "{told}"
            );
        }
    }
    for (name, mut arguments) in managing() {
        merge(&mut arguments, json!({ "adminToken": TOKEN }));
        rig.ok(name, arguments).await;
    }
    rig.ok("system.health", json!({})).await;
    rig.ok("run_js_ephemeral", json!({"code": "return 1;"}))
        .await;
}

#[tokio::test]
async fn the_header_and_the_scope_do_the_same() {
    let rig = guarded().await;
    let caller = Principal::anonymous(CALLER);
    assert!(rig.gateway.elevate(&caller, "wrong").is_none());
    let elevated = rig.gateway.elevate(&caller, TOKEN).unwrap();
    assert!(elevated.has(Scope::Admin) && elevated.subject == caller.subject);
    let admin = Arc::new(Principal::anonymous(&[Scope::Admin]));
    for principal in [elevated, admin] {
        let call = tool_call_as((*principal).clone(), "dynamic.tool.list", json!({}));
        assert!(!rig.send(call).await.unwrap().is_error);
    }
}

#[tokio::test]
async fn the_token_gives_rights_that_the_caller_lacks() {
    let rig = guarded().await;
    let only_calls = Principal::anonymous(&[Scope::Invoke]);
    let (name, mut arguments) = managing().remove(0);
    let refused = rig.send(tool_call_as(only_calls.clone(), name, arguments.clone()));
    assert_eq!(
        refused.await.unwrap().structured["code"],
        "permission_denied"
    );
    merge(&mut arguments, json!({ "adminToken": TOKEN }));
    assert!(
        !rig.send(tool_call_as(only_calls, name, arguments))
            .await
            .unwrap()
            .is_error
    );
}

#[tokio::test]
async fn without_a_configured_token_the_argument_is_ignored() {
    let rig = rig(|_| {}).await;
    rig.ok("dynamic.tool.list", json!({"adminToken": "anything"}))
        .await;
    assert!(
        rig.gateway
            .elevate(&Principal::anonymous(CALLER), "anything")
            .is_none()
    );
    let only_calls = Principal::anonymous(&[Scope::Invoke]);
    let call = tool_call_as(
        only_calls,
        "dynamic.tool.list",
        json!({"adminToken": "anything"}),
    );
    assert_eq!(
        rig.send(call).await.unwrap().structured["code"],
        "permission_denied"
    );
}

#[tokio::test]
async fn a_tool_whose_scopes_are_missing_does_not_exist() {
    let rig = rig(|_| {}).await;
    rig.create("secret.tool", json!({"requiredScopes": ["team:special"]}))
        .await;
    assert!(rig.listed().is_empty());
    rig.unknown(tool_call("secret.tool", json!({}))).await;
    // Not even wrong arguments give it away.
    rig.unknown(tool_call("secret.tool", json!({"bad": 1})))
        .await;
    let mut insider = Principal::anonymous(CALLER);
    insider.scopes.insert("team:special".to_owned());
    assert_eq!(super::rig::listed(&rig.gateway, &insider), ["secret.tool"]);
    assert!(
        !rig.send(tool_call_as(insider, "secret.tool", json!({})))
            .await
            .unwrap()
            .is_error
    );
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let rig = rig(|_| {}).await;
    rig.create("our.tool", json!({})).await;
    let mut stranger = Principal::anonymous(CALLER);
    stranger.tenant = domain::TenantId::parse("other").unwrap();
    assert!(super::rig::listed(&rig.gateway, &stranger).is_empty());
    rig.unknown(tool_call_as(stranger.clone(), "our.tool", json!({})))
        .await;
    let list = rig
        .send(tool_call_as(
            stranger.clone(),
            "dynamic.tool.list",
            json!({}),
        ))
        .await;
    assert_eq!(list.unwrap().structured["tools"], json!([]));
    let metrics = rig
        .send(tool_call_as(stranger, "system.guard_metrics", json!({})))
        .await;
    let scopes = metrics.unwrap().structured["scopes"].clone();
    assert_eq!(
        scopes.as_array().unwrap().len(),
        1,
        "only the stranger's own: {scopes}"
    );
}
