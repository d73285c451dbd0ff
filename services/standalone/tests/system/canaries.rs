//! Secrets are planted wherever one can be, every path is driven, and everything that leaves the
//! processes is searched for them: logs at debug level, metrics, health, readiness, configuration,
//! errors, traces, the audit log and its copy, what Docker shows, command lines and environments.
//!
//! What a caller is answered is not searched where it is his own: the result of a tool that he gave the
//! secret to, the output of his own session.

mod forms;
mod scene;

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::process::Program;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use self::forms::forms;
use self::scene::{Scene, canary, made};
use crate::deployment::IMAGE;
use crate::start::run;

/// What was searched, by name.
#[derive(Default)]
struct Seen(Vec<(String, String)>);

impl Seen {
    fn add(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        let text = String::from_utf8_lossy(&bytes.into()).into_owned();
        self.0.push((name.into(), text));
    }
}

#[tokio::test]
async fn no_secret_leaves_by_any_way() {
    let mut scene = Scene::start().await;
    let mut seen = Seen::default();
    for what in [
        "arguments",
        "sandbox environment",
        "adminToken argument",
        "guess",
    ] {
        scene.canaries.push(canary(what, &made("x")));
    }
    drive(&scene, &mut seen).await;
    // Traces go out every few seconds, the audit log in less.
    sleep(Duration::from_secs(6)).await;
    look_outside(&scene, &mut seen).await;
    let Scene {
        folder,
        programs,
        receiver,
        canaries,
        ..
    } = scene;
    for program in programs {
        let name = format!("log of {}", program.id());
        let log = end(program).await;
        assert!(
            log.contains("debug") || log.contains("DEBUG"),
            "it says little: {log}"
        );
        seen.add(name, log);
    }
    let sent = receiver.requests();
    let with_header = |name: &str| sent.iter().any(|one| one.headers.contains_key(name));
    assert!(
        with_header("x-canary"),
        "the headers of traces are not sent"
    );
    // A header says who we are to the receiver; a body says it to whoever reads it there.
    for one in sent {
        seen.add(
            if one.path.contains("envelope") {
                "reports"
            } else {
                "traces"
            },
            one.body,
        );
    }
    let audit = std::fs::read(folder.path().join(".dynamic-mcp/audit.log")).unwrap();
    seen.add("audit log", audit);
    for (name, holds) in [("traces", "service.name"), ("audit log", "dynamic.exec")] {
        let mut texts = seen.0.iter().filter(|(seen, _)| seen == name);
        assert!(
            texts.any(|(_, text)| text.contains(holds)),
            "{name} hold little"
        );
    }
    let kinds: std::collections::BTreeSet<&str> =
        canaries.iter().map(|canary| canary.what).collect();
    assert!(kinds.len() >= 12, "{kinds:?}");
    let searched: usize = seen.0.iter().map(|(_, text)| text.len()).sum();
    assert!(
        seen.0.len() > 40 && searched > 1_000_000,
        "{} texts, {searched} bytes",
        seen.0.len()
    );
    let mut hits = Vec::new();
    for canary in &canaries {
        for form in forms(&canary.text) {
            for (name, text) in &seen.0 {
                if let Some(at) = text.find(&form) {
                    let around: String = text[..at].chars().rev().take(200).collect();
                    let around: String = around.chars().rev().collect();
                    hits.push(format!("{} in {name}: …{around}", canary.what));
                }
            }
        }
    }
    assert!(hits.is_empty(), "{} hits:\n{}", hits.len(), hits.join("\n"));
}

/// Ends a program as an operator does; gives everything that it has logged.
async fn end(mut program: Program) -> String {
    program.signal("TERM").await;
    let code = program.ended(Duration::from_secs(30)).await;
    assert_eq!(code, Some(0), "{}", program.log().join("\n"));
    program.log().join("\n")
}

/// Every path that a secret goes, well or badly.
async fn drive(scene: &Scene, seen: &mut Seen) {
    let bearer = format!("Bearer {}", scene.secret("token"));
    let admin = scene.secret("admin token");
    let caller = scene.client(&[("authorization", &bearer), ("x-mcp-admin-token", admin)]);
    let by_key = scene.client(&[
        ("x-api-key", scene.secret("API key")),
        ("x-mcp-admin-token", admin),
    ]);
    let secret = scene.secret("arguments");
    let code = "console.log('printed', args.secret); if (args.fail) throw new Error('no ' + args.secret); return args.secret;";
    let tool = json!({"name": "canary.tool", "description": "d", "code": code, "image": IMAGE});
    caller
        .ok("dynamic.tool.create", json!({"tool": tool}))
        .await;
    for (args, client) in [
        (json!({"secret": secret}), &caller),
        (json!({"secret": secret, "fail": true}), &by_key),
    ] {
        let answer = client.call("canary.tool", json!({"args": args})).await;
        assert!(answer.to_string().contains(secret), "his own: {answer}");
    }
    // The argument that old clients send; taken out before anything else sees it.
    let user = format!("Bearer {}", scene.secret("token of a user"));
    let old = scene.client(&[("authorization", &user)]);
    for (token, refused) in [(admin, false), (scene.secret("adminToken argument"), true)] {
        let arguments = json!({"adminToken": token, "name": "canary.tool"});
        let answer = old.call("dynamic.tool.get", arguments.clone()).await;
        assert_eq!(answer["isError"] == true, refused, "{answer}");
        seen.add("answer to adminToken", answer.to_string());
        // Wrong, and with more wrong beside it.
        let mut worse = arguments;
        worse["patch"] = json!(7);
        seen.add(
            "bad update",
            old.response(
                "tools/call",
                json!({"name": "dynamic.tool.update", "arguments": worse}),
            )
            .await
            .to_string(),
        );
    }
    session(scene, &caller, seen).await;
    // An installation that cannot reach its index, which it has a password for.
    for (tool, package) in [
        ("run_js_ephemeral", "left-pad"),
        ("run_python_ephemeral", "six"),
    ] {
        let asked = json!({"code": "return 1", "image": IMAGE, "dependencies": [{"name": package, "version": "1.3.0"}]});
        let answer = timeout(Duration::from_secs(140), caller.call(tool, asked))
            .await
            .unwrap();
        assert_eq!(answer["isError"], true, "{answer}");
        seen.add(format!("failed installation of {tool}"), answer.to_string());
    }
    let config = caller.ok("system.runtime_config", json!({})).await;
    seen.add("system.runtime_config", config.to_string());
    let listed = caller.ok("dynamic.tool.list", json!({})).await;
    seen.add("dynamic.tool.list", listed.to_string());
    // Last: an address that guesses is no longer listened to.
    guesses(scene, seen).await;
}

/// A session with a secret in its environment, looked at from outside while it lives.
async fn session(scene: &Scene, caller: &testkit::mcp::Client, seen: &mut Seen) {
    let secret = scene.secret("sandbox environment");
    let asked = json!({"image": IMAGE, "env": {"MY_PASSWORD": secret}});
    let session = caller.ok("sandbox.initialize", asked).await;
    let id = session["sessionId"].as_str().unwrap();
    let commands = json!({"sessionId": id, "commands": ["echo $MY_PASSWORD", "false"]});
    let answer = caller.ok("sandbox.exec", commands).await;
    assert!(answer.to_string().contains(secret), "his own: {answer}");
    let code = json!({"sessionId": id, "code": "throw new Error(process.env.MY_PASSWORD)"});
    caller.call("sandbox.run_js", code).await;
    docker(seen, "with a session").await;
    seen.add(
        "sandbox.session.list",
        caller
            .ok("sandbox.session.list", json!({}))
            .await
            .to_string(),
    );
    caller.ok("sandbox.stop", json!({"sessionId": id})).await;
}

/// Credentials that are wrong, in every place.
async fn guesses(scene: &Scene, seen: &mut Seen) {
    let guess = scene.secret("guess");
    let (bearer, broken) = (
        format!("Bearer {guess}"),
        format!("{}x", scene.secret("API key")),
    );
    let good = format!("Bearer {}", scene.secret("token"));
    let user = format!("Bearer {}", scene.secret("token of a user"));
    for headers in [
        vec![("authorization", &*bearer)],
        vec![("authorization", guess)],
        vec![("x-api-key", guess)],
        vec![("x-api-key", &broken)],
        vec![("authorization", &user), ("x-mcp-admin-token", guess)],
        vec![
            ("authorization", &good),
            ("origin", &*format!("https://{guess}")),
        ],
        vec![("authorization", &good), ("x-request-id", "fine")],
    ] {
        let answer = scene.client(&headers).send("tools/list", json!({})).await;
        if !headers.iter().any(|(name, _)| *name == "x-request-id") {
            assert!(answer.status >= 400, "{headers:?}: {}", answer.text());
            seen.add("refusal", answer.text());
        }
    }
    let path = format!("/mcp?access_token={guess}");
    let answer = testkit::http::exchange(&scene.address, "POST", &path, &[], b"{}").await;
    seen.add("token in the query", answer.text());
    let headers = [
        ("authorization", &*good),
        ("content-type", "application/json"),
    ];
    let body = format!("{{\"jsonrpc\": \"2.0\", \"params\": {{\"secret\": \"{guess}\" oops");
    let answer =
        testkit::http::exchange(&scene.address, "POST", "/mcp", &headers, body.as_bytes()).await;
    seen.add("broken JSON", answer.text());
}

/// What anybody on the machine, or on the network, may look at.
async fn look_outside(scene: &Scene, seen: &mut Seen) {
    for path in [
        "/livez",
        "/readyz",
        "/health",
        "/metrics",
        "/.well-known/oauth-protected-resource",
    ] {
        let answer = testkit::http::exchange(&scene.address, "GET", path, &[], b"").await;
        seen.add(path, answer.text());
    }
    for admin in &scene.admins {
        for path in ["/livez", "/readyz", "/metrics"] {
            let answer = testkit::http::exchange(admin, "GET", path, &[], b"").await;
            assert_eq!(answer.status, 200, "{admin}{path}: {}", answer.text());
            seen.add(format!("{admin}{path}"), answer.text());
        }
    }
    docker(seen, "at the end").await;
    for program in &scene.programs {
        for what in ["cmdline", "environ", "comm"] {
            let path = format!("/proc/{}/{what}", program.id());
            seen.add(path.clone(), std::fs::read(path).unwrap());
        }
    }
    configuration(scene, seen).await;
    let ended = run(
        "dynamic-mcp",
        scene.folder.path(),
        &["audit", "query", "--json", "--limit", "1000"],
        &database(scene),
    )
    .await;
    ended.assert(0, &[]);
    let found: Value = serde_json::from_str(&ended.out).unwrap();
    assert!(found["records"].as_array().unwrap().len() > 10, "{found}");
    seen.add("audit query", ended.out);
    let ended = run(
        "dynamic-mcp",
        scene.folder.path(),
        &["keys", "list"],
        &database(scene),
    )
    .await;
    seen.add("keys list", ended.out + &ended.err);
}

fn database(_: &Scene) -> [(&'static str, &'static str); 2] {
    [
        ("MCP_DYNAMIC_BACKEND", "postgres"),
        ("MCP_DYNAMIC_PG_URL_FILE", "mcp_dynamic_pg_url"),
    ]
}

/// What is printed of a configuration, good and bad.
async fn configuration(scene: &Scene, seen: &mut Seen) {
    let env = [
        ("MCP_ADMIN_TOKEN_FILE", "mcp_admin_token"),
        ("MCP_SANDBOX_NPM_REGISTRY_FILE", "mcp_sandbox_npm_registry"),
        ("MCP_SANDBOX_PIP_INDEX_FILE", "mcp_sandbox_pip_index"),
    ];
    let good = [&database(scene)[..], &env].concat();
    let bad = [&good[..], &[("MCP_PORT", "none"), ("MCP_PROFILE", "no")]].concat();
    for (flag, env, code) in [
        ("--print-config", &good, 0),
        ("--check-config", &good, 0),
        ("--print-config", &bad, 78),
        ("--help", &good, 0),
    ] {
        let ended = run("dynamic-mcp", scene.folder.path(), &[flag], env).await;
        ended.assert(code, &[]);
        assert!(
            flag != "--print-config" || code != 0 || ended.out.contains("***"),
            "{ended:?}"
        );
        seen.add(flag, ended.out + &ended.err);
    }
    // A secret where something else is meant, and one that cannot be used.
    let guess = scene.secret("guess");
    for (name, value) in [
        ("MCP_DYNAMIC_PG_URL", format!("mysql://u:{guess}@h/x")),
        ("MCP_SANDBOX_NPM_REGISTRY", format!("ftp://u:{guess}@h/")),
        ("MCP_INTERNAL_SIGNING_KEY", guess.to_owned()),
    ] {
        let env = [("MCP_DYNAMIC_BACKEND", "postgres"), (name, &*value)];
        let program = if name.contains("SIGNING") {
            "gateway"
        } else {
            "dynamic-mcp"
        };
        let env = if program == "gateway" {
            &env[1..]
        } else {
            &env[..]
        };
        let ended = run(program, scene.folder.path(), &["--check-config"], env).await;
        seen.add(name, ended.out + &ended.err);
    }
}

/// Everything that Docker shows of whatever is there, and the processes on the machine.
async fn docker(seen: &mut Seen, when: &str) {
    let said = async |program: &str, words: &[&str]| {
        let output = Command::new(program)
            .args(words)
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        [output.stdout, output.stderr].concat()
    };
    let ids = |text: Vec<u8>| -> Vec<String> {
        String::from_utf8(text)
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    for (list, inspect) in [
        ("ps -aq --no-trunc", "container"),
        ("volume ls -q", "volume"),
        ("network ls -q", "network"),
    ] {
        let words: Vec<&str> = list.split(' ').collect();
        let mut words_of: Vec<String> = vec![inspect.to_owned(), "inspect".to_owned()];
        words_of.extend(ids(said("docker", &words).await));
        if words_of.len() > 2 {
            let words: Vec<&str> = words_of.iter().map(String::as_str).collect();
            seen.add(
                format!("docker {inspect} inspect {when}"),
                said("docker", &words).await,
            );
        }
    }
    seen.add(
        format!("ps {when}"),
        said("ps", &["axww", "-o", "args"]).await,
    );
}
