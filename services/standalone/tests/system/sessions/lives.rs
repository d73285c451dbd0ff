//! What a session can do, from its first to its last moment.

use serde_json::{Value, json};
use testkit::docker::{IMAGE, PYTHON_IMAGE};

use super::{User, serve};
use crate::deployment::Kind;

async fn a_life(kind: Kind) {
    let (deployment, client) = serve(kind, &[]).await;
    let asked = json!({"env": {"GREETING": "hello 'there'"}, "timeoutMs": 600_000});
    let user = User::new(&client, asked).await;
    let listed = client.ok("sandbox.session.list", json!({})).await;
    let sessions = listed["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 1, "{listed}");
    assert_eq!(sessions[0]["sessionId"], json!(user.id));
    assert_eq!(sessions[0]["image"], IMAGE);
    assert_eq!(sessions[0]["timeoutMs"], 600_000);

    // Each command has its own code and its own two streams; any text reaches the shell.
    let commands = json!({"commands": [
        "echo out; echo err >&2; exit 3",
        "printf '%s|' \"$GREETING\" `echo back` $(echo sub) 'a b' \"$((1+2))\"",
        "cat <<'EOF'\n$HOME `x`\nEOF",
        "kill -9 $$",
        "pwd && id -u && whoami 2>/dev/null || true",
    ]});
    let ran = user.ok("sandbox.exec", commands).await;
    let results = ran["results"].as_array().unwrap();
    let shown = |at: usize| {
        let result = &results[at];
        (
            result["exitCode"].as_i64().unwrap(),
            result["stdout"].as_str().unwrap(),
            result["stderr"].as_str().unwrap(),
        )
    };
    assert_eq!(shown(0), (3, "out\n", "err\n"));
    assert_eq!(shown(1), (0, "hello 'there'|back|sub|a b|3|", ""));
    assert_eq!(shown(2), (0, "$HOME `x`\n", ""));
    assert_eq!(results[3]["signal"], "SIGKILL");
    assert!(shown(4).1.starts_with("/workspace\n65532\n"), "{ran}");

    // Files, code and commands see one workspace.
    user.write("data/in.txt", "one\ntwo\n").await;
    let code = "const fs = require('node:fs');
        ctx.log('info', 'counting');
        const lines = fs.readFileSync('data/in.txt', 'utf8').trim().split('\\n');
        fs.writeFileSync('data/out.json', JSON.stringify({lines: lines.length, of: args.of}));
        console.log('wrote it');
        return lines;";
    let more = json!({"code": code, "args": {"of": "in.txt"}});
    let ran = user.ok("sandbox.run_js", more).await;
    assert_eq!(ran["result"], json!(["one", "two"]), "{ran}");
    assert_eq!(ran["logs"][0]["message"], "wrote it");
    let read = user
        .ok("sandbox.files.read", json!({"path": "data/out.json"}))
        .await;
    assert_eq!(read["content"], r#"{"lines":2,"of":"in.txt"}"#);
    let (code, out, _) = user.sh("cat data/out.json; ls data").await;
    assert_eq!(
        (code, out.as_str()),
        (0, "{\"lines\":2,\"of\":\"in.txt\"}in.txt\nout.json\n")
    );
    let listed = user.ok("sandbox.files.list", json!({"path": "data"})).await;
    let paths: Vec<&Value> = listed["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["path"])
        .collect();
    assert_eq!(paths, ["data/in.txt", "data/out.json"], "{listed}");
    // Globals of one run are not there in the next; files are.
    user.ok(
        "sandbox.run_js",
        json!({"code": "globalThis.left = 1; return 1"}),
    )
    .await;
    let next = user
        .ok(
            "sandbox.run_js",
            json!({"code": "return typeof globalThis.left"}),
        )
        .await;
    assert_eq!(next["result"], "undefined");
    // Code that fails says so, and the session goes on.
    let thrown = user
        .call(
            "sandbox.run_js",
            json!({"code": "throw new Error('on purpose')"}),
        )
        .await;
    assert_eq!(
        thrown["structuredContent"]["code"], "tool_failed",
        "{thrown}"
    );
    assert_eq!(user.sh("true").await.0, 0);

    // Nothing outside of the workspace, by whatever way.
    for path in ["../etc/passwd", "/etc/passwd", "data/../../etc/passwd"] {
        let refused = user
            .call("sandbox.files.read", json!({ "path": path }))
            .await;
        assert_eq!(
            refused["structuredContent"]["code"], "invalid_argument",
            "{path}: {refused}"
        );
    }
    user.sh("ln -s /etc/passwd link; ln -s /etc folder").await;
    for path in ["link", "folder/passwd"] {
        let refused = user
            .call("sandbox.files.read", json!({ "path": path }))
            .await;
        assert_eq!(refused["isError"], true, "{path}: {refused}");
    }

    user.ok("sandbox.stop", json!({})).await;
    user.ok("sandbox.stop", json!({})).await;
    let gone = user
        .call("sandbox.exec", json!({"commands": ["true"]}))
        .await;
    assert_eq!(gone["structuredContent"]["code"], "not_found", "{gone}");
    let listed = client.ok("sandbox.session.list", json!({})).await;
    assert_eq!(listed["sessions"], json!([]));
    deployment.stop().await;
}

#[tokio::test]
async fn docker_sessions_live_direct() {
    a_life(Kind::Direct).await;
}

#[tokio::test]
async fn docker_sessions_live_over_pipes() {
    a_life(Kind::Pipes).await;
}

#[tokio::test]
async fn docker_sessions_live_in_three_processes() {
    a_life(Kind::Three).await;
}

#[tokio::test]
async fn docker_python_runs_alone_and_in_a_session() {
    let (deployment, client) = serve(Kind::Three, &[]).await;
    let code = "import sys\nprint('from python')\nreturn {'sum': args['a'] + args['b'], 'major': sys.version_info[0]}";
    let ran = client
        .ok(
            "run_python_ephemeral",
            json!({"code": code, "args": {"a": 2, "b": 3}}),
        )
        .await;
    assert_eq!(ran["result"], json!({"sum": 5, "major": 3}), "{ran}");
    assert_eq!(ran["logs"][0]["message"], "from python");
    let thrown = client
        .refusal(
            "run_python_ephemeral",
            json!({"code": "raise ValueError('no')"}),
        )
        .await;
    assert_eq!(thrown, "tool_failed");

    let user = User::new(&client, json!({"runtime": "python"})).await;
    let listed = client.ok("sandbox.session.list", json!({})).await;
    assert_eq!(listed["sessions"][0]["image"], PYTHON_IMAGE);
    let code = "open('n.txt', 'w').write(str(args['n']))\nreturn args['n'] * 2";
    let ran = user
        .ok(
            "sandbox.run_python",
            json!({"code": code, "args": {"n": 21}}),
        )
        .await;
    assert_eq!(ran["result"], 42);
    let (code, out, _) = user.sh("cat n.txt; python3 -c 'print(6*7)'").await;
    assert_eq!((code, out.as_str()), (0, "2142\n"));
    deployment.stop().await;
}
