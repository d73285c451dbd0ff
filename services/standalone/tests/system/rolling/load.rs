//! Clients that work all the time and remember every failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use testkit::mcp::{Client, Era};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::rig::Rig;
use crate::faults::make;

/// Clients that call.
const CALLERS: usize = 6;
/// Clients that change tools.
const WRITERS: usize = 2;
/// Pause of a client between two requests.
const PAUSE: Duration = Duration::from_millis(25);
/// How long a restart may keep everybody waiting.
const STALLED: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Seen {
    answered: AtomicU64,
    lists: AtomicU64,
    calls: AtomicU64,
    long_calls: AtomicU64,
    writes: AtomicU64,
    subscriptions: AtomicU64,
    stop: AtomicBool,
    failures: Mutex<Vec<String>>,
    slowest: Mutex<Duration>,
}

/// What was done, and nothing of it failed.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) lists: u64,
    pub(crate) calls: u64,
    pub(crate) long_calls: u64,
    pub(crate) writes: u64,
    pub(crate) subscriptions: u64,
    pub(crate) slowest: Duration,
    /// The tools of the writers, and the revision that each was told last.
    pub(crate) revisions: Vec<(String, u64)>,
}

pub(crate) struct Load {
    seen: Arc<Seen>,
    clients: JoinSet<Option<(String, u64)>>,
}

impl Load {
    pub(crate) async fn start(rig: &Rig) -> Self {
        let first = rig.client(Era::Modern);
        make(&first, "adds.tool", "return args.a + args.b").await;
        make(
            &first,
            "waits.tool",
            "await new Promise(done => setTimeout(done, 600)); return 'waited'",
        )
        .await;
        // Whoever did not answer the creation knows of it a moment later.
        for n in 0..2 {
            let gateway = Client::new(&format!("127.0.0.1:{}", rig.gateway_port(n)), Era::Modern);
            let end = Instant::now() + STALLED;
            while !gateway.names().await.contains(&"waits.tool".to_owned()) {
                assert!(
                    Instant::now() < end,
                    "gateway {n} never hears of a new tool"
                );
                sleep(PAUSE).await;
            }
        }
        let seen = Arc::new(Seen::default());
        let mut clients = JoinSet::new();
        for n in 0..CALLERS {
            let era = if n % 2 == 0 { Era::Modern } else { Era::Legacy };
            clients.spawn(caller(rig.client(era), Arc::clone(&seen), n));
        }
        for n in 0..WRITERS {
            let client = rig.client(Era::Modern);
            let name = format!("writer.{n}");
            make(&client, &name, "return 0").await;
            clients.spawn(writer(client, Arc::clone(&seen), name));
        }
        clients.spawn(listener(rig.client(Era::Modern), Arc::clone(&seen)));
        Self { seen, clients }
    }

    pub(crate) fn answered(&self) -> u64 {
        self.seen.answered.load(Ordering::Relaxed)
    }

    /// Waits until everybody has been answered again.
    pub(crate) async fn wait_for_more(&self, before: u64) {
        let end = Instant::now() + STALLED;
        while self.answered() < before + 2 * (CALLERS + WRITERS) as u64 {
            assert!(Instant::now() < end, "nobody is answered any more");
            sleep(Duration::from_millis(20)).await;
        }
    }

    #[track_caller]
    pub(crate) fn assert_clean(&self, when: &str, rig: &Rig) {
        let failures = self.seen.failures.lock();
        assert!(
            failures.is_empty(),
            "{when}: {} of {} requests failed:\n{}\n{}",
            failures.len(),
            self.answered(),
            failures
                .iter()
                .take(10)
                .cloned()
                .collect::<Vec<_>>()
                .join("\n"),
            rig.complaints()
        );
    }

    pub(crate) async fn stop(mut self, rig: &Rig) -> Tally {
        self.seen.stop.store(true, Ordering::Relaxed);
        let mut revisions = Vec::new();
        // The subscription has no end of its own.
        while self.clients.len() > 1 {
            revisions.extend(self.clients.join_next().await.unwrap().unwrap());
        }
        self.clients.abort_all();
        self.assert_clean("at the end", rig);
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Tally {
            lists: count(&self.seen.lists),
            calls: count(&self.seen.calls),
            long_calls: count(&self.seen.long_calls),
            writes: count(&self.seen.writes),
            subscriptions: count(&self.seen.subscriptions),
            slowest: *self.seen.slowest.lock(),
            revisions,
        }
    }
}

impl Seen {
    /// Sends one request; what is no whole good answer is a failure.
    async fn ask(&self, client: &Client, method: &str, params: Value) -> Option<Value> {
        let begun = Instant::now();
        let answer = client.attempt(method, params.clone(), json!({})).await;
        let took = begun.elapsed();
        let result = match answer {
            Err(error) => Err(format!("no answer: {error}")),
            Ok(answer) if answer.status != 200 => {
                Err(format!("{}: {}", answer.status, answer.text()))
            }
            Ok(answer) => match answer.messages().pop() {
                Some(mut last)
                    if last["result"].is_object() && last["result"]["isError"] != json!(true) =>
                {
                    Ok(last["result"].take())
                }
                last => Err(format!("{last:?}")),
            },
        };
        self.answered.fetch_add(1, Ordering::Relaxed);
        let mut slowest = self.slowest.lock();
        *slowest = took.max(*slowest);
        drop(slowest);
        result
            .map_err(|why| {
                let at = jiff::Timestamp::now();
                let line = format!("{at} {method} {params} after {took:?}: {why}");
                self.failures.lock().push(line);
            })
            .ok()
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

async fn caller(client: Client, seen: Arc<Seen>, n: usize) -> Option<(String, u64)> {
    let mut turn = n;
    while seen.goes_on() {
        turn += 1;
        match turn % 8 {
            0 => {
                seen.ask(&client, "tools/list", json!({})).await;
                seen.lists.fetch_add(1, Ordering::Relaxed);
            }
            1 => {
                let call = json!({"name": "waits.tool", "arguments": {"args": {}}});
                seen.ask(&client, "tools/call", call).await;
                seen.long_calls.fetch_add(1, Ordering::Relaxed);
            }
            _ => {
                let args = json!({"args": {"a": turn, "b": 1}});
                let call = json!({"name": "adds.tool", "arguments": args});
                let result = seen.ask(&client, "tools/call", call).await;
                let sum = result.map(|result| result["structuredContent"]["result"].clone());
                if sum.as_ref().is_some_and(|sum| *sum != json!(turn + 1)) {
                    seen.failures.lock().push(format!("{turn} + 1 = {sum:?}"));
                }
                seen.calls.fetch_add(1, Ordering::Relaxed);
            }
        }
        sleep(PAUSE).await;
    }
    None
}

/// Every change has to be answered with the next revision: none is lost and none is done twice.
async fn writer(client: Client, seen: Arc<Seen>, name: String) -> Option<(String, u64)> {
    let mut revision = 1;
    while seen.goes_on() {
        let patch = json!({"description": format!("Number {revision}.")});
        let arguments = json!({"name": name, "patch": patch, "expectedRevision": revision});
        let call = json!({"name": "dynamic.tool.update", "arguments": arguments});
        if let Some(result) = seen.ask(&client, "tools/call", call).await {
            revision += 1;
            let told = &result["structuredContent"]["tool"]["revision"];
            if *told != json!(revision) {
                seen.failures
                    .lock()
                    .push(format!("{name}: {told} instead of {revision}"));
            }
            seen.writes.fetch_add(1, Ordering::Relaxed);
        }
        sleep(4 * PAUSE).await;
    }
    Some((name, revision))
}

/// A subscription that is opened again whenever it ends, and that has to end with its result.
async fn listener(client: Client, seen: Arc<Seen>) -> Option<(String, u64)> {
    while seen.goes_on() {
        let wanted = json!({"notifications": {"toolsListChanged": true}});
        let ended = client
            .attempt("subscriptions/listen", wanted, json!({}))
            .await;
        let problem = match &ended {
            Err(error) => Some(format!("no answer: {error}")),
            Ok(answer) if answer.status != 200 => Some(answer.text()),
            Ok(answer) => match answer.messages().last() {
                Some(last) if last["result"].is_object() => None,
                last => Some(format!("ends with {last:?}")),
            },
        };
        if let Some(problem) = problem {
            seen.failures
                .lock()
                .push(format!("subscription: {problem}"));
        }
        seen.subscriptions.fetch_add(1, Ordering::Relaxed);
    }
    None
}
