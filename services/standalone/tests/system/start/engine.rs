//! `MCP_EXECUTION_ENGINE=auto`: Docker where it can be used, else the isolate engine, and it is said
//! at the start, in `/health` and with every result.

use serde_json::{Value, json};

use super::serve;
use crate::deployment::IMAGE;

const CODE: &str = "return typeof process";

/// Starts with `auto` and these; the engine that runs, why, and what its code finds.
async fn found(env: &[(&str, &str)]) -> (String, String, Value) {
    let folder = tempfile::tempdir().unwrap();
    let env = [&[("MCP_EXECUTION_ENGINE", "auto")], env].concat();
    let (mut program, client) = serve(folder.path(), &env).await;
    let said = program.field_of_line("tools run in", "engine").await;
    let health = testkit::http::exchange(&client.address, "GET", "/health", &[], b"").await;
    let executor = &health.json()["checks"]["executor"];
    assert_eq!(executor["engine"], *said, "{executor}");
    let why = executor["why"].as_str().unwrap_or_default().to_owned();
    let result = client.call("run_js_ephemeral", json!({"code": CODE})).await;
    assert_eq!(result["_meta"]["dynamic-mcp/engine"], *said, "{result}");
    program.stop().await;
    (said, why, result["structuredContent"]["result"].clone())
}

#[tokio::test]
async fn auto_takes_docker_where_an_allowed_image_is_there() {
    testkit::docker::daemon();
    let (engine, why, finds) = found(&[("MCP_SANDBOX_ALLOWED_IMAGES", IMAGE)]).await;
    assert_eq!((&*engine, finds), ("docker", json!("object")), "{why}");
}

#[tokio::test]
async fn auto_goes_without_docker_where_it_cannot_be_used() {
    testkit::docker::daemon();
    for (name, value, reason) in [
        (
            "DOCKER_HOST",
            "unix:///nowhere/docker.sock",
            "/nowhere/docker.sock",
        ),
        ("DOCKER_HOST", "tcp://127.0.0.1:9", "127.0.0.1:9"),
        // A registry on a port where nobody listens.
        (
            "MCP_SANDBOX_ALLOWED_IMAGES",
            "127.0.0.1:9/none:1",
            "127.0.0.1:9/none:1",
        ),
        ("MCP_SANDBOX_RUNTIME", "no-such-runtime", "no-such-runtime"),
    ] {
        let (engine, why, finds) = found(&[(name, value)]).await;
        assert_eq!((&*engine, finds), ("isolate", json!("undefined")), "{why}");
        assert!(why.contains(reason), "{name}={value}: {why}");
    }
}
