//! What a caller's rights change in what it sees, and writes that are sent twice.

use domain::{IdempotencyKey, Principal, Scope};
use serde_json::{Value, json};

use super::rig::{CALLER, rig, tool_call, tool_call_as};

/// Every set of the product's scopes, asked in an order in which each list could be mistaken for the one
/// before: a list is made once for all who hold the same.
#[tokio::test]
async fn a_list_is_never_that_of_other_rights() {
    let rig = rig(|_| {}).await;
    rig.create("a.tool", json!({})).await;
    for _ in 0..2 {
        for set in 0..1_u32 << Scope::OUTSIDE.len() {
            let held = (0..Scope::OUTSIDE.len()).filter(|at| set & (1 << at) != 0);
            let scopes: Vec<Scope> = held.map(|at| Scope::OUTSIDE[at]).collect();
            let principal = Principal::anonymous(&scopes);
            let page = rig.gateway.list_tools(&principal, None).unwrap();
            let tools: Vec<Value> = serde_json::from_str(page.items.get()).unwrap();
            let listed = |name: &str| tools.iter().any(|tool| tool["name"] == name);
            for (name, scope) in [
                ("time.now", Scope::Invoke),
                ("run_js_ephemeral", Scope::Invoke),
                ("a.tool", Scope::Invoke),
                ("dynamic.tool.get", Scope::ToolsRead),
                ("dynamic.tool.delete", Scope::ToolsWrite),
                ("sandbox.exec", Scope::Sandbox),
            ] {
                assert_eq!(listed(name), principal.has(scope), "{name} for {scopes:?}");
            }
        }
    }
}

#[tokio::test]
async fn definitions_of_tools_that_a_caller_may_not_use_are_not_there() {
    let rig = rig(|_| {}).await;
    rig.create("open.tool", json!({})).await;
    rig.create("secret.tool", json!({"requiredScopes": ["team:a"]}))
        .await;
    let mut member = Principal::anonymous(CALLER);
    member.scopes.insert("team:a".to_owned());
    for (principal, wanted) in [
        (Principal::anonymous(CALLER), 1),
        (member, 2),
        (Principal::anonymous(&[Scope::Admin]), 2),
    ] {
        let list = tool_call_as(principal.clone(), "dynamic.tool.list", json!({}));
        let shown = rig.send(list).await.unwrap().structured;
        let tools = shown["tools"].as_array().unwrap();
        assert_eq!(tools.len(), wanted, "{shown}");
        let get = |name| tool_call_as(principal.clone(), "dynamic.tool.get", json!({"name": name}));
        let secret = rig.send(get("secret.tool")).await.unwrap();
        let absent = rig.send(get("absent.tool")).await.unwrap();
        if wanted == 1 {
            let text = secret.text().replace("secret.tool", "X");
            assert_eq!(text, absent.text().replace("absent.tool", "X"));
        }
        assert_eq!(secret.is_error, wanted == 1);
    }
}

#[tokio::test]
async fn a_write_that_is_sent_twice_happens_once() {
    let rig = rig(|_| {}).await;
    let with = |key: &str, name: &str, arguments: Value| {
        let mut call = tool_call(name, arguments);
        call.context.idempotency_key = Some(IdempotencyKey::parse(key).unwrap());
        call
    };
    let tool = json!({"tool": {"name": "a.tool", "description": "d", "code": "return 1"}});
    let create = || with("one", "dynamic.tool.create", tool.clone());
    let first = rig.send(create()).await.unwrap();
    let update = json!({"name": "a.tool", "patch": {"description": "e"}});
    rig.ok("dynamic.tool.update", update).await;
    let again = rig.send(create()).await.unwrap();
    assert_eq!(again.structured, first.structured);
    // What the gateway serves is what is there now, not what the answer of before says.
    let now = rig.ok("dynamic.tool.get", json!({"name": "a.tool"})).await;
    assert_eq!(now.structured["tool"]["revision"], 2);
    let other = with("one", "dynamic.tool.delete", json!({"name": "a.tool"}));
    let refused = rig.send(other).await.unwrap();
    assert_eq!(refused.structured["field"], "idempotencyKey");
    // What runs code may run twice, and reads need no key: none is taken for them.
    for (name, arguments) in [
        ("a.tool", json!({})),
        ("run_js_ephemeral", json!({"code": "return 1"})),
        ("dynamic.tool.get", json!({"name": "a.tool"})),
        ("time.now", json!({})),
    ] {
        let refused = rig.send(with("two", name, arguments)).await.unwrap();
        let said = refused.structured;
        assert_eq!(said["code"], "invalid_argument", "{name}");
        assert_eq!(said["field"], "_meta.dynamic-mcp/idempotencyKey", "{name}");
    }
}
