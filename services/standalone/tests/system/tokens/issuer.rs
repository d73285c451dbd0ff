//! The issuer of `tests/clients/issuer`, as a process.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use testkit::http::exchange;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The endpoint that the tokens are for.
pub(crate) const RESOURCE: &str = "https://tools.example/mcp";

/// A running issuer; it ends when this is dropped.
pub(crate) struct Issuer {
    /// Its name and address.
    pub(crate) url: String,
    process: Child,
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/issuer");
        assert!(
            folder.join("node_modules/oidc-provider").exists(),
            "the issuer is not installed; run: services/standalone/tests/clients/setup.sh"
        );
        let mut process = Command::new("node")
            .arg(folder.join("issuer.mjs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = timeout(Duration::from_secs(20), said.next_line()).await;
        let line = line.expect("the issuer says where it is").unwrap().unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        let url = line["issuer"].as_str().unwrap().to_owned();
        Self { url, process }
    }

    /// A token of this caller for our endpoint.
    pub(crate) async fn token(&self, caller: &str, scope: &str) -> String {
        let endpoint = format!("{}/token", self.url);
        self.ask(&endpoint, caller, scope, RESOURCE).await
    }

    /// A token from this endpoint, for any resource.
    pub(super) async fn ask(
        &self,
        endpoint: &str,
        caller: &str,
        scope: &str,
        resource: &str,
    ) -> String {
        let form = format!(
            "grant_type=client_credentials&client_id={caller}&client_secret=secret&scope={}&resource={}",
            scope.replace(' ', "+"),
            resource.replace(':', "%3A").replace('/', "%2F"),
        );
        let (address, path) = split(endpoint);
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        let answer = exchange(address, "POST", path, &kind, form.as_bytes()).await;
        let answer = answer.json();
        let token = answer["access_token"].as_str();
        token
            .unwrap_or_else(|| panic!("{caller}: {answer}"))
            .to_owned()
    }

    /// What the issuer's own metadata name.
    pub(super) async fn token_endpoint(&self, issuer: &str) -> String {
        let (address, _) = split(issuer);
        let path = "/.well-known/oauth-authorization-server";
        let metadata = exchange(address, "GET", path, &[], b"").await.json();
        assert_eq!(metadata["issuer"], issuer);
        metadata["token_endpoint"].as_str().unwrap().to_owned()
    }

    /// Replaces all keys.
    pub(super) async fn rotate(&self) {
        let (address, _) = split(&self.url);
        let answer = exchange(address, "POST", "/test/rotate", &[], b"").await;
        assert_eq!(answer.status, 200);
    }

    /// How often its keys were asked for.
    pub(super) async fn fetches(&self) -> u64 {
        let (address, _) = split(&self.url);
        let answer = exchange(address, "GET", "/test/fetches", &[], b"").await;
        answer.json()["fetches"].as_u64().unwrap()
    }

    /// Ends it.
    pub(super) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }
}

/// `host:port` and path of a URL.
fn split(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("http://").unwrap();
    let at = rest.find('/').unwrap_or(rest.len());
    (&rest[..at], &rest[at..])
}
