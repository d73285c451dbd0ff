//! U-101 to U-129: start and settings.

use std::time::Duration;

use serde_json::json;

use super::{checked, checks, document, effective, printed, refused, run, serve, warned};
use crate::piped::Piped;

checks! {
    "U-101" => the_flags_of_the_node_server_start_it,
    "U-102" => pipes_decide_over_the_transport,
    "U-103" => every_wrong_setting_is_listed,
    "U-104" => unknown_flags_and_words_are_refused,
    "U-105" => an_unknown_variable_is_a_warning,
    "U-106" => numbers_are_numbers,
    "U-107" => set_to_nothing_is_not_set,
    "U-108" "U-109" => bounds,
    "U-110" "U-111" => limits_of_a_sandbox_have_units,
    "U-112" => an_open_address_asks_for_something,
    "U-113" "U-114" => admin_tokens_that_can_be_guessed,
    "U-115" "U-116" => defaults_that_are_others,
    "U-117" "U-118" "U-119" => keys_of_an_identity_provider,
    "U-120" "U-121" "U-122" => settings_of_postgres,
    "U-123" "U-124" => settings_of_the_docker_command,
    "U-125" => node_means_isolate,
    "U-126" "U-127" "U-128" => settings_of_parts_that_come_later,
    "U-129" => dotenv,
}

/// As in the Node server's README: the path of the program in the place of `npx -y dynamic-mcp`.
async fn the_flags_of_the_node_server_start_it() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "--transport",
        "stdio",
        "--profile",
        "mvp",
        "--execution-engine",
        "node",
    ];
    let mut program = Piped::start(folder.path(), &arguments);
    program.initialize().await;
    program
        .call(
            2,
            "run_js_ephemeral",
            json!({"code": "return args.a", "args": {"a": 7}}),
        )
        .await;
    let answer = program.answer(2).await;
    assert_eq!(
        answer["result"]["structuredContent"]["result"], 7,
        "{answer}"
    );
    program.close();
    assert_eq!(program.ended(Duration::from_secs(20)).await, Some(0));
}

async fn pipes_decide_over_the_transport() {
    let folder = tempfile::tempdir().unwrap();
    let mut piped = Piped::start(folder.path(), &["--execution-engine", "node"]);
    piped.initialize().await;
    piped.close();
    assert_eq!(piped.ended(Duration::from_secs(20)).await, Some(0));
    let (program, client) = serve(folder.path(), &[]).await;
    client.ok("system.health", json!({})).await;
    let log = program.log().join("\n");
    assert!(log.contains("stdin and stdout are not both pipes"), "{log}");
    program.stop().await;
}

async fn every_wrong_setting_is_listed() {
    let env = [("MCP_PORT", "0x1"), ("MCP_PROFILE", "big")];
    let ended = checked(&["--auth-mode", "basic"], &env).await;
    let sources = ["environment variable MCP_PORT", "flag --auth-mode"];
    ended.assert(
        78,
        &[&["MCP_PROFILE", "mvp", "enterprise"], &sources[..]].concat(),
    );
    let fixes = ended.err.matches(&document::line("U-103").said[0]).count();
    assert_eq!(fixes, 3, "{}", ended.err);
}

async fn unknown_flags_and_words_are_refused() {
    refused("U-104", &["--dynamic-max-tool", "10", "serve"], &[]).await;
}

async fn an_unknown_variable_is_a_warning() {
    let env = [("MCP_DYNAMIC_MAX_TOOL", "10")];
    let ended = warned("U-105", &[], &env, 1).await;
    ended.assert(0, &["MCP_DYNAMIC_MAX_TOOLS"]);
}

async fn numbers_are_numbers() {
    for value in ["8788x", "1e3", "12.9"] {
        refused("U-106", &["--tool-max-concurrency", value], &[]).await;
        refused("U-106", &[], &[("MCP_DYNAMIC_MAX_TOOLS", value)]).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let env = [
        ("MCP_HTTP_MAX_REQUEST_BYTES", "1m"),
        ("MCP_TOOL_RATE_WINDOW_MS", "2m"),
    ];
    let ended = effective(folder.path(), &[], &env).await;
    assert_eq!(printed(&ended, "MCP_HTTP_MAX_REQUEST_BYTES"), "1048576");
    assert_eq!(printed(&ended, "MCP_TOOL_RATE_WINDOW_MS"), "120000");
}

async fn set_to_nothing_is_not_set() {
    let folder = tempfile::tempdir().unwrap();
    let env = [
        ("MCP_PORT", ""),
        ("MCP_PROFILE", " "),
        ("MCP_HOST", ""),
        ("MCP_ADMIN_TOKEN", ""),
        ("MCP_SANDBOX_ALLOWED_IMAGES", ""),
    ];
    let ended = effective(folder.path(), &[], &env).await;
    assert_eq!(printed(&ended, "MCP_PORT"), "8788");
    assert_eq!(printed(&ended, "MCP_PROFILE"), "mvp");
    assert_eq!(printed(&ended, "MCP_HOST"), "127.0.0.1");
    assert_eq!(printed(&ended, "MCP_SANDBOX_ALLOWED_IMAGES"), "[]");
}

async fn bounds() {
    for (variable, wider, too_wide) in [
        ("MCP_PORT", "0", "65536"),
        ("MCP_DYNAMIC_MAX_TOOLS", "100000", "100001"),
        ("MCP_HTTP_MAX_REQUEST_BYTES", "16777216", "16777217"),
    ] {
        checked(&[], &[(variable, wider)]).await.assert(0, &[]);
        checked(&[], &[(variable, too_wide)])
            .await
            .assert(78, &[variable]);
    }
    for (variable, least) in [
        ("MCP_SANDBOX_MAX_TIMEOUT_MS", 1_000),
        ("MCP_AUDIT_MAX_EVENT_BYTES", 1_000),
        ("MCP_AUDIT_MAX_FILE_BYTES", 10_000),
    ] {
        let (least, less) = (least.to_string(), (least - 1).to_string());
        checked(&[], &[(variable, least.as_str())])
            .await
            .assert(0, &[]);
        let ended = checked(&[], &[(variable, less.as_str())]).await;
        ended.assert(78, &[variable, &format!("from {least}")]);
    }
}

async fn limits_of_a_sandbox_have_units() {
    for value in ["512", "4m", "8388607"] {
        refused("U-110", &["--sandbox-memory", value], &[]).await;
    }
    for value in ["512m", "1g", "8388608", "1G"] {
        checked(&["--sandbox-memory", value], &[])
            .await
            .assert(0, &[]);
    }
    for value in ["all", "0", "-1"] {
        refused("U-111", &[], &[("MCP_SANDBOX_CPU_LIMIT", value)]).await;
    }
    for value in ["1", "0.5", "1.50"] {
        checked(&[], &[("MCP_SANDBOX_CPU_LIMIT", value)])
            .await
            .assert(0, &[]);
    }
}

async fn admin_tokens_that_can_be_guessed() {
    refused("U-113", &[], &[("MCP_ADMIN_TOKEN", "change-me")]).await;
    refused("U-113", &["--admin-token", "Change-Me"], &[]).await;
    warned("U-114", &["--admin-token", "only-a-short-one"], &[], 1).await;
    let long = "0123456789abcdef0123456789abcdef";
    warned("U-114", &["--admin-token", long], &[], 0).await;
}

async fn defaults_that_are_others() {
    let folder = tempfile::tempdir().unwrap();
    let ended = effective(folder.path(), &[], &[]).await;
    assert_eq!(printed(&ended, "MCP_HTTP_MAX_REQUEST_BYTES"), "1048576");
    let images = printed(&ended, "MCP_SANDBOX_ALLOWED_IMAGES");
    assert_eq!(images, "[\"node:lts-slim\",\"python:3-slim\"]");
    let old = [("MCP_HTTP_MAX_REQUEST_BYTES", "102400")];
    let (program, client) = serve(folder.path(), &old).await;
    let body = vec![b'x'; 102_401];
    let headers = [("content-type", "application/json"), ("accept", "*/*")];
    let sent = testkit::http::exchange(&client.address, "POST", "/mcp", &headers, &body);
    assert_eq!(sent.await.status, 413);
    program.stop().await;
}

async fn keys_of_an_identity_provider() {
    let keys = [
        ("MCP_AUTH_JWKS_URL", "https://issuer.example/keys"),
        ("MCP_AUTH_ISSUER", "https://issuer.example/"),
        ("MCP_AUTH_AUDIENCE", "dynamic-mcp"),
    ];
    // Named keys make an open address a closed one, and want what tokens need.
    let open = [
        &keys[..],
        &[("MCP_HOST", "0.0.0.0"), ("MCP_TRANSPORT", "http")],
    ]
    .concat();
    checked(&[], &open).await.assert(0, &[]);
    checked(&[], &keys[..1])
        .await
        .assert(78, &["MCP_AUTH_ISSUER", "MCP_AUTH_AUDIENCE"]);
    let unused = [&keys[..], &[("MCP_AUTH_MODE", "none")]].concat();
    warned("U-118", &[], &unused, 1).await;
    warned("U-118", &[], &keys, 0).await;
    let mut plain = keys;
    plain[0].1 = "http://issuer.example/keys";
    refused("U-119", &[], &plain).await;
    plain[0].1 = "http://127.0.0.1:1/keys";
    checked(&[], &plain).await.assert(0, &[]);
}

async fn settings_of_postgres() {
    let url = ("MCP_DYNAMIC_PG_URL", "postgres://u:p@127.0.0.1/d");
    refused("U-120", &[], &[url]).await;
    refused("U-120", &["--dynamic-backend", "file"], &[url]).await;
    let backend = ("MCP_DYNAMIC_BACKEND", "postgres");
    for schema in ["MySchema", "pg_mine", "9th"] {
        refused("U-121", &["--dynamic-pg-schema", schema], &[url, backend]).await;
    }
    let bad = ("MCP_DYNAMIC_PG_URL", "127.0.0.1:5432/d");
    refused("U-122", &[], &[bad, backend]).await;
    checked(&["--dynamic-pg-schema", "myschema"], &[url, backend])
        .await
        .assert(0, &[]);
}

async fn settings_of_the_docker_command() {
    let bin = ("MCP_SANDBOX_DOCKER_BIN", "/no/such/docker");
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[bin, ("MCP_EXECUTION_ENGINE", "node")]).await;
    assert_eq!(
        client
            .ok("run_js_ephemeral", json!({"code": "return 1"}))
            .await["result"],
        1
    );
    program.stop().await;
    refused("U-124", &[], &[("DOCKER_HOST", "ssh://me@far.example")]).await;
    for host in ["unix:///run/docker.sock", "tcp://127.0.0.1:2375"] {
        checked(&[], &[("DOCKER_HOST", host)]).await.assert(0, &[]);
    }
}

async fn node_means_isolate() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        ["MCP_EXECUTION_ENGINE", "node"],
        ["MCP_EXECUTION_ENGINE", "isolate"],
    ] {
        let (program, client) = serve(folder.path(), &[(arguments[0], arguments[1])]).await;
        let log = program.log().join("\n");
        assert!(log.contains("\"engine\":\"isolate\""), "{log}");
        let result = client
            .call("run_js_ephemeral", json!({"code": "return 1"}))
            .await;
        assert_eq!(result["_meta"]["dynamic-mcp/engine"], "isolate", "{result}");
        program.stop().await;
    }
}

async fn settings_of_parts_that_come_later() {
    let attach = ("MCP_EXPERIMENTAL_UPSTREAM_MCP_ATTACH", "true");
    refused("U-126", &[], &[attach]).await;
    refused("U-126", &["--experimental-upstream-mcp-attach"], &[]).await;
    let later = [("MCP_EXPERIMENTAL_UPSTREAM_MCP_ATTACH_MAX", "8")];
    warned("U-127", &[], &later, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let ttl = [("MCP_HTTP_SESSION_TTL_SECONDS", "1")];
    let (program, client) = serve(folder.path(), &ttl).await;
    client.ok("system.health", json!({})).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    client.ok("system.health", json!({})).await;
    program.stop().await;
}

async fn dotenv() {
    let folder = tempfile::tempdir().unwrap();
    let text = "MCP_PROFILE=enterprise\nMCP_TOOL_MAX_CONCURRENCY=3\n";
    std::fs::write(folder.path().join(".env"), text).unwrap();
    let env = [("MCP_TOOL_MAX_CONCURRENCY", "5")];
    let ended = effective(folder.path(), &[], &env).await;
    assert_eq!(printed(&ended, "MCP_PROFILE"), "enterprise");
    assert_eq!(printed(&ended, "MCP_TOOL_MAX_CONCURRENCY"), "5");
    let keys = testkit::keys::write_pair(folder.path());
    let env = [
        ("MCP_INTERNAL_SIGNING_KEY_FILE", keys.private.as_str()),
        ("MCP_GATEWAY_ALLOW_DOCKER_SOCKET", "true"),
    ];
    let ended = run("gateway", folder.path(), &["--print-config"], &env).await;
    ended.assert(0, &[]);
    assert_eq!(printed(&ended, "MCP_PROFILE"), "mvp");
}

/// Where nobody said who may call, the first start makes a key and shows it once.
async fn an_open_address_asks_for_something() {
    let open = ("MCP_HOST", "0.0.0.0");
    refused("U-112", &[], &[open, ("MCP_AUTH_MODE", "none")]).await;
    let folder = tempfile::tempdir().unwrap();
    let (program, mut client) = serve(folder.path(), &[open]).await;
    let port = client.address.rsplit(':').next().unwrap().to_owned();
    client.address = format!("127.0.0.1:{port}");
    let log = program.log();
    let shown = log
        .iter()
        .position(|line| line.contains("It is shown this once:"));
    let key = log[shown.unwrap() + 2].trim().to_owned();
    let answer = client.send("tools/list", json!({})).await;
    assert_eq!(answer.status, 401, "{}", answer.text());
    for (name, value) in [
        ("x-api-key", key.clone()),
        ("authorization", format!("Bearer {key}")),
    ] {
        client.headers = vec![(name.to_owned(), value)];
        client.ok("system.health", json!({})).await;
    }
    client.headers = Vec::new();
    program.stop().await;
    let allowed = [open, ("MCP_AUTH_ALLOW_ANONYMOUS", "true")];
    let (program, mut client) = serve(folder.path(), &allowed).await;
    let port = client.address.rsplit(':').next().unwrap().to_owned();
    client.address = format!("127.0.0.1:{port}");
    client.ok("system.health", json!({})).await;
    program.stop().await;
}
