//! What is recorded of sandbox sessions.

use gateway::audit::OnFailure;
use serde_json::{Value, json};

use super::super::rig::merge;
use super::{Audited, lines};

#[tokio::test]
async fn operations_of_sessions_are_recorded_without_contents() {
    let audited = Audited::new(OnFailure::Deny, |_| {}).await;
    let rig = &audited.rig;
    let spec = json!({"env": {"API_KEY": "hidden-1"}, "network": "none"});
    let ready = rig.ok("sandbox.initialize", spec).await.structured;
    let handle = ready["sessionId"].as_str().unwrap().to_owned();
    let with = |more: Value| {
        let mut arguments = json!({ "sessionId": handle });
        merge(&mut arguments, more);
        arguments
    };
    let commands =
        json!({"commands": ["export TOKEN=hidden-2 && ls", "exit 3", "x".repeat(9_000)]});
    rig.ok("sandbox.exec", with(commands)).await;
    let file = json!({"path": "a/b.txt", "content": "hidden-3"});
    rig.ok("sandbox.files.write", with(file)).await;
    rig.ok("sandbox.files.read", with(json!({"path": "a/b.txt"})))
        .await;
    rig.ok("sandbox.files.list", with(json!({}))).await;
    rig.ok("sandbox.run_js", with(json!({"code": "hidden-4"})))
        .await;
    rig.ok("sandbox.session.list", json!({})).await;
    rig.ok("sandbox.stop", with(json!({}))).await;
    rig.refused(
        "sandbox.exec",
        with(json!({"commands": ["ls"]})),
        "not_found",
    )
    .await;
    let records = audited.records().await;
    let text = json!(records).to_string();
    assert!(
        !text.contains("hidden-") && !text.contains(&handle),
        "{text}"
    );
    let id = domain::SessionId::parse(&handle).unwrap().fingerprint();
    let mut expected = vec![
        "sandbox.initialize - begun -".to_owned(),
        "sandbox.initialize - success -".to_owned(),
    ];
    for action in [
        "exec",
        "files.write",
        "files.read",
        "files.list",
        "run_js",
        "stop",
    ] {
        for result in ["begun", "success"] {
            expected.push(format!("sandbox.{action} {id} {result} -"));
        }
    }
    expected.push(format!("sandbox.exec {id} begun -"));
    expected.push(format!("sandbox.exec {id} error not_found"));
    assert_eq!(lines(&records), expected);
    assert_eq!(records[0]["details"]["envNames"], json!(["API_KEY"]));
    assert_eq!(records[1]["details"]["session"], json!(id));
    let commands = records[2]["details"]["commands"].as_array().unwrap();
    assert_eq!(commands[0], "export TOKEN=[REDACTED] && ls");
    let long = commands[2].as_str().unwrap();
    assert!(
        long.contains("(9000 bytes, sha256 ") && long.len() < 700,
        "{long}"
    );
    assert_eq!(records[3]["details"]["exitCodes"], json!([0, 3, 0]));
    assert_eq!(records[4]["details"]["path"], "a/b.txt");
    assert_eq!(records[4]["details"]["contentBytes"], 8);
    assert_eq!(records[7]["details"]["bytes"], 8);
    assert!(records[10]["details"]["codeSha256"].is_string());
    assert_eq!(records[11]["details"]["engine"], "isolate");
}
