//! Callers that go on calling while the executor dies, and what each of them was told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use testkit::mcp::Client;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Callers at once.
const CALLERS: usize = 8;

/// What came of one call.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) id: String,
    /// How often its code was seen to begin.
    pub(crate) begun: usize,
    /// Whether its result is its own.
    pub(crate) right: bool,
    /// Code, and whether it may have run.
    pub(crate) failure: Option<(String, bool)>,
}

/// Calls under way.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    callers: JoinSet<Vec<Told>>,
}

impl Load {
    pub(crate) fn start(client: &Client, round: usize, seed: u64) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let (client, over) = (client.clone(), Arc::clone(&over));
            let mut rng = Rng::with_seed(seed ^ caller as u64);
            callers.spawn(async move {
                let mut told = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let id = format!("{round}-{caller}-{}", told.len());
                    let one = call(&client, id, rng.u64(..120)).await;
                    // Who is told that nobody is there tries again soon, and not at once.
                    let pause = if one.failure.is_some() { 50 } else { 0 };
                    told.push(one);
                    sleep(Duration::from_millis(pause)).await;
                }
                told
            });
        }
        Self { over, callers }
    }

    /// Lets the calls under way end.
    pub(crate) async fn stop(self) -> Vec<Told> {
        self.over.store(true, Ordering::Relaxed);
        self.callers
            .join_all()
            .await
            .into_iter()
            .flatten()
            .collect()
    }
}

async fn call(client: &Client, id: String, millis: u64) -> Told {
    let code = format!(
        "await ctx.log('info', 'begun {id}'); await new Promise((done) => setTimeout(done, {millis})); return '{id}'"
    );
    let params =
        json!({"name": "run_js_ephemeral", "arguments": {"code": code, "timeoutMs": 20_000}});
    let meta = json!({"io.modelcontextprotocol/logLevel": "info"});
    let answer = client.send_with_meta("tools/call", params, meta).await;
    let messages = answer.messages();
    let marker = json!(format!("begun {id}"));
    let logs = messages
        .iter()
        .filter(|one| one["method"] == "notifications/message");
    let begun = logs.filter(|one| one["params"]["data"] == marker).count();
    let response = messages.last().cloned().unwrap_or_default();
    let result = &response["result"]["structuredContent"];
    assert!(result.is_object(), "{response}");
    let code = result["code"].as_str();
    Told {
        begun,
        right: result["result"] == json!(id),
        failure: code.map(|code| (code.to_owned(), result["mayHaveRun"] == Value::Bool(true))),
        id,
    }
}

/// The answer of a call that is tried until it works.
pub(crate) async fn served(client: &Client, limit: Duration) -> String {
    let end = Instant::now() + limit;
    loop {
        let one = call(client, "served".to_owned(), 0).await;
        if one.failure.is_none() {
            return one.id;
        }
        assert!(Instant::now() < end, "{one:?}");
        sleep(Duration::from_millis(50)).await;
    }
}
