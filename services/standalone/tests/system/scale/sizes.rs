//! What is exactly as large as allowed works; one more is refused by name.

use serde_json::{Value, json};
use testkit::http::{Answer, exchange};
use testkit::mcp::{Client, Era};

use crate::deployment::{Deployment, Kind};

const ERAS: [Era; 2] = [Era::Modern, Era::Legacy];
const CODE_CHARS: usize = 200_000;

/// Code of exactly so many characters, most of them `filler`, that answers with its own length.
fn code(chars: usize, filler: char) -> String {
    let start = "return 'ran' // ";
    let rest = chars - start.len();
    format!("{start}{}", filler.to_string().repeat(rest))
}

async fn code_at_and_over_its_bound(client: &Client, name: &str, filler: char) {
    let tool = |chars| {
        let code = code(chars, filler);
        json!({"tool": {"name": name, "description": "Long.", "code": code}})
    };
    let refused = client
        .call("dynamic.tool.create", tool(CODE_CHARS + 1))
        .await;
    assert_eq!(refused["isError"], true);
    let text = refused["content"][0]["text"].as_str().unwrap();
    assert!(
        text.contains("code") && text.contains("200000"),
        "{text:.300}"
    );
    let made = client.ok("dynamic.tool.create", tool(CODE_CHARS)).await;
    let bytes = code(CODE_CHARS, filler).len();
    assert_eq!(made["tool"]["codeSizeBytes"], bytes);
    assert_eq!(client.ok(name, json!({})).await["result"], "ran");
    let got = client.ok("dynamic.tool.get", json!({"name": name})).await;
    assert!(got["tool"]["code"] == json!(code(CODE_CHARS, filler)));
    let ran = client
        .ok(
            "run_js_ephemeral",
            json!({"code": code(CODE_CHARS, filler)}),
        )
        .await;
    assert_eq!(ran["result"], "ran");
}

/// A request body of exactly `size` bytes: white space may follow JSON.
fn body(size: usize) -> String {
    let params = json!({"name": "run_js_ephemeral", "arguments": {"code": "return 'in time'"}});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let mut body = message.to_string();
    body.push_str(&" ".repeat(size - body.len()));
    body
}

async fn post(deployment: &Deployment, chunked: bool, body: &str) -> Answer {
    let mut headers = vec![
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    let mut body = body.to_owned();
    if chunked {
        headers.push(("transfer-encoding", "chunked"));
        body = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    }
    exchange(
        &deployment.address,
        "POST",
        "/mcp",
        &headers,
        body.as_bytes(),
    )
    .await
}

async fn bodies(deployment: &Deployment) {
    const LIMIT: usize = 1_048_576;
    for chunked in [false, true] {
        let at = post(deployment, chunked, &body(LIMIT)).await;
        assert_eq!(at.status, 200, "{}", at.text());
        let result = &at.messages()[0]["result"]["structuredContent"]["result"];
        assert_eq!(result, "in time");
        let over = post(deployment, chunked, &body(LIMIT + 1)).await;
        assert_eq!(over.status, 413, "{}", over.text());
        assert!(over.text().contains("1048576"), "{}", over.text());
    }
}

/// Text in which a lost, doubled or swapped piece shows.
fn long_text(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 16);
    let mut number = 1_u64;
    while text.len() < bytes {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        text.push_str(&format!("{:x}-", number >> 33));
    }
    text.truncate(bytes);
    text
}

async fn large_arguments(client: &Client, name: &str) {
    let schema = json!({"type": "object", "properties": {"text": {"type": "string"}}});
    let tool = json!({
        "name": name, "description": "Echo.", "inputSchema": schema, "code": "return args.text"
    });
    client
        .ok("dynamic.tool.create", json!({"tool": tool}))
        .await;
    let text = long_text(900_000);
    let echoed = client.ok(name, json!({"text": text})).await;
    assert!(
        echoed["result"] == json!(text),
        "{} bytes",
        echoed.to_string().len()
    );
    let code = "return {length: args.text.length, end: args.text.slice(-20)}";
    let arguments = json!({"code": code, "args": {"text": text}});
    let seen = client.ok("run_js_ephemeral", arguments).await;
    let end = &text[text.len() - 20..];
    assert_eq!(seen["result"], json!({"length": 900_000, "end": end}));
}

async fn inputs(kind: Kind) {
    let env = [("MCP_SANDBOX_MAX_OUTPUT_BYTES", "2000000")];
    let deployment = Deployment::start(kind, &env).await;
    for (era, name) in ERAS.into_iter().zip(["modern", "legacy"]) {
        let client = deployment.client(era);
        large_arguments(&client, &format!("large.{name}")).await;
        code_at_and_over_its_bound(&client, &format!("long.{name}"), 'x').await;
        // Four bytes each: 800,000 bytes of code.
        code_at_and_over_its_bound(&client, &format!("wide.{name}"), '\u{1F600}').await;
    }
    bodies(&deployment).await;
    deployment.stop().await;
}

#[tokio::test]
async fn inputs_direct() {
    inputs(Kind::Direct).await;
}

#[tokio::test]
async fn inputs_over_pipes() {
    inputs(Kind::Pipes).await;
}

#[tokio::test]
async fn inputs_three_processes() {
    inputs(Kind::Three).await;
}

const BOUND: usize = 5_000;

async fn results(client: &Client) {
    // Two quotes are part of the result.
    for (letter, bytes) in [("x", 1), ("\u{e9}", 2)] {
        let code = format!("return '{letter}'.repeat(args.count)");
        let call = |count: usize| json!({"code": code, "args": {"count": count}});
        let count = (BOUND - 2) / bytes;
        let at = client.ok("run_js_ephemeral", call(count)).await;
        assert_eq!(at["result"], letter.repeat(count));
        let over = client.call("run_js_ephemeral", call(count + 1)).await;
        let text = over["content"][0]["text"].as_str().unwrap();
        assert_eq!(over["isError"], true, "{over}");
        assert!(text.contains("5000"), "{text}");
        let content = &over["structuredContent"];
        assert_eq!(content["code"], "output_too_large", "{over}");
    }
}

/// The bytes that were printed, and whether the end is marked as cut.
fn printed(content: &Value) -> (usize, bool) {
    let logs = content["logs"].as_array().unwrap();
    let text = |line: &Value| line["message"].as_str().unwrap().to_owned();
    let marked = logs
        .last()
        .is_some_and(|last| text(last).contains("dropped"));
    let lines = &logs[..logs.len() - usize::from(marked)];
    (lines.iter().map(|line| text(line).len()).sum(), marked)
}

async fn prints(client: &Client) {
    let print =
        |count: usize| json!({"code": format!("console.log('y'.repeat({count})); return 1")});
    // The result's one byte counts too.
    let at = client.ok("run_js_ephemeral", print(BOUND - 1)).await;
    assert_eq!(
        (&at["result"], printed(&at)),
        (&json!(1), (BOUND - 1, false))
    );
    let over = client.ok("run_js_ephemeral", print(BOUND)).await;
    let (bytes, marked) = printed(&over);
    assert!(marked && bytes < BOUND, "{bytes} {marked}");
    let code = "for (let i = 0; i < 3000; i++) console.log('line ' + i); return 'done'";
    let over = client.ok("run_js_ephemeral", json!({"code": code})).await;
    assert_eq!(over["result"], "done");
    assert_eq!(over["logs"][0]["message"], "line 0");
    let (bytes, marked) = printed(&over);
    assert!(
        marked && (1_000..BOUND).contains(&bytes),
        "{bytes} {marked}"
    );
}

async fn outputs(kind: Kind) {
    let env = [("MCP_SANDBOX_MAX_OUTPUT_BYTES", "5000")];
    let deployment = Deployment::start(kind, &env).await;
    for era in ERAS {
        let client = deployment.client(era);
        results(&client).await;
        prints(&client).await;
    }
    deployment.stop().await;
}

#[tokio::test]
async fn outputs_direct() {
    outputs(Kind::Direct).await;
}

#[tokio::test]
async fn outputs_over_pipes() {
    outputs(Kind::Pipes).await;
}

#[tokio::test]
async fn outputs_three_processes() {
    outputs(Kind::Three).await;
}
