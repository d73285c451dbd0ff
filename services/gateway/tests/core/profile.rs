//! What each profile has: built-ins, resources, the prompt.

use domain::{CallContext, Principal, RequestId};
use gateway::mcp::{CompletionReference, CompletionRequest};
use gateway::operations::Features;
use gateway::settings::Profile;
use serde_json::{Map, Value, json};

use super::rig::{CALLER, rig, tool_call};

fn context() -> CallContext {
    let principal = std::sync::Arc::new(Principal::anonymous(CALLER));
    CallContext::new(
        principal,
        RequestId::random(),
        std::time::Duration::from_secs(5),
    )
}

#[tokio::test]
async fn every_built_in_answers_what_its_output_schema_says() {
    let rig = rig(|settings| settings.runtime_config = json!({"dynamic": {"maxTools": 256}})).await;
    let page = rig
        .gateway
        .list_tools(&Principal::anonymous(CALLER), None)
        .unwrap();
    let tools: Vec<Value> = serde_json::from_str(page.items.get()).unwrap();
    let tool = json!({"name": "a.tool", "description": "d", "code": "1",
        "inputSchema": {"type": "object"}, "tags": ["t"]});
    let session = rig.ok("sandbox.initialize", json!({})).await.structured;
    let with = |more: Value| {
        let mut arguments = json!({ "sessionId": session["sessionId"] });
        super::rig::merge(&mut arguments, more);
        arguments
    };
    let calls = [
        ("system.health", json!({})),
        ("dynamic.tool.create", json!({ "tool": tool })),
        (
            "dynamic.tool.update",
            json!({"name": "a.tool", "patch": {"title": "T"}}),
        ),
        (
            "dynamic.tool.enable",
            json!({"name": "a.tool", "enabled": false}),
        ),
        ("dynamic.tool.list", json!({"includeCode": true})),
        ("dynamic.tool.get", json!({"name": "a.tool"})),
        ("dynamic.tool.delete", json!({"name": "a.tool"})),
        ("run_js_ephemeral", json!({"code": "return 1;"})),
        ("run_python_ephemeral", json!({"code": "return 1"})),
        ("sandbox.initialize", json!({"network": "bridge"})),
        ("sandbox.session.list", json!({})),
        (
            "sandbox.exec",
            with(json!({"commands": ["exit 3", "echo x"]})),
        ),
        ("sandbox.run_js", with(json!({"code": "return 1;"}))),
        ("sandbox.run_python", with(json!({"code": "return 1"}))),
        (
            "sandbox.files.write",
            with(json!({"path": "a/b", "content": "x"})),
        ),
        ("sandbox.files.read", with(json!({"path": "a/b"}))),
        ("sandbox.files.list", with(json!({"path": "a"}))),
        ("sandbox.stop", with(json!({}))),
        ("dev.echo", json!({"message": "straße", "uppercase": true})),
        ("time.now", json!({"timeZone": "Asia/Shanghai"})),
        ("system.guard_metrics", json!({})),
        ("system.runtime_config", json!({})),
    ];
    assert_eq!(calls.len(), tools.len());
    for (name, arguments) in calls {
        let answer = rig.ok(name, arguments).await.structured;
        let listed = tools.iter().find(|tool| tool["name"] == name).unwrap();
        let schema = testkit::raw(&listed["outputSchema"].to_string());
        let schema = domain::schema::Schema::compile(domain::schema::Role::Output, &schema);
        assert_eq!(schema.unwrap().check(&answer), Ok(()), "{name}: {answer}");
    }
}

#[tokio::test]
async fn echo_and_time_answer_as_the_node_server_did() {
    let rig = rig(|_| {}).await;
    let echo = rig
        .ok(
            "dev.echo",
            json!({"message": "straße 👩", "uppercase": true}),
        )
        .await;
    assert_eq!(echo.text(), "STRASSE 👩");
    assert_eq!(
        echo.structured,
        json!({"message": "STRASSE 👩", "length": 10})
    );
    let now = rig.ok("time.now", json!({})).await;
    assert_eq!(now.structured["timeZone"], "UTC");
    let iso = now.structured["iso"].as_str().unwrap();
    assert!(iso.len() == 24 && iso.ends_with('Z'), "{iso}");
    let text: Value = serde_json::from_str(now.text()).unwrap();
    assert_eq!(text, now.structured);
    let refused = rig
        .refused(
            "time.now",
            json!({"timeZone": "Mars/Olympus"}),
            "invalid_argument",
        )
        .await;
    assert_eq!(refused["field"], "/timeZone");
    assert!(
        refused["error"]
            .as_str()
            .unwrap()
            .contains("Invalid IANA timezone: Mars/Olympus")
    );
}

#[tokio::test]
async fn mvp_has_no_operator_tools_resources_or_prompts() {
    let rig = rig(|settings| settings.profile = Profile::Mvp).await;
    assert_eq!(
        rig.gateway.features(),
        Features {
            resources: false,
            prompts: false
        }
    );
    rig.unknown(tool_call("time.now", json!({}))).await;
    assert!(
        rig.gateway
            .read_resource(&context(), "dynamic://service/meta")
            .is_err()
    );
    assert!(
        rig.gateway
            .get_prompt(&context(), "tool-call-checklist", Map::new())
            .is_err()
    );
}

#[tokio::test]
async fn resources_read_as_the_node_servers_did() {
    let rig = rig(|settings| settings.runtime_config = json!({"a": {"b": 1}})).await;
    let principal = Principal::anonymous(CALLER);
    let list = rig.gateway.list_resources(&principal, None).unwrap();
    let list: Vec<Value> = serde_json::from_str(list.items.get()).unwrap();
    let uris: Vec<_> = list
        .iter()
        .map(|one| one["uri"].as_str().unwrap())
        .collect();
    assert_eq!(
        uris,
        [
            "dynamic://service/meta",
            "dynamic://service/runtime-config",
            "dynamic://metrics/guard"
        ]
    );
    for uri in uris {
        let contents = rig.gateway.read_resource(&context(), uri).unwrap();
        let contents: Value = serde_json::from_str(contents.get()).unwrap();
        assert_eq!(
            (&contents[0]["uri"], &contents[0]["mimeType"]),
            (&json!(uri), &json!("application/json"))
        );
        let text = contents[0]["text"].as_str().unwrap();
        serde_json::from_str::<Value>(text).unwrap();
        assert!(text.contains("\n  \""), "laid out for people");
    }
    let error = rig
        .gateway
        .read_resource(&context(), "dynamic://no/such")
        .unwrap_err();
    assert_eq!(
        (error.code, error.data),
        (-32602, Some(json!({"uri": "dynamic://no/such"})))
    );
    let templates = rig
        .gateway
        .list_resource_templates(&principal, None)
        .unwrap();
    assert_eq!(templates.items.get(), "[]");
    assert_eq!(
        rig.gateway
            .list_prompts(&principal, Some("x"))
            .unwrap_err()
            .code,
        -32602
    );
}

#[tokio::test]
async fn the_prompt_takes_the_name_of_a_tool() {
    let rig = rig(|_| {}).await;
    let arguments = |value: Value| value.as_object().cloned().unwrap();
    let get = |name: &str, value: Value| rig.gateway.get_prompt(&context(), name, arguments(value));
    let prompt = get("tool-call-checklist", json!({"toolName": "dev.echo"})).unwrap();
    let messages: Value = serde_json::from_str(prompt.messages.get()).unwrap();
    assert_eq!(
        messages[0]["content"]["text"],
        "Before calling dev.echo, verify input schema, expected output schema, and failure \
         handling."
    );
    for (name, bad) in [
        ("none", json!({"toolName": "x"})),
        ("tool-call-checklist", json!({})),
        ("tool-call-checklist", json!({"toolName": ""})),
        ("tool-call-checklist", json!({"toolName": 1})),
        ("tool-call-checklist", json!({"toolName": "x", "more": "y"})),
    ] {
        assert_eq!(get(name, bad).unwrap_err().code, -32602);
    }
    let request = |reference| CompletionRequest {
        reference,
        argument: "toolName".to_owned(),
        value: "d".to_owned(),
    };
    let known = request(CompletionReference::Prompt(
        "tool-call-checklist".to_owned(),
    ));
    assert!(rig.gateway.complete(&context(), &known).unwrap().is_empty());
    let unknown = request(CompletionReference::Prompt("none".to_owned()));
    assert_eq!(
        rig.gateway.complete(&context(), &unknown).unwrap_err().code,
        -32602
    );
}
