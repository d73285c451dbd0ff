//! Flags, variables, addresses and subcommands.

use serde_json::json;
use testkit::mcp::Era;

use super::{run, serve};
use crate::deployment::{Deployment, Kind, binary};

const PROGRAMS: [&str; 4] = ["dynamic-mcp", "gateway", "registry", "executor"];

#[tokio::test]
async fn an_empty_folder_is_all_it_needs() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[]).await;
    let health = client.ok("system.health", json!({})).await;
    assert_eq!(health["status"], "ok", "{health}");
    let answer = client
        .ok("run_js_ephemeral", json!({"code": "return 6 * 7"}))
        .await;
    assert_eq!(answer["result"], 42);
    let mode = |path: &str| {
        let path = folder.path().join(path);
        std::fs::metadata(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(".dynamic-mcp"), 0o700);
    assert_eq!(mode(".dynamic-mcp/registry.db"), 0o600);
    let log = program.log().join("\n");
    let paste = format!("http://{}/mcp", client.address);
    assert!(log.contains(&paste) && log.contains("mcpServers"), "{log}");
    assert!(log.contains("\"engine\":\"isolate\""), "{log}");
    program.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let env = [("MCP_PORT", port.as_str())];
    let ended = run("dynamic-mcp", folder.path(), &[], &env).await;
    ended.assert(
        1,
        &[&port, "another process listens", "choose another port"],
    );
    assert!(
        !folder.path().join(".dynamic-mcp").exists(),
        "nothing was made before the port was ours"
    );
}

#[tokio::test]
async fn mistakes_are_named_with_their_fix() {
    let folder = tempfile::tempdir().unwrap();
    for program in PROGRAMS {
        let ended = run(program, folder.path(), &["--log-levl", "info"], &[]).await;
        ended.assert(78, &[program, "--log-levl", "--log-level", "fix:"]);
    }
    let env = [("MCP_PORT", "70000"), ("MCP_PROFILE", "huge")];
    let ended = run("dynamic-mcp", folder.path(), &[], &env).await;
    ended.assert(
        78,
        &["MCP_PORT", "70000", "65535", "MCP_PROFILE", "enterprise"],
    );
    let env = [("MCP_DYNAMIC_MAX_TOOLS", "0")];
    let ended = run("dynamic-mcp", folder.path(), &[], &env).await;
    ended.assert(78, &["MCP_DYNAMIC_MAX_TOOLS", "100000"]);
}

#[tokio::test]
async fn an_unknown_variable_is_a_warning_with_the_nearest_name() {
    let folder = tempfile::tempdir().unwrap();
    let env = [("MCP_PROFIL", "enterprise")];
    let ended = run("dynamic-mcp", folder.path(), &["--check-config"], &env).await;
    ended.assert(0, &["MCP_PROFIL", "MCP_PROFILE"]);
    let (program, _) = serve(folder.path(), &env).await;
    let log = program.log().join("\n");
    assert!(log.contains("WARN") && log.contains("MCP_PROFILE"), "{log}");
    program.stop().await;
}

#[tokio::test]
async fn an_address_for_everyone_has_to_be_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let env = [
        ("MCP_HOST", "0.0.0.0"),
        ("MCP_PORT", "0"),
        ("MCP_AUTH_MODE", "none"),
    ];
    let ended = run("dynamic-mcp", folder.path(), &[], &env).await;
    ended.assert(
        78,
        &["MCP_HOST", "0.0.0.0", "MCP_AUTH_ALLOW_ANONYMOUS=true"],
    );
    let allowed = [
        ("MCP_HOST", "0.0.0.0"),
        ("MCP_AUTH_ALLOW_ANONYMOUS", "true"),
    ];
    let (program, client) = serve(folder.path(), &allowed).await;
    client.ok("system.health", json!({})).await;
    program.stop().await;
}

#[tokio::test]
async fn keys_of_another_program_are_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let keys = testkit::keys::write_pair(folder.path());
    let key = ("MCP_INTERNAL_SIGNING_KEY_FILE", keys.private.as_str());
    let env = [key, ("MCP_DYNAMIC_STORE", "tools.db")];
    let ended = run("gateway", folder.path(), &[], &env).await;
    ended.assert(78, &["MCP_DYNAMIC_STORE", "registry"]);
    let env = [("MCP_EXECUTION_ENGINE", "isolate")];
    let ended = run("registry", folder.path(), &[], &env).await;
    ended.assert(78, &["MCP_EXECUTION_ENGINE", "executor"]);
}

#[tokio::test]
async fn a_service_without_its_key_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let ended = run("gateway", folder.path(), &[], &[]).await;
    ended.assert(78, &["MCP_INTERNAL_SIGNING_KEY", "fix:"]);
    for program in ["registry", "executor"] {
        let ended = run(program, folder.path(), &[], &[]).await;
        ended.assert(78, &["MCP_INTERNAL_VERIFY_KEYS", "fix:"]);
    }
    assert!(!folder.path().join(".dynamic-mcp").exists());
}

#[tokio::test]
async fn a_registry_with_the_wrong_key_is_no_registry() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    for path in [&ours, &theirs] {
        std::fs::create_dir(path).unwrap();
    }
    let (ours, theirs) = (
        testkit::keys::write_pair(&ours),
        testkit::keys::write_pair(&theirs),
    );
    let place = format!("unix:{}", folder.path().join("registry.sock").display());
    let env = [
        ("MCP_REGISTRY_LISTEN", place.as_str()),
        ("MCP_ADMIN_LISTEN", "127.0.0.1:0"),
        ("MCP_INTERNAL_VERIFY_KEYS_FILE", theirs.public.as_str()),
    ];
    let start = testkit::process::Program::start;
    let mut registry = start(&binary("registry"), folder.path(), &[], &env);
    registry
        .field_of_line("\"message\":\"ready\"", "program")
        .await;
    let env = [
        ("MCP_PORT", "0"),
        ("MCP_REGISTRY_URL", place.as_str()),
        ("MCP_INTERNAL_SIGNING_KEY_FILE", ours.private.as_str()),
        ("MCP_GATEWAY_ALLOW_DOCKER_SOCKET", "true"),
    ];
    let mut gateway = start(&binary("gateway"), folder.path(), &[], &env);
    let address = gateway
        .field_of_line("\"listener\":\"http\"", "address")
        .await;
    gateway
        .field_of_line("\"message\":\"ready\"", "program")
        .await;
    let ready = testkit::http::exchange(&address, "GET", "/readyz", &[], b"").await;
    assert_eq!(ready.status, 503, "{}", ready.text());
    let client = testkit::mcp::Client::new(&address, Era::Modern);
    let tool = json!({"name": "no.way", "description": "d", "code": "return 1"});
    let refused = client
        .call("dynamic.tool.create", json!({"tool": tool}))
        .await;
    assert_eq!(refused["isError"], true, "{refused}");
    gateway.stop().await;
    registry.stop().await;
}

#[tokio::test]
async fn the_effective_configuration_shows_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "an-admin-token-of-more-than-thirty-two-characters";
    let env = [("MCP_ADMIN_TOKEN", secret), ("MCP_PROFILE", "enterprise")];
    let ended = run("dynamic-mcp", folder.path(), &["--print-config"], &env).await;
    ended.assert(0, &[]);
    assert!(ended.out.contains("***"), "{}", ended.out);
    assert!(ended.out.contains("enterprise"), "{}", ended.out);
    assert!(!format!("{ended:?}").contains(secret));
    let (program, client) = serve(folder.path(), &env).await;
    let shown = client.call("system.runtime_config", json!({})).await;
    assert!(!shown.to_string().contains(secret), "{shown}");
    assert!(!program.log().join("\n").contains(secret));
    program.stop().await;
}

#[tokio::test]
async fn questions_are_answered_without_a_start() {
    let folder = tempfile::tempdir().unwrap();
    for program in PROGRAMS {
        let ended = run(program, folder.path(), &["--version"], &[]).await;
        ended.assert(0, &[]);
        let line = format!("{program} {}", env!("CARGO_PKG_VERSION"));
        assert!(ended.out.starts_with(&line), "{}", ended.out);
        let ended = run(program, folder.path(), &["--help"], &[]).await;
        ended.assert(0, &[]);
        assert!(ended.out.contains("--check-config"), "{}", ended.out);
    }
    let ended = run("dynamic-mcp", folder.path(), &["--check-config"], &[]).await;
    ended.assert(0, &[]);
    assert!(ended.out.contains("valid"), "{}", ended.out);
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "asking leaves nothing behind");
}

#[tokio::test]
async fn health_is_an_exit_code() {
    let deployment = Deployment::start(Kind::Three, &[]).await;
    let port = deployment.address.rsplit(':').next().unwrap();
    let keys = testkit::keys::write_pair(deployment.folder());
    let env = [
        ("MCP_PORT", port),
        ("MCP_INTERNAL_SIGNING_KEY_FILE", keys.private.as_str()),
        ("MCP_GATEWAY_ALLOW_DOCKER_SOCKET", "true"),
    ];
    let ended = run("gateway", deployment.folder(), &["health"], &env).await;
    ended.assert(0, &[]);
    let env = [("MCP_PORT", port)];
    let ended = run("dynamic-mcp", deployment.folder(), &["health"], &env).await;
    ended.assert(0, &[]);
    let port = port.to_owned();
    deployment.stop().await;
    let folder = tempfile::tempdir().unwrap();
    let env = [("MCP_PORT", port.as_str())];
    let ended = run("dynamic-mcp", folder.path(), &["health"], &env).await;
    ended.assert(1, &[&port]);
}
