//! MCP over pipes.

use std::sync::Arc;
use std::time::Duration;

use gateway::http::anonymous;
use gateway::stdio::{StdioSettings, serve_pipes};
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, ReadHalf, WriteHalf,
};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::fake::Fake;
use super::rig::with_meta;

struct Client {
    fake: Arc<Fake>,
    input: Option<WriteHalf<DuplexStream>>,
    output: tokio::io::Lines<BufReader<ReadHalf<DuplexStream>>>,
    task: JoinHandle<std::io::Result<()>>,
    stop: CancellationToken,
}

fn start() -> Client {
    let fake = Fake::new();
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let (input, output) = tokio::io::split(theirs);
    let settings = StdioSettings {
        principal: anonymous(false),
        request_timeout: Duration::from_secs(60),
    };
    let stop = CancellationToken::new();
    let operations = Arc::<Fake>::clone(&fake);
    let task = tokio::task::spawn_local(serve_pipes(
        input,
        output,
        operations,
        settings,
        stop.clone(),
    ));
    let (read, write) = tokio::io::split(ours);
    Client {
        fake,
        input: Some(write),
        output: BufReader::new(read).lines(),
        task,
        stop,
    }
}

impl Client {
    async fn say(&mut self, message: Value) {
        let line = format!("{message}\n");
        self.input
            .as_mut()
            .unwrap()
            .write_all(line.as_bytes())
            .await
            .unwrap();
    }

    async fn hear(&mut self) -> Value {
        let line = timeout(Duration::from_secs(5), self.output.next_line())
            .await
            .unwrap()
            .unwrap();
        serde_json::from_str(&line.unwrap()).unwrap()
    }

    async fn ask(&mut self, id: i64, method: &str, params: Value) -> Value {
        self.say(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .await;
        let answer = self.hear().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    async fn initialize(&mut self) {
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        });
        let answer = self.ask(1, "initialize", params).await;
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25");
        assert_eq!(
            answer["result"]["capabilities"]["tools"]["listChanged"],
            true
        );
        self.say(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
    }
}

async fn local<F: Future>(work: F) -> F::Output {
    tokio::task::LocalSet::new().run_until(work).await
}

#[tokio::test]
async fn the_older_versions_with_progress_logs_and_changes() {
    local(async {
        let mut client = start();
        client.initialize().await;
        let tools = client.ask(2, "tools/list", json!({})).await;
        assert_eq!(tools["result"]["tools"][0]["name"], "echo");
        let echoed = client
            .ask(
                3,
                "tools/call",
                json!({"name": "echo", "arguments": {"a": "ü"}}),
            )
            .await;
        assert_eq!(echoed["result"]["structuredContent"], json!({"a": "ü"}));
        assert_eq!(
            client.ask(4, "tools/call", json!({"name": "no"})).await["error"]["code"],
            -32602
        );
        assert_eq!(
            client.ask(5, "no/such", json!({})).await["error"]["code"],
            -32601
        );
        assert_eq!(
            client.ask(6, "resources/read", json!({})).await["error"]["code"],
            -32602
        );

        let params = json!({"name": "notes", "_meta": {"progressToken": "p"}});
        client
            .say(json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}))
            .await;
        let mut methods = Vec::new();
        let last = loop {
            let message = client.hear().await;
            match message["method"].as_str() {
                Some(method) => methods.push(method.to_owned()),
                None => break message,
            }
        };
        assert_eq!(last["result"]["content"][0]["text"], "done");
        let step = [
            "notifications/message",
            "notifications/message",
            "notifications/progress",
        ];
        assert_eq!(methods, step.repeat(3));

        client.fake.change();
        assert_eq!(
            client.hear().await["method"],
            "notifications/tools/list_changed"
        );
    })
    .await;
}

#[tokio::test]
async fn the_stateless_era_needs_no_handshake() {
    local(async {
        let mut client = start();
        let found = client.ask(1, "server/discover", with_meta(json!({}))).await;
        assert!(
            found["result"]["supportedVersions"]
                .as_array()
                .unwrap()
                .len()
                == 4,
            "{found}"
        );
        let called = client
            .ask(2, "tools/call", with_meta(json!({"name": "echo"})))
            .await;
        assert_eq!(called["result"]["resultType"], "complete");
        let listen = with_meta(json!({"notifications": {"toolsListChanged": true}}));
        let acknowledged = client.say(json!({
            "jsonrpc": "2.0", "id": 3, "method": "subscriptions/listen", "params": listen,
        }));
        acknowledged.await;
        let first = client.hear().await;
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        sleep(Duration::from_millis(20)).await;
        client.fake.change();
        assert_eq!(
            client.hear().await["method"],
            "notifications/tools/list_changed"
        );
    })
    .await;
}

#[tokio::test]
async fn a_call_is_cancelled_by_its_notification() {
    local(async {
        let mut client = start();
        client.initialize().await;
        let hang =
            json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "hang"}});
        client.say(hang).await;
        running(&client.fake, 1).await;
        let params = json!({"requestId": 2, "reason": "enough"});
        client
            .say(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}))
            .await;
        running(&client.fake, 0).await;
        assert_eq!(client.ask(3, "ping", json!({})).await["result"], json!({}));
    })
    .await;
}

/// Calls in flight get a few seconds to answer, then they are cancelled.
#[tokio::test(start_paused = true)]
async fn the_end_of_input_ends_the_process_and_its_calls() {
    local(async {
        let mut client = start();
        client.initialize().await;
        let hang =
            json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "hang"}});
        client.say(hang).await;
        running(&client.fake, 1).await;
        client.input.take().unwrap().shutdown().await.unwrap();
        timeout(Duration::from_secs(6), client.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        running(&client.fake, 0).await;

        let mut silent = start();
        silent.input.take().unwrap().shutdown().await.unwrap();
        timeout(Duration::from_secs(5), silent.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();

        let stopped = start();
        stopped.stop.cancel();
        timeout(Duration::from_secs(5), stopped.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_was_asked_before_the_end_of_input_is_answered() {
    local(async {
        let mut client = start();
        client.initialize().await;
        let params = json!({"name": "notes", "_meta": {"progressToken": 1}});
        client
            .say(json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}))
            .await;
        client.input.take().unwrap().shutdown().await.unwrap();
        let mut messages = 0;
        while client.hear().await["id"] != 2 {
            messages += 1;
        }
        assert_eq!(messages, 9);
        timeout(Duration::from_secs(2), client.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_subscription_does_not_delay_the_end() {
    local(async {
        let mut client = start();
        let listen = with_meta(json!({"notifications": {"toolsListChanged": true}}));
        let method = "subscriptions/listen";
        client
            .say(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": listen}))
            .await;
        client.hear().await;
        client.input.take().unwrap().shutdown().await.unwrap();
        assert_eq!(client.hear().await["id"], 1);
        timeout(Duration::from_secs(2), client.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    })
    .await;
}

/// How a client that opened no session ends: by leaving before it was answered, or by a message that is
/// none of MCP, of which nothing is repeated.
#[tokio::test]
async fn a_client_that_opens_no_session_is_told_from_one_that_left() {
    local(async {
        let mut gone = start();
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        });
        gone.say(json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}))
            .await;
        drop((gone.input, gone.output));
        let ended = timeout(Duration::from_secs(5), gone.task).await;
        ended.unwrap().unwrap().unwrap();

        let mut other = start();
        other
            .say(json!({"jsonrpc": "2.0", "method": "notifications/secret"}))
            .await;
        let ended = timeout(Duration::from_secs(5), other.task).await;
        let error = ended.unwrap().unwrap().unwrap_err().to_string();
        assert!(
            error.contains("no session") && !error.contains("secret"),
            "{error}"
        );
    })
    .await;
}

async fn running(fake: &Fake, count: usize) {
    let reached = async {
        while fake.running() != count {
            sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(
        timeout(Duration::from_secs(5), reached).await.is_ok(),
        "never {count} calls"
    );
}
