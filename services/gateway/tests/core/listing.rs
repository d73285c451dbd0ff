//! `tools/list`.

use domain::{Principal, Scope};
use serde_json::{Value, json};

use super::rig::{CALLER, listed, rig};

#[tokio::test]
async fn pages_hold_a_thousand_in_a_stable_order() {
    let rig = rig(|settings| settings.guard.max_calls_per_window = 10_000).await;
    for n in (0..2_100).rev() {
        rig.create(&format!("tool.n{n:05}"), json!({})).await;
    }
    let principal = Principal::anonymous(CALLER);
    let first = rig.gateway.list_tools(&principal, None).unwrap();
    let tools: Vec<Value> = serde_json::from_str(first.items.get()).unwrap();
    assert_eq!(tools.len(), 1_000);
    assert_eq!(tools[0]["name"], "system.health", "built-ins first");
    assert!(!first.items.get().contains('\n'));
    let all = listed(&rig.gateway, &principal);
    assert_eq!(all.len(), 2_100);
    assert!(all.is_sorted());

    // A tool that the cursor names may be gone: the list goes on after its place.
    let cursor = first.next_cursor.unwrap();
    let last = tools.last().unwrap()["name"].as_str().unwrap();
    let before: Vec<Value> = page(&rig.gateway, &principal, &cursor);
    rig.ok("dynamic.tool.delete", json!({ "name": last })).await;
    assert_eq!(page(&rig.gateway, &principal, &cursor), before);
}

fn page(gateway: &gateway::Gateway, principal: &Principal, cursor: &str) -> Vec<Value> {
    let page = gateway.list_tools(principal, Some(cursor)).unwrap();
    serde_json::from_str(page.items.get()).unwrap()
}

#[tokio::test]
async fn a_cursor_that_is_not_ours_is_refused() {
    let rig = rig(|_| {}).await;
    for bad in ["", "x", "AAAA", "../../etc/passwd"] {
        let error = rig
            .gateway
            .list_tools(&Principal::anonymous(CALLER), Some(bad))
            .unwrap_err();
        assert_eq!(error.code, -32602, "{bad}");
    }
}

#[tokio::test]
async fn the_list_shows_what_the_caller_may_use() {
    let rig = rig(|_| {}).await;
    rig.create(
        "a.tool",
        json!({"title": "T", "annotations": {"readOnlyHint": true}}),
    )
    .await;
    let all = |principal: &Principal| -> Vec<Value> {
        let page = rig.gateway.list_tools(principal, None).unwrap();
        serde_json::from_str(page.items.get()).unwrap()
    };
    let tools = all(&Principal::anonymous(CALLER));
    assert_eq!(tools.len(), 23);
    assert_eq!(
        tools[22],
        json!({
            "name": "a.tool", "title": "T", "description": "d",
            "annotations": {"readOnlyHint": true},
            "inputSchema": {
                "type": "object", "additionalProperties": false,
                "properties": {"args": {
                    "type": "object", "default": {},
                    "description": "Handed to the tool's code as `args`"
                }}
            }
        })
    );
    assert!(all(&Principal::anonymous(&[])).is_empty());
    let only_calls = all(&Principal::anonymous(&[Scope::Invoke]));
    let names: Vec<_> = only_calls
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert!(
        names.iter().all(|name| !name.starts_with("dynamic.tool.")),
        "{names:?}"
    );
    assert!(names.contains(&"a.tool"));
}

#[tokio::test]
async fn a_schema_of_several_lines_is_listed_on_one() {
    let rig = rig(|_| {}).await;
    let mut call = super::rig::tool_call("dynamic.tool.create", json!({}));
    call.arguments = Some(testkit::raw(
        "{\"tool\":{\"name\":\"a.tool\",\"description\":\"d\",\"code\":\"1\",\
         \"inputSchema\":{\n  \"type\":\"object\",\n  \"properties\":{\"z\":{},\n\"a\":{}}\n}}}",
    ));
    assert!(!rig.send(call).await.unwrap().is_error);
    let page = rig
        .gateway
        .list_tools(&Principal::anonymous(CALLER), None)
        .unwrap();
    assert!(!page.items.get().contains('\n'));
    let z = page.items.get().find("\"z\"").unwrap();
    assert!(
        z < page.items.get()[z..].find("\"a\"").unwrap() + z,
        "the author's order stays"
    );
}
