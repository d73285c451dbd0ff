//! U-401 to U-413: calls and their results.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::mcp::Client;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep};

use super::http::request;
use super::{checks, serve};

checks! {
    "U-401" "U-402" "U-403" => failures_say_what_happened,
    "U-404" => a_result_that_is_too_large_is_none,
    "U-405" "U-411" => what_is_printed_comes_along,
    "U-406" => leaving_is_no_success,
    "U-407" "U-408" => what_a_result_can_hold,
    "U-409" "U-410" => a_call_ends_with_its_promise,
    "U-413" => calls_wait_for_their_turn,
    "U-412" => a_client_that_leaves_ends_its_call,
}

const NODE: (&str, &str) = ("MCP_EXECUTION_ENGINE", "node");

async fn ran(client: &Client, code: &str) -> Value {
    let arguments = json!({"code": code, "timeoutMs": 2_000});
    client.call("run_js_ephemeral", arguments).await
}

/// The code and the message of a call that fails.
async fn failed(client: &Client, code: &str) -> (String, String) {
    let result = ran(client, code).await;
    assert_eq!(result["isError"], true, "{code}: {result}");
    let text = |member: &str| {
        result["structuredContent"][member]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(result["structuredContent"]["ok"], false);
    assert!(result["structuredContent"]["durationMs"].is_u64());
    (text("code"), text("error"))
}

async fn failures_say_what_happened() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[NODE]).await;
    for (code, wanted, message) in [
        ("throw new Error('it broke')", "tool_failed", "it broke"),
        ("throw 'just text'", "tool_failed", "just text"),
        (
            "return Promise.reject(new Error('rejected'))",
            "tool_failed",
            "rejected",
        ),
        ("return (;", "tool_failed", "tool.js:1"),
        ("for (;;) {}", "timeout", "2000"),
    ] {
        let (got, error) = failed(&client, code).await;
        assert_eq!(got, wanted, "{code}: {error}");
        assert!(error.contains(message), "{code}: {error}");
        assert!(!error.contains("Command failed"), "{code}: {error}");
    }
    program.stop().await;
}

async fn a_result_that_is_too_large_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let env = [NODE, ("MCP_SANDBOX_MAX_OUTPUT_BYTES", "1000")];
    let (program, client) = serve(folder.path(), &env).await;
    let (code, error) = failed(&client, "return 'x'.repeat(1001)").await;
    assert_eq!(code, "output_too_large", "{error}");
    assert_eq!(
        ran(&client, "return 'x'.repeat(900)").await["isError"],
        json!(null)
    );
    program.stop().await;
}

async fn what_is_printed_comes_along() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[NODE]).await;
    let result = ran(
        &client,
        "console.log('out'); console.error('err'); return 7",
    )
    .await;
    let structured = &result["structuredContent"];
    assert_eq!(
        (&structured["ok"], &structured["result"]),
        (&json!(true), &json!(7))
    );
    let logs: Vec<_> = structured["logs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| &l["message"])
        .collect();
    assert_eq!(logs, ["out", "err"]);
    let quiet = ran(&client, "return 7").await;
    let members: Vec<_> = quiet["structuredContent"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(members, ["durationMs", "ok", "result"]);
    assert_eq!(quiet["_meta"]["dynamic-mcp/engine"], "isolate");
    let text = quiet["content"][0]["text"].as_str().unwrap();
    assert!(
        text.starts_with("Dynamic tool succeeded: run_js_ephemeral\n\nDuration: "),
        "{text}"
    );
    assert!(text.ends_with("ms\n\nResult:\n7"), "{text}");
    program.stop().await;
}

async fn leaving_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[NODE]).await;
    assert_eq!(failed(&client, "process.exit(0)").await.0, "tool_failed");
    program.stop().await;
}

async fn what_a_result_can_hold() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[NODE]).await;
    for code in ["const a = {}; a.a = a; return a", "return {big: 1n}"] {
        assert_eq!(failed(&client, code).await.0, "tool_failed", "{code}");
    }
    let error = ran(&client, "return new Error('x')").await;
    assert_eq!(error["structuredContent"]["result"], json!({}));
    let code = "return {content: [{type: 'text', text: 'a block'}]}";
    let blocks = ran(&client, code).await;
    assert_eq!(
        blocks["content"],
        json!([{"type": "text", "text": "a block"}]),
        "{blocks}"
    );
    let (code, error) = failed(&client, "return {content: ['a', 'b']}").await;
    assert_eq!(code, "tool_failed");
    assert!(error.contains("is not MCP content"), "{error}");
    program.stop().await;
}

async fn a_call_ends_with_its_promise() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[NODE]).await;
    let began = Instant::now();
    let result = ran(&client, "setTimeout(() => {}, 1900); return 3").await;
    assert_eq!(result["structuredContent"]["result"], 3, "{result}");
    let (code, error) = failed(&client, "await new Promise(() => {})").await;
    assert_eq!(code, "tool_failed");
    assert!(error.contains("can never settle"), "{error}");
    assert!(
        began.elapsed() < Duration::from_millis(1_800),
        "{:?}",
        began.elapsed()
    );
    program.stop().await;
}

async fn calls_wait_for_their_turn() {
    let folder = tempfile::tempdir().unwrap();
    let env = [NODE, ("MCP_TOOL_MAX_CONCURRENCY", "1000")];
    let (program, client) = serve(folder.path(), &env).await;
    let page = testkit::http::exchange(&client.address, "GET", "/health", &[], b"").await;
    let capacity = page.json()["checks"]["executor"]["capacity"]
        .as_u64()
        .unwrap();
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(capacity, 4 * u64::try_from(cores).unwrap());
    let code = "await new Promise((done) => setTimeout(done, 1000)); return 1";
    let arguments = json!({"code": code, "timeoutMs": 30_000});
    let began = Instant::now();
    let calls = (0..=capacity).map(|_| client.ok("run_js_ephemeral", arguments.clone()));
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer["result"], 1);
    }
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    program.stop().await;
}

async fn a_client_that_leaves_ends_its_call() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[NODE]).await;
    let in_flight = async || {
        let page = testkit::http::exchange(&client.address, "GET", "/metrics", &[], b"").await;
        let text = page.text();
        let line = text
            .lines()
            .find(|line| line.starts_with("mcp_executor_in_flight "));
        line.unwrap().ends_with(" 1")
    };
    let until = async |wanted: bool, what: &str| {
        let end = Instant::now() + Duration::from_secs(10);
        while in_flight().await != wanted {
            assert!(Instant::now() < end, "{what}");
            sleep(Duration::from_millis(10)).await;
        }
    };
    let code = "await new Promise((done) => setTimeout(done, 60000))";
    let arguments = json!({"code": code, "timeoutMs": 90_000});
    let body = request(
        "tools/call",
        json!({"name": "run_js_ephemeral", "arguments": arguments}),
    );
    let mut stream = tokio::net::TcpStream::connect(&client.address)
        .await
        .unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\ncontent-length: {}\r\n\r\n",
        client.address,
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    until(true, "the call never ran").await;
    drop(stream);
    until(false, "the call runs on").await;
    program.stop().await;
}
