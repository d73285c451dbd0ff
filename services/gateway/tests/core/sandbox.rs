//! Sandbox sessions and one-off Python, over a fake executor.

use std::time::Duration;

use domain::session::Network;
use domain::tool::Runtime;
use domain::{Error, ErrorCode, Principal, Scope};
use serde_json::{Value, json};
use testkit::Step;

use super::rig::{CALLER, Rig, merge, rig, shown, tool_call, tool_call_as};

async fn session(rig: &Rig) -> Value {
    let ready = rig.ok("sandbox.initialize", json!({})).await.structured;
    ready["sessionId"].clone()
}

fn with(id: &Value, more: Value) -> Value {
    let mut arguments = json!({ "sessionId": id });
    merge(&mut arguments, more);
    arguments
}

#[tokio::test]
async fn results_have_the_shapes_of_the_node_server_and_more() {
    let rig = rig(|_| {}).await;
    let ready = rig
        .ok("sandbox.initialize", json!({"timeoutMs": 60_000}))
        .await;
    let id = ready.structured["sessionId"].clone();
    let text = id.as_str().unwrap();
    assert!(text.starts_with("sbx_"), "{text}");
    assert_eq!(ready.text(), format!("Sandbox session ready: {text}"));
    assert_eq!(ready.structured["timeoutMs"], 60_000);
    assert_eq!(ready.structured["image"], "node:lts-slim");

    let commands = json!({"commands": ["echo hi", "exit 3", "ls"]});
    let ran = rig.ok("sandbox.exec", with(&id, commands)).await;
    let expected = "$ echo hi\necho hi\n\n$ exit 3\nit failed\n(exit code 3)\n\n$ ls\nls";
    assert_eq!(ran.text(), expected);
    let codes: Vec<_> = ran.structured["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| &result["exitCode"])
        .collect();
    assert_eq!(codes, [0, 3, 0]);
    assert_eq!(
        ran.structured["results"][1],
        json!({"exitCode": 3, "stdout": "", "stderr": "it failed\n", "durationMs": 3,
            "truncated": false})
    );

    let listed = rig.ok("sandbox.session.list", json!({})).await;
    let one = &listed.structured["sessions"][0];
    assert_eq!((&one["id"], &one["sessionId"]), (&id, &id));
    for time in ["createdAt", "lastUsedAt"] {
        let time = one[time].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
    }
    let text: Value = serde_json::from_str(listed.text()).unwrap();
    assert_eq!(text, listed.structured["sessions"]);

    let stopped = rig.ok("sandbox.stop", with(&id, json!({}))).await;
    let said = format!("Stopped sandbox session: {}", id.as_str().unwrap());
    assert_eq!(stopped.text(), said);
    assert_eq!(
        stopped.structured,
        json!({"sessionId": id, "stopped": true})
    );
}

#[tokio::test]
async fn a_command_that_was_killed_makes_an_error_with_all_results() {
    let rig = rig(|_| {}).await;
    let id = session(&rig).await;
    let commands = json!({"commands": ["echo hi", "late", "never", "never"]});
    let call = tool_call("sandbox.exec", with(&id, commands));
    let ran = rig.send(call).await.unwrap();
    assert!(ran.is_error);
    assert_eq!(ran.structured["results"].as_array().unwrap().len(), 2);
    assert_eq!(ran.structured["results"][1]["timedOut"], true);
    assert_eq!(ran.structured["results"][1]["stdout"], "partial\n");
    assert_eq!(ran.structured["notRun"], 2);
    assert!(
        ran.text()
            .contains("$ late\npartial\n(killed: its time was over"),
        "{}",
        ran.text()
    );
    assert!(
        ran.text()
            .ends_with("(2 not run: the request's time was over)")
    );
    let failed = rig.ok("system.guard_metrics", json!({})).await.structured;
    let scopes = failed["scopes"].as_array().unwrap();
    let exec = scopes.iter().find(|one| one["scope"] == "sandbox.exec");
    assert_eq!(exec.unwrap()["failed"], 1);
}

#[tokio::test]
async fn code_in_a_session_answers_like_one_off_code_and_shows_what_it_printed() {
    let rig = rig(|_| {}).await;
    let id = session(&rig).await;
    let mut outcome = testkit::outcome(r#"{"a":1}"#);
    outcome.printed.push(domain::runner::Printed {
        level: domain::runner::LogLevel::Info,
        message: "hello".to_owned(),
    });
    let finished = Step::Event(domain::RunEvent::Finished(outcome));
    rig.sessions.runner.play([Step::accepted(), finished]);
    let more = json!({"code": "return {a: 1}", "args": {"x": 1}, "timeoutMs": 5_000});
    let ran = rig.ok("sandbox.run_js", with(&id, more)).await;
    assert_eq!(ran.text(), "hello\n\nResult:\n{\n  \"a\": 1\n}");
    assert_eq!(
        (&ran.structured["ok"], &ran.structured["result"]),
        (&json!(true), &json!({"a": 1}))
    );
    assert_eq!(ran.structured["logs"][0]["message"], "hello");
    let (_, call) = rig.sessions.runner.calls().pop().unwrap();
    assert_eq!(
        (call.tool.as_str(), call.runtime),
        ("sandbox.run_js", Runtime::Node)
    );
    assert_eq!(
        (call.args.get(), call.limits.timeout),
        (r#"{"x":1}"#, Duration::from_secs(5))
    );
    assert!(rig.executor.calls().is_empty(), "it goes to the session");

    let mut nothing = testkit::outcome("1");
    nothing.result = Ok(None);
    let finished = Step::Event(domain::RunEvent::Finished(nothing));
    rig.sessions.runner.play([Step::accepted(), finished]);
    let ran = rig
        .ok("sandbox.run_python", with(&id, json!({"code": "pass"})))
        .await;
    assert_eq!(ran.text(), "Execution completed with no output.");
    let (_, call) = rig.sessions.runner.calls().pop().unwrap();
    assert_eq!(call.runtime, Runtime::Python);

    let image = r#"{"content":[{"type":"image","data":"aGk=","mimeType":"image/png"}]}"#;
    rig.sessions
        .runner
        .play([Step::accepted(), Step::finished(image)]);
    let drawn = rig
        .ok("sandbox.run_python", with(&id, json!({"code": "pass"})))
        .await;
    assert_eq!(drawn.content[0]["type"], "image");
}

#[tokio::test]
async fn one_off_python_has_its_own_image_and_packages() {
    let rig = rig(|_| {}).await;
    let dependencies = json!([{"name": "PyYAML", "version": "6.0.2"}]);
    let more = json!({"code": "return 1", "dependencies": dependencies});
    let ran = rig.ok("run_python_ephemeral", more).await;
    assert!(
        ran.text()
            .starts_with("Dynamic tool succeeded: run_python_ephemeral")
    );
    let (_, call) = rig.executor.calls().pop().unwrap();
    assert_eq!(
        (call.tool.as_str(), call.runtime),
        ("run_python_ephemeral", Runtime::Python)
    );
    assert_eq!(
        (call.image.as_str(), call.dependencies.len()),
        ("python:3-slim", 1)
    );
    // The rules of PyPI, not those of npm.
    let npm = json!([{"name": "@scope/x", "version": "1.0.0"}]);
    let more = json!({"code": "return 1", "dependencies": npm});
    rig.refused("run_python_ephemeral", more, "invalid_argument")
        .await;
}

#[tokio::test]
async fn a_session_is_asked_for_as_the_caller_says_within_policy() {
    let rig = rig(|_| {}).await;
    let asked = json!({"runtime": "python", "network": "bridge", "timeoutMs": 5_000,
        "env": {"A": "1"}, "dependencies": [{"name": "numpy", "version": "2.0.0"}]});
    let ready = rig.ok("sandbox.initialize", asked).await.structured;
    assert_eq!(
        (&ready["image"], &ready["network"]),
        (&json!("python:3-slim"), &json!("bridge"))
    );
    let spec = rig.sessions.opened().pop().unwrap();
    assert_eq!(spec.runtime, Some(Runtime::Python));
    assert_eq!(
        (spec.network, spec.idle),
        (Some(Network::Bridge), Some(Duration::from_secs(5)))
    );
    assert_eq!((spec.env["A"].as_str(), spec.dependencies.len()), ("1", 1));
    let before = rig.sessions.asked().len();
    for (bad, code) in [
        (json!({"image": "evil/image:1"}), "policy_denied"),
        (json!({"image": "not an image"}), "invalid_argument"),
        (json!({"network": "host"}), "invalid_argument"),
        (json!({"timeoutMs": 10}), "invalid_argument"),
        (json!({"env": {"A-B": "1"}}), "invalid_argument"),
        (json!({"env": {"A": 1}}), "invalid_argument"),
        (json!({"runtime": "ruby"}), "invalid_argument"),
        (json!({"volumes": ["/:/host"]}), "invalid_argument"),
        (
            json!({"dependencies": [{"name": "pm2", "version": "1.0.0"}]}),
            "policy_denied",
        ),
        (
            json!({"dependencies": [{"name": "x", "version": "file:/etc"}]}),
            "invalid_argument",
        ),
    ] {
        rig.refused("sandbox.initialize", bad, code).await;
    }
    assert_eq!(
        rig.sessions.asked().len(),
        before,
        "nothing of it reached an executor"
    );
}

#[tokio::test]
async fn files_go_in_and_out_as_text_or_base64() {
    let rig = rig(|_| {}).await;
    let id = session(&rig).await;
    let write = |more: Value| with(&id, more);
    let wrote = rig
        .ok(
            "sandbox.files.write",
            write(json!({"path": "a.txt", "content": "straße"})),
        )
        .await;
    assert_eq!(wrote.structured, json!({"path": "a.txt", "bytes": 7}));
    let binary = json!({"path": "b.bin", "content": "/wA=", "encoding": "base64"});
    rig.ok("sandbox.files.write", write(binary)).await;
    let read = rig
        .ok("sandbox.files.read", with(&id, json!({"path": "a.txt"})))
        .await;
    assert_eq!(read.text(), "straße");
    assert_eq!(
        read.structured,
        json!({"path": "a.txt", "content": "straße", "encoding": "utf8", "bytes": 7})
    );
    let read = rig
        .ok("sandbox.files.read", with(&id, json!({"path": "b.bin"})))
        .await;
    assert_eq!(
        read.structured,
        json!({"path": "b.bin", "content": "/wA=", "encoding": "base64", "bytes": 2})
    );
    let as_base64 = json!({"path": "a.txt", "encoding": "base64"});
    let read = rig.ok("sandbox.files.read", with(&id, as_base64)).await;
    assert_eq!(read.structured["content"], "c3RyYcOfZQ==");
    let listed = rig.ok("sandbox.files.list", with(&id, json!({}))).await;
    let entries = listed.structured["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(
        entries[0],
        json!({"path": "a.txt", "kind": "file", "bytes": 7})
    );
    for (tool, more, code) in [
        (
            "sandbox.files.read",
            json!({"path": "b.bin", "encoding": "utf8"}),
            "invalid_argument",
        ),
        ("sandbox.files.read", json!({"path": "none"}), "not_found"),
        (
            "sandbox.files.write",
            json!({"path": "x", "content": "?", "encoding": "base64"}),
            "invalid_argument",
        ),
        (
            "sandbox.files.write",
            json!({"path": "", "content": "x"}),
            "invalid_argument",
        ),
        (
            "sandbox.files.read",
            json!({"path": "x".repeat(1_025)}),
            "invalid_argument",
        ),
    ] {
        rig.refused(tool, with(&id, more), code).await;
    }
}

#[tokio::test]
async fn every_bad_handle_has_the_same_answer_in_every_tool() {
    let rig = rig(|_| {}).await;
    let id = session(&rig).await;
    let mut stranger = Principal::anonymous(CALLER);
    stranger.subject = "somebody else".to_owned();
    let unknown = domain::session::unknown();
    let calls = [
        ("sandbox.exec", json!({"commands": ["ls"]})),
        ("sandbox.run_js", json!({"code": "1"})),
        ("sandbox.run_python", json!({"code": "1"})),
        ("sandbox.files.write", json!({"path": "a", "content": ""})),
        ("sandbox.files.read", json!({"path": "a"})),
        ("sandbox.files.list", json!({})),
        ("sandbox.stop", json!({})),
    ];
    for (name, more) in calls {
        for bad in ["", "sbx_", "mcp-sbx-1", "some-container", "../x", "--help"] {
            let refused = rig
                .refused(name, with(&json!(bad), more.clone()), "not_found")
                .await;
            let said = refused["error"].as_str().unwrap();
            assert!(said.starts_with(unknown.message()), "{name}: {said}");
        }
        let arguments = with(&id, more);
        let call = tool_call_as(stranger.clone(), name, arguments);
        let refused = rig.send(call).await.unwrap();
        let said = refused.structured["error"].as_str().unwrap();
        assert_eq!(refused.structured["code"], "not_found", "{name}");
        assert!(said.starts_with(unknown.message()), "{name}: {said}");
    }
    let call = tool_call_as(stranger, "sandbox.session.list", json!({}));
    assert_eq!(
        rig.send(call).await.unwrap().structured["sessions"],
        json!([])
    );
}

#[tokio::test]
async fn the_scope_the_admin_token_and_the_profile_are_asked_for() {
    let names = [
        "sandbox.initialize",
        "sandbox.exec",
        "sandbox.run_js",
        "sandbox.run_python",
        "sandbox.files.write",
        "sandbox.files.read",
        "sandbox.files.list",
        "sandbox.stop",
        "sandbox.session.list",
    ];
    let arguments = |name: &str, id: &Value| match name {
        "sandbox.initialize" | "sandbox.session.list" => json!({}),
        "sandbox.exec" => with(id, json!({"commands": ["ls"]})),
        "sandbox.run_js" | "sandbox.run_python" => with(id, json!({"code": "1"})),
        "sandbox.files.write" => with(id, json!({"path": "a", "content": ""})),
        "sandbox.files.read" => with(id, json!({"path": "a"})),
        _ => with(id, json!({})),
    };
    let open = rig(|_| {}).await;
    let id = session(&open).await;
    for name in names {
        let caller = Principal::anonymous(&[Scope::Invoke, Scope::ToolsWrite]);
        let call = tool_call_as(caller, name, arguments(name, &id));
        let refused = open.send(call).await.unwrap();
        assert_eq!(refused.structured["code"], "permission_denied", "{name}");
        assert!(refused.text().contains("mcp:sandbox"), "{}", refused.text());
    }
    let guarded = rig(|settings| settings.admin_token = Some("hush".into())).await;
    let taken = json!({"adminToken": "hush"});
    let ready = guarded.ok("sandbox.initialize", taken.clone()).await;
    let id = ready.structured["sessionId"].clone();
    let before = guarded.sessions.asked().len();
    for name in names {
        let refused = guarded
            .refused(name, arguments(name, &id), "permission_denied")
            .await;
        let said = refused["error"].as_str().unwrap();
        assert!(
            said.starts_with("Unauthorized: invalid admin token."),
            "{name}: {said}"
        );
    }
    assert_eq!(guarded.sessions.asked().len(), before);
    for name in names {
        let mut arguments = arguments(name, &id);
        merge(&mut arguments, taken.clone());
        guarded.ok(name, arguments).await;
        if name == "sandbox.stop" {
            break;
        }
    }
    let small = rig(|settings| settings.profile = gateway::settings::Profile::Mvp).await;
    for name in names {
        small.unknown(tool_call(name, json!({}))).await;
    }
    small
        .ok("run_python_ephemeral", json!({"code": "return 1"}))
        .await;
}

#[tokio::test]
async fn what_the_executor_refuses_reaches_the_caller_with_limit_and_fix() {
    let rig = rig(|_| {}).await;
    let full = Error::new(
        ErrorCode::LimitExceeded,
        "Sandbox session limit reached (20).",
    )
    .with_limit("20 sessions at once")
    .with_fix("stop one");
    rig.sessions.refuse_with(Some(full));
    let refused = rig
        .refused("sandbox.initialize", json!({}), "limit_exceeded")
        .await;
    assert_eq!(
        (&refused["limit"], &refused["fix"]),
        (&json!("20 sessions at once"), &json!("stop one"))
    );
}

#[tokio::test]
async fn a_call_that_is_dropped_drops_what_runs_in_the_session() {
    let rig = rig(|_| {}).await;
    let id = session(&rig).await;
    rig.sessions
        .runner
        .play([Step::accepted(), Step::Wait(Duration::from_secs(3_600))]);
    let call = tool_call("sandbox.run_js", with(&id, json!({"code": "1"})));
    let (notify, _unheard) = tokio::sync::mpsc::channel(8);
    let running = rig.gateway.call_tool(call, notify);
    let given_up = tokio::time::timeout(Duration::from_millis(100), running).await;
    assert!(given_up.map(|done| done.map(shown)).is_err());
    assert_eq!(rig.sessions.runner.abandoned(), 1);
}
