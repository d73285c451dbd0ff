//! The Compose stack as an operator runs it: with docker-compose, from the images that `.ci/images` makes.

mod filter;
mod stack;

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::docker::IMAGE;
use testkit::mcp::{Client, Era};
use tokio::time::Instant;

use self::stack::{Stack, docker, said};
use crate::deployment::binary;

const GATEWAY: &str = "dynamic-mcp-gateway:0.5.0";
const OURS: [&str; 4] = [
    GATEWAY,
    "dynamic-mcp-registry:0.5.0",
    "dynamic-mcp-executor:0.5.0",
    "dynamic-mcp:0.5.0",
];

/// One stack for all of it: a start is what costs.
#[tokio::test(flavor = "multi_thread")]
async fn the_stack_serves_through_nginx_and_goes_on_without_a_gateway() {
    let stack = Stack::up();
    let front = format!("127.0.0.1:{}", stack.port);
    let nobody = Client::new(&front, Era::Modern);
    let answer = nobody.send("tools/list", json!({})).await;
    assert_eq!(answer.status, 401);

    let key = stack.run(&[
        "run", "--rm", "-T", "keys", "create", "--name", "test", "--role", "admin",
    ]);
    let mut caller = Client::new(&front, Era::Modern);
    let bearer = format!("Bearer {}", key.trim());
    caller.headers.push(("authorization".to_owned(), bearer));
    let tool = json!({"name": "add.two", "description": "Adds", "image": IMAGE, "code": "return args.a + args.b"});
    known(&caller).await;
    caller
        .ok("dynamic.tool.create", json!({"tool": tool}))
        .await;
    let sum = json!({"args": {"a": 2, "b": 40}});
    listed(&caller, "add.two").await;
    assert_eq!(caller.ok("add.two", sum.clone()).await["result"], 42);

    // Both gateways have it, and a call finds whichever lives.
    docker(&["kill", &stack.container("gateway-1")]);
    for round in 0..20 {
        let begun = Instant::now();
        assert_eq!(
            caller.ok("add.two", sum.clone()).await["result"],
            42,
            "call {round}"
        );
        assert!(begun.elapsed() < Duration::from_secs(10), "call {round}");
    }

    for path in ["/metrics", "/health"] {
        let answer = testkit::http::exchange(&front, "GET", path, &[], b"").await;
        assert_eq!(answer.status, 404, "{path} is not for everybody");
    }
    let ops = format!("127.0.0.1:{}", stack.ops);
    let health = testkit::http::exchange(&ops, "GET", "/gateway-2/health", &[], b"").await;
    let health = health.json();
    assert_eq!(health["version"], bootstrap::VERSION, "{health}");
    assert_eq!(health["checks"]["executors"]["usable"], 2, "{health}");

    for service in ["registry", "gateway-2", "executor-1", "executor-2"] {
        let log = docker(&["logs", &stack.container(service)]);
        assert!(!log.contains("unknown and ignored"), "{service}: {log}");
    }
    filter::lets_through_sandboxes_and_nothing_else(&stack);
    filter::is_seen_by_the_doctor(&stack);
    walls_of_the_containers(&stack);
    no_secret_is_a_default(&stack);
}

#[test]
fn compose_an_example_of_settings_is_taken_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(
        stack::top().join(".env.example"),
        folder.path().join(".env"),
    )
    .unwrap();
    let mut check = Command::new(binary("dynamic-mcp"));
    let output = check
        .arg("--check-config")
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(
        output.status.success() && !said(&output).contains("warning"),
        "{}",
        said(&output)
    );
}

/// A key is known everywhere within seconds of being made.
async fn known(caller: &Client) {
    everywhere("the key is not taken", async || {
        caller.send("tools/list", json!({})).await.status == 200
    })
    .await;
}

/// A tool is visible at once where it was made, and soon after at the other gateway.
async fn listed(caller: &Client, name: &str) {
    everywhere("the tool is not listed", async || {
        caller.names().await.iter().any(|listed| listed == name)
    })
    .await;
}

/// Both gateways say so: requests go to them in turn.
async fn everywhere(otherwise: &str, holds: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    let mut in_a_row = 0;
    while in_a_row < 6 {
        in_a_row = if holds().await { in_a_row + 1 } else { 0 };
        assert!(begun.elapsed() < Duration::from_secs(20), "{otherwise}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Nothing has what it does not need: see threats 106 and 111.
fn walls_of_the_containers(stack: &Stack) {
    for service in [
        "registry",
        "gateway-1",
        "gateway-2",
        "executor-1",
        "executor-2",
        "dynamic-mcp",
    ] {
        let about = docker(&["container", "inspect", &stack.container(service)]);
        let about: Value = serde_json::from_str(&about).unwrap();
        let (config, host) = (&about[0]["Config"], &about[0]["HostConfig"]);
        let user = if service == "dynamic-mcp" {
            "101:101"
        } else {
            "10001:10001"
        };
        assert_eq!(config["User"], user, "{service}");
        assert_eq!(host["ReadonlyRootfs"], true, "{service}");
        assert_eq!(host["CapDrop"], json!(["ALL"]), "{service}");
        assert!(host["CapAdd"].is_null(), "{service}");
        assert_eq!(host["Privileged"], false, "{service}");
        assert_eq!(
            host["SecurityOpt"],
            json!(["no-new-privileges:true"]),
            "{service}"
        );
        let text = about.to_string();
        assert!(
            !text.contains("docker.sock"),
            "{service} has the Docker socket"
        );
        if service.starts_with("gateway") {
            for secret in [
                "DOCKER_HOST",
                "PG_URL",
                "postgres://",
                "POSTGRES",
                "secrets-registry",
                "secrets-executor",
            ] {
                assert!(!text.contains(secret), "{service} has {secret}");
            }
        }
    }
    for image in OURS {
        let config = docker(&["image", "inspect", "--format", "{{json .Config}}", image]);
        let config: Value = serde_json::from_str(&config).unwrap();
        assert_eq!(config["User"], "10001:10001", "{image}");
        assert!(
            config["Healthcheck"]["Test"][1]
                .as_str()
                .unwrap()
                .starts_with("/usr/local/bin/"),
            "{image}"
        );
        assert_eq!(
            config["Labels"]["org.opencontainers.image.version"],
            bootstrap::VERSION
        );
        let base = config["Labels"]["org.opencontainers.image.base.name"]
            .as_str()
            .unwrap();
        assert!(
            !base.ends_with(":1") && !base.ends_with(":latest"),
            "{image} stands on {base}, which can be moved"
        );
        let shell = [
            "run",
            "--rm",
            "--entrypoint",
            "/bin/sh",
            image,
            "-c",
            "true",
        ];
        let shell = Command::new("docker").args(shell).output().unwrap();
        assert!(!shell.status.success(), "{image} has a shell");
    }
}

/// What the file and the containers' variables say holds no password.
fn no_secret_is_a_default(stack: &Stack) {
    let config = stack.run(&["config"]);
    assert!(!config.contains("change-me") && !config.contains("changeme"));
    let made = stack.secret("gateway-2", "/secrets/admin-token");
    assert_eq!(made.len(), 43, "256 bits");
    let url = stack.secret("registry", "/secrets/postgres-url");
    let password = url.split([':', '@']).nth(2).unwrap().to_owned();
    assert_eq!(password.len(), 43, "256 bits");
    for service in [
        "postgres",
        "registry",
        "gateway-1",
        "gateway-2",
        "executor-1",
    ] {
        let about = docker(&["container", "inspect", &stack.container(service)]);
        assert!(
            !about.contains(&password) && !about.contains(&made),
            "{service} shows a secret"
        );
    }
}

#[test]
fn compose_a_volume_that_the_node_image_wrote_as_root_is_told_with_the_chown() {
    let volume = stack::Volume::new();
    let mount = format!("{}:/data", volume.0);
    let node = "mkdir -p /data && echo '{}' >/data/audit.log";
    docker(&[
        "run", "--rm", "--user", "0", "--volume", &mount, IMAGE, "sh", "-c", node,
    ]);
    let check = [
        "run",
        "--rm",
        "--volume",
        &mount,
        "--env",
        "MCP_AUDIT_ENABLED=true",
        "--env",
        "MCP_AUTH_MODE=apikey",
        "--env",
        "MCP_HTTP_MAX_IN_FLIGHT=10",
        GATEWAY,
        "--check-config",
    ];
    let output = Command::new("docker").args(check).output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(78), "{text}");
    for wanted in [
        "MCP_AUDIT_FILE",
        "/data/audit.log belongs to user 0",
        "chown -R 10001:10001 /data",
    ] {
        assert!(text.contains(wanted), "{text}");
    }
    docker(&[
        "run",
        "--rm",
        "--user",
        "0",
        "--volume",
        &mount,
        IMAGE,
        "chown",
        "-R",
        "10001:10001",
        "/data",
    ]);
    let output = Command::new("docker").args(check).output().unwrap();
    assert!(
        !said(&output).contains("MCP_AUDIT_FILE"),
        "{}",
        said(&output)
    );
}
