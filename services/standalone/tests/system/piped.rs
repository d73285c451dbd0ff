//! `dynamic-mcp` as an MCP client starts it: a pipe in, a pipe out.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::deployment::binary;

const LIMIT: Duration = Duration::from_secs(30);

/// The program and its pipes; killed when dropped.
pub(crate) struct Piped {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Piped {
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        let log = folder.join("stderr.log");
        let mut child = Command::new(binary("dynamic-mcp"))
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            input,
            output,
            log,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        let line = format!("{message}\n");
        let input = self.input.as_mut().unwrap();
        input.write_all(line.as_bytes()).await.unwrap();
        input.flush().await.unwrap();
    }

    /// The next message; every line has to be one. `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        let line = timeout(LIMIT, self.output.next_line()).await.unwrap();
        let line = line.unwrap()?;
        let message: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("no MCP on stdout: {error}: {line}"));
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
        Some(message)
    }

    /// The answer to a request, notifications before it left out.
    pub(crate) async fn answer(&mut self, id: u64) -> Value {
        while let Some(message) = self.next().await {
            if message["id"] == json!(id) {
                return message;
            }
        }
        panic!("no answer to {id}");
    }

    pub(crate) async fn initialize(&mut self) {
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"}
        });
        self.send(&json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}))
            .await;
        let answer = self.answer(1).await;
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25");
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
    }

    pub(crate) async fn call(&mut self, id: u64, tool: &str, arguments: Value) {
        let params = json!({"name": tool, "arguments": arguments});
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}))
            .await;
    }

    /// Closes its input.
    pub(crate) fn close(&mut self) {
        self.input = None;
    }

    /// The lines of its log so far with this level.
    pub(crate) fn logged(&self, level: &str) -> Vec<Value> {
        let log = std::fs::read_to_string(&self.log).unwrap();
        let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
        lines
            .filter(|line: &Value| line["level"] == level)
            .collect()
    }

    /// Waits for its end and returns the exit code.
    pub(crate) async fn ended(&mut self, limit: Duration) -> Option<i32> {
        let status = timeout(limit, self.child.wait()).await;
        status.expect("it has not ended in time").unwrap().code()
    }
}
