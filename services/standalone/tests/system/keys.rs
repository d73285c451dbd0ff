//! API keys with real processes: made by the command, shown to gateways, rotated and revoked.

mod replicas;
mod store;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::http::Answer;
use testkit::mcp::{Client, Era};
use tokio::time::{Instant, sleep};

use crate::deployment::binary;

/// What a command came to.
struct Ran {
    code: Option<i32>,
    out: String,
    complaint: String,
}

/// Runs `dynamic-mcp keys WORDS` in a folder.
async fn keys(folder: &Path, words: &str, env: &[(&str, &str)]) -> Ran {
    let child = tokio::process::Command::new(binary("dynamic-mcp"))
        .arg("keys")
        .args(words.split_whitespace())
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(40), child);
    let output = output.await.expect("the command hangs").unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        complaint: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Ran {
    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.complaint);
        self
    }

    #[track_caller]
    fn json(self) -> Value {
        let out = self.ok().out;
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// The one key that was printed, which is all that is on standard output.
    #[track_caller]
    fn key(self) -> String {
        let ran = self.ok();
        let key = ran.out.strip_suffix('\n').unwrap();
        assert!(key.starts_with("dmcp_") && key.len() == 57, "{}", ran.out);
        assert!(!ran.complaint.contains(&key[14..]), "{}", ran.complaint);
        key.to_owned()
    }
}

fn prefix(key: &str) -> &str {
    &key[5..13]
}

/// A client that shows this key.
fn with(address: &str, key: &str) -> Client {
    let mut client = Client::new(address, Era::Modern);
    client
        .headers
        .push(("x-api-key".to_owned(), key.to_owned()));
    client
}

async fn ask(client: &Client) -> Answer {
    client.send("tools/list", json!({})).await
}

/// Waits until the client is answered with this status; gives back how long that took.
async fn until(client: &Client, status: u16, within: Duration) -> Duration {
    let began = Instant::now();
    loop {
        let answer = ask(client).await;
        if answer.status == status {
            return began.elapsed();
        }
        let waited = began.elapsed();
        assert!(waited < within, "{} after {waited:?}", answer.text());
        sleep(Duration::from_millis(20)).await;
    }
}

/// Asking again and again with a key that is not there yet, or no more, is what a limit on wrong
/// credentials is for; it is not the subject.
const UNLIMITED: (&str, &str) = ("MCP_AUTH_MAX_FAILURES_PER_MINUTE", "0");

/// The longest that a change may take to reach every gateway.
const EVERYWHERE: Duration = Duration::from_secs(5);
