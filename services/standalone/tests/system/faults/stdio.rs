//! The client at the other end of the pipes goes, or changes its mind.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ENDLESS, SOON};
use crate::piped::Piped;
use crate::processes::{assert_gone, below, busy};

async fn started(arguments: &[&str]) -> (Piped, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut piped = Piped::start(folder.path(), arguments);
    piped.initialize().await;
    (piped, folder)
}

#[tokio::test]
async fn the_end_of_input_ends_the_process_and_nothing_but_mcp_was_said() {
    for arguments in [
        &["--transport", "stdio", "--log-level", "trace"][..],
        &["--log-level", "debug"],
    ] {
        let (mut piped, _folder) = started(arguments).await;
        let code = "console.log('printed\\n{}'); console.error('more'); await ctx.log('info', 1); \
                    return 'said'";
        piped
            .call(2, "run_js_ephemeral", json!({"code": code}))
            .await;
        let answer = piped.answer(2).await;
        assert_eq!(answer["result"]["structuredContent"]["result"], "said");
        let sandboxes = below(piped.id());
        piped.close();
        assert_eq!(piped.next().await, None, "nothing more is said");
        assert_eq!(piped.ended(Duration::from_secs(5)).await, Some(0));
        assert_quiet_end(&piped);
        assert_gone(&sandboxes, SOON).await;
    }
}

/// The end of a client is no fault of anything.
fn assert_quiet_end(piped: &Piped) {
    assert_eq!(piped.logged("ERROR"), Vec::<Value>::new());
    let info = piped.logged("INFO");
    let stopping = info.iter().find(|line| line["message"] == "stopping");
    let reason = stopping.map(|line| &line["reason"]);
    assert_eq!(
        reason,
        Some(&json!("the client closed its end")),
        "{info:?}"
    );
}

#[tokio::test]
async fn a_client_that_goes_without_a_word_is_a_quiet_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut piped = Piped::start(folder.path(), &["--transport", "stdio"]);
    piped.close();
    assert_eq!(piped.next().await, None, "it says nothing");
    assert_eq!(piped.ended(Duration::from_secs(5)).await, Some(0));
    assert_quiet_end(&piped);
}

/// What is no client of MCP is told from one that left.
#[tokio::test]
async fn what_is_no_mcp_is_a_failure_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut piped = Piped::start(folder.path(), &["--transport", "stdio"]);
    piped
        .send(&json!({"jsonrpc": "2.0", "method": "notifications/other"}))
        .await;
    assert_eq!(piped.next().await, None);
    assert_eq!(piped.ended(Duration::from_secs(5)).await, Some(1));
    let errors = piped.logged("ERROR");
    assert_eq!(errors.len(), 1, "{errors:?}");
    let why = errors[0]["failure"].as_str().unwrap();
    assert!(why.contains("opens no session of MCP"), "{errors:?}");
}

/// Calls get a few seconds to answer: `printf ... | dynamic-mcp` is a way to ask, too.
const LAST_CALLS: Duration = Duration::from_secs(8);

#[tokio::test]
async fn the_end_of_input_stops_a_running_call() {
    let (mut piped, _folder) = started(&["--transport", "stdio"]).await;
    piped
        .call(2, "run_js_ephemeral", json!({"code": ENDLESS}))
        .await;
    let sandbox = busy(piped.id()).await;
    piped.close();
    assert_gone(&[sandbox], LAST_CALLS).await;
    assert_eq!(piped.ended(Duration::from_secs(5)).await, Some(0));
}

#[tokio::test]
async fn a_call_that_is_soon_done_is_answered_after_the_end_of_input() {
    let (mut piped, _folder) = started(&["--transport", "stdio"]).await;
    let code = "await new Promise(done => setTimeout(done, 800)); return 'late'";
    piped
        .call(2, "run_js_ephemeral", json!({"code": code}))
        .await;
    piped.close();
    let answer = piped.answer(2).await;
    assert_eq!(answer["result"]["structuredContent"]["result"], "late");
    assert_eq!(piped.next().await, None);
    assert_eq!(piped.ended(Duration::from_secs(5)).await, Some(0));
}

#[tokio::test]
async fn fault_19_a_cancelled_request_stops_its_call() {
    let (mut piped, _folder) = started(&["--transport", "stdio"]).await;
    piped
        .call(2, "run_js_ephemeral", json!({"code": ENDLESS}))
        .await;
    let sandbox = busy(piped.id()).await;
    let params = json!({"requestId": 2, "reason": "changed my mind"});
    piped
        .send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}))
        .await;
    assert_gone(&[sandbox], SOON).await;
    piped
        .call(3, "run_js_ephemeral", json!({"code": "return 3"}))
        .await;
    let answer = piped.answer(3).await;
    assert_eq!(answer["result"]["structuredContent"]["result"], 3);
    piped.close();
    assert_eq!(piped.ended(Duration::from_secs(5)).await, Some(0));
}
