//! How sessions end, and what that leaves: limits, restarts, foreign hands.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::mcp::Era;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{User, serve};
use crate::deployment::Kind;

async fn code_of(user: &User<'_>) -> Value {
    let answer = user
        .call("sandbox.exec", json!({"commands": ["true"]}))
        .await;
    answer["structuredContent"]["code"].clone()
}

#[tokio::test]
async fn docker_sessions_are_capped_and_expire() {
    let limits = [
        ("MCP_SANDBOX_MAX_SESSIONS", "2"),
        ("MCP_SANDBOX_SESSION_TIMEOUT_SECONDS", "4"),
    ];
    let (deployment, client) = serve(Kind::Three, &limits).await;
    let mut creates = JoinSet::new();
    for _ in 0..10 {
        let client = client.clone();
        creates.spawn(async move { client.call("sandbox.initialize", json!({})).await });
    }
    let answers = creates.join_all().await;
    let (made, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer["isError"] != true);
    assert_eq!((made.len(), refused.len()), (2, 8));
    for answer in refused {
        let told = &answer["structuredContent"];
        assert_eq!(told["code"], "limit_exceeded", "{told}");
        assert!(
            told["limit"]
                .as_str()
                .unwrap()
                .contains("MCP_SANDBOX_MAX_SESSIONS")
        );
        assert!(told["fix"].as_str().unwrap().contains("sandbox.stop"));
    }
    let user = |answer: &Value| User {
        client: &client,
        id: answer["structuredContent"]["sessionId"]
            .as_str()
            .unwrap()
            .to_owned(),
    };
    let (busy, idle) = (user(made[0]), user(made[1]));
    // A command that says nothing for longer than the idle time keeps its session.
    let slept = busy
        .ok("sandbox.exec", json!({"commands": ["sleep 7"]}))
        .await;
    assert_eq!(slept["results"][0]["exitCode"], 0);
    assert_eq!(code_of(&idle).await, "not_found");
    assert_eq!(busy.sh("echo still here").await.1, "still here\n");
    // The place of the one that expired is free.
    User::new(&client, json!({})).await;
    deployment.stop().await;
}

#[tokio::test]
async fn docker_sessions_survive_a_gateway_and_end_with_their_executor() {
    let (mut deployment, client) = serve(Kind::Three, &[]).await;
    let user = User::new(&client, json!({})).await;
    user.write("kept.txt", "kept").await;
    deployment.restart_gateway().await;
    let client = deployment.client(Era::Legacy);
    let user = User {
        client: &client,
        id: user.id.clone(),
    };
    assert_eq!(user.sh("cat kept.txt").await.1, "kept");
    let listed = client.ok("sandbox.session.list", json!({})).await;
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 1);

    deployment.kill_executor().await;
    let away = user
        .call("sandbox.exec", json!({"commands": ["true"]}))
        .await;
    assert_eq!(away["structuredContent"]["code"], "unavailable", "{away}");
    deployment.restart_executor();
    let end = Instant::now() + Duration::from_secs(30);
    let told = loop {
        let answer = user
            .call("sandbox.exec", json!({"commands": ["true"]}))
            .await;
        if answer["structuredContent"]["code"] != "unavailable" || Instant::now() > end {
            break answer["structuredContent"].clone();
        }
        sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(told["code"], "not_found", "{told}");
    let said = told["error"].as_str().unwrap();
    assert!(
        said.contains("has restarted") && said.contains("files are gone"),
        "{said}"
    );
    let listed = client.ok("sandbox.session.list", json!({})).await;
    assert_eq!(listed["sessions"], json!([]));
    deployment.stop().await;
}

#[tokio::test]
async fn docker_no_other_name_ever_works() {
    let (deployment, client) = serve(Kind::Direct, &[]).await;
    let user = User::new(&client, json!({})).await;
    // Names of containers that are really there.
    let names = testkit::docker::daemon()
        .run(&["ps", "--format", "{{.Names}} {{.ID}}"])
        .await;
    let mut handles: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
    assert!(!handles.is_empty());
    let mut flipped = user.id.clone().into_bytes();
    let last = flipped.len() - 3;
    flipped[last] = if flipped[last] == b'A' { b'B' } else { b'A' };
    handles.push(String::from_utf8(flipped).unwrap());
    handles.push(user.id[..user.id.len() - 4].to_owned());
    handles.push("sbx_".to_owned());
    let mut said = std::collections::BTreeSet::new();
    for handle in handles {
        let other = User {
            client: &client,
            id: handle.clone(),
        };
        for (tool, more) in [
            ("sandbox.exec", json!({"commands": ["true"]})),
            ("sandbox.files.read", json!({"path": "x"})),
            ("sandbox.run_js", json!({"code": "return 1"})),
            ("sandbox.stop", json!({})),
        ] {
            let answer = other.call(tool, more).await;
            assert_eq!(
                answer["structuredContent"]["code"], "not_found",
                "{handle}: {answer}"
            );
            said.insert(answer["structuredContent"]["error"].to_string());
        }
    }
    assert_eq!(said.len(), 1, "they say the same: {said:?}");
    assert_eq!(user.sh("true").await.0, 0);
    deployment.stop().await;
}
