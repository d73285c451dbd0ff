//! Sandbox sessions through MCP, on real containers: in one process and in three.

mod cancel;
mod ends;
mod lives;
mod project;

use serde_json::{Value, json};
use testkit::docker::{IMAGE, PYTHON_IMAGE, daemon};
use testkit::mcp::{Client, Era};

use crate::deployment::{Deployment, Kind};
use crate::packages;

/// A deployment with sessions on the shared daemon, and a client of it.
pub(crate) async fn serve(kind: Kind, more: &[(&str, &str)]) -> (Deployment, Client) {
    let docker = daemon();
    let images = format!("{IMAGE},{PYTHON_IMAGE}");
    let trusted = packages::trusted();
    let mut env = vec![
        ("MCP_PROFILE", "enterprise"),
        ("MCP_EXECUTION_ENGINE", "docker"),
        ("MCP_SANDBOX_ALLOWED_IMAGES", images.as_str()),
        ("MCP_SANDBOX_POOL_SIZE", "1"),
        ("MCP_TOOL_MAX_CONCURRENCY", "64"),
        ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "100000"),
    ];
    env.extend(docker.host().map(|host| ("DOCKER_HOST", host)));
    env.extend(trusted.iter().map(|(name, file)| (*name, file.as_str())));
    env.extend(more);
    let deployment = Deployment::start(kind, &env).await;
    let client = deployment.client(Era::Modern);
    (deployment, client)
}

/// Ends a deployment, and removes the packages that it has installed: they are kept for its next start,
/// and there is none.
pub(crate) async fn end(deployment: Deployment) {
    let folder = deployment.folder().to_owned();
    deployment.stop().await;
    packages::remove(&folder).await;
}

/// One session, as its user sees it.
pub(crate) struct User<'a> {
    pub(crate) client: &'a Client,
    pub(crate) id: String,
}

impl<'a> User<'a> {
    pub(crate) async fn new(client: &'a Client, asked: Value) -> Self {
        let ready = client.ok("sandbox.initialize", asked).await;
        let id = ready["sessionId"].as_str().unwrap().to_owned();
        Self { client, id }
    }

    pub(crate) fn with(&self, more: Value) -> Value {
        let mut arguments = json!({ "sessionId": self.id });
        for (key, value) in more.as_object().unwrap() {
            arguments[key] = value.clone();
        }
        arguments
    }

    /// The result of a tool of sessions, which has to succeed.
    pub(crate) async fn ok(&self, tool: &str, more: Value) -> Value {
        self.client.ok(tool, self.with(more)).await
    }

    /// The whole answer.
    pub(crate) async fn call(&self, tool: &str, more: Value) -> Value {
        self.client.call(tool, self.with(more)).await
    }

    /// One command: exit code, stdout, stderr.
    pub(crate) async fn sh(&self, command: &str) -> (i64, String, String) {
        let ran = self
            .ok("sandbox.exec", json!({ "commands": [command] }))
            .await;
        let result = &ran["results"][0];
        let text = |name: &str| result[name].as_str().unwrap().to_owned();
        (
            result["exitCode"].as_i64().unwrap(),
            text("stdout"),
            text("stderr"),
        )
    }

    pub(crate) async fn write(&self, path: &str, content: &str) {
        let file = json!({"path": path, "content": content});
        self.ok("sandbox.files.write", file).await;
    }
}
