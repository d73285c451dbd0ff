//! When an answer becomes an event stream, what is on it, and how it ends.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::rig::{Answer, BOTH, Pieces, Rig, legacy, modern, settings};

/// `notes` of the fake, asked for progress and for logs from a level on.
fn notes(level: Option<&str>, token: Option<Value>) -> Value {
    let mut meta = json!({});
    if let Some(level) = level {
        meta["io.modelcontextprotocol/logLevel"] = json!(level);
    }
    if let Some(token) = token {
        meta["progressToken"] = token;
    }
    json!({"name": "notes", "_meta": meta})
}

#[tokio::test]
async fn notifications_come_in_order_before_the_result() {
    for fast in BOTH {
        let rig = Rig::new(fast);
        for token in [json!("tok\"en"), json!(42)] {
            let answer = rig
                .modern("tools/call", notes(Some("error"), Some(token.clone())))
                .await;
            assert_eq!(answer.header("content-type"), "text/event-stream");
            assert_eq!(answer.header("x-accel-buffering"), "no");
            assert_eq!(answer.header("cache-control"), "no-store");
            let text = String::from_utf8(answer.body.to_vec()).unwrap();
            assert!(
                !text.contains("\nid:") && !text.starts_with("id:"),
                "{text}"
            );
            let events = answer.events();
            let (last, notes) = events.split_last().unwrap();
            assert_eq!(last["id"], 7);
            assert_eq!(last["result"]["content"][0]["text"], "done");
            assert_eq!(notes.len(), 6);
            for (step, pair) in (1..).zip(notes.chunks(2)) {
                assert_eq!(pair[0]["method"], "notifications/message");
                assert_eq!(pair[0]["params"]["level"], "error");
                assert_eq!(pair[0]["params"]["logger"], "notes");
                assert_eq!(pair[0]["params"]["data"], json!({ "step": step }));
                assert_eq!(pair[1]["method"], "notifications/progress");
                assert_eq!(pair[1]["params"]["progressToken"], token);
                assert_eq!(
                    pair[1]["params"]["progress"].as_f64(),
                    Some(f64::from(step))
                );
                assert_eq!(pair[1]["params"]["total"].as_f64(), Some(3.0));
                assert_eq!(pair[1]["params"]["message"], "half\nway");
            }
        }
    }
}

#[tokio::test]
async fn nobody_gets_notifications_that_they_did_not_ask_for() {
    for fast in BOTH {
        let rig = Rig::new(fast);
        let plain = rig.modern("tools/call", notes(None, None)).await;
        assert_eq!(plain.header("content-type"), "application/json");
        let all = rig.modern("tools/call", notes(Some("debug"), None)).await;
        assert_eq!(all.events().len(), 10);
        // Before the stateless era a level cannot be remembered: info and above, for everybody.
        let older = rig.legacy("tools/call", json!({"name": "notes"})).await;
        let levels: Vec<_> = older
            .events()
            .iter()
            .map(|event| event["params"]["level"].clone())
            .collect();
        assert_eq!(levels[..2], [json!("info"), json!("error")]);
        assert_eq!(levels.len(), 7);
        let older = legacy(
            "tools/call",
            json!({"name": "notes", "_meta": {"progressToken": 1}}),
        );
        assert_eq!(rig.answer(older).await.events().len(), 10);
    }
}

#[tokio::test]
async fn fault_69_what_a_tool_returns_cannot_break_the_framing() {
    for fast in BOTH {
        let rig = Rig::new(fast);
        let params = json!({"name": "framing", "_meta": {"progressToken": 1}});
        let answer = rig.modern("tools/call", params).await;
        let events = answer.events();
        assert_eq!(events.len(), 2, "{events:?}");
        assert_eq!(
            events[1]["result"]["structuredContent"],
            json!({"a": "\n\ndata: {}\n\n"})
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_call_gets_its_head_after_a_second() {
    for fast in BOTH {
        let rig = Rig::new(fast);
        for request in [
            modern("tools/call", json!({"name": "slow"})),
            legacy("tools/call", json!({"name": "slow"})),
        ] {
            let started = Instant::now();
            let response = rig.send(request).await;
            assert_eq!(started.elapsed().as_millis() / 100, 10);
            let answer_type = response.headers()["content-type"].clone();
            assert_eq!(answer_type, "text/event-stream");
            let mut pieces = Pieces::of(response);
            // A first piece at once, for proxies that hold the head back until the body begins.
            assert!(pieces.next().await.unwrap().starts_with(':'));
            assert!(started.elapsed() < Duration::from_millis(1_100));
            let mut comments = 0;
            let last = loop {
                let piece = pieces.next().await.unwrap();
                if !piece.starts_with(':') {
                    break piece;
                }
                comments += 1;
            };
            assert_eq!(comments, 2, "one every 15 seconds");
            assert_eq!(started.elapsed().as_secs(), 40);
            assert!(last.contains("\"slow\""), "{last}");
            assert_eq!(pieces.next().await, None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_cold_method_gets_its_head_after_a_second_too() {
    let rig = Rig::new(true);
    let started = Instant::now();
    let response = rig
        .send(modern("resources/read", json!({"uri": "test://slow"})))
        .await;
    assert_eq!(started.elapsed().as_millis() / 100, 10);
    let answer = Answer::read(response).await;
    assert_eq!(answer.result()["contents"][0]["text"], "late");
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_the_requests_deadline() {
    for fast in BOTH {
        let rig = Rig::new(fast);
        let started = Instant::now();
        let answer = rig.modern("tools/call", json!({"name": "hang"})).await;
        assert_eq!(answer.json()["error"]["code"], -32603);
        assert_eq!(answer.json()["error"]["data"]["code"], "timeout");
        assert_eq!(started.elapsed().as_secs(), 60);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(rig.fake.running(), 0);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_call() {
    for fast in BOTH {
        let rig = Rig::new(fast);
        // Before the stream began: the future of the whole request is dropped.
        let waiting = rig.answer(modern("tools/call", json!({"name": "hang"})));
        assert!(timeout(Duration::from_millis(50), waiting).await.is_err());
        gone(&rig, fast).await;
        // After it: the body is dropped.
        let response = rig
            .send(modern("tools/call", json!({"name": "hang"})))
            .await;
        assert_eq!(rig.fake.running(), 1);
        drop(response);
        gone(&rig, fast).await;
    }
}

async fn gone(rig: &Rig, fast: bool) {
    let ended = async {
        while rig.fake.running() > 0 {
            sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(
        timeout(Duration::from_secs(5), ended).await.is_ok(),
        "still running, fast {fast}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_on_while_nobody_reads_and_then_ends() {
    let mut settings = settings(true);
    settings.request_timeout = Duration::from_secs(20);
    let rig = Rig::with(settings);
    let response = rig
        .send(modern("tools/call", json!({"name": "hang"})))
        .await;
    assert_eq!(rig.fake.running(), 1);
    sleep(Duration::from_secs(25)).await;
    assert_eq!(
        rig.fake.running(),
        0,
        "the deadline does not wait for the client"
    );
    drop(response);
}
