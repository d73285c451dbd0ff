//! Text goes through unchanged: emoji, scripts, marks, separators, control characters.

use serde_json::{Value, json};
use testkit::mcp::{Client, Era};

use crate::deployment::{Deployment, Kind};

const TEXTS: &[&str] = &[
    "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}\u{1F3FD} family, \u{1F1E9}\u{1F1EA} flag",
    "漢字かな交じり文 한국어 \u{20BB7}野家",
    "\u{202B}مرحبا بالعالم\u{202C} שלום\u{200F} left again",
    "e\u{301} is not \u{e9}; Z\u{351}\u{36B}a\u{343}l\u{34B}go; \u{1100}\u{1161} is not \u{AC00}",
    "line\u{2028}paragraph\u{2029}next\u{85}tab\tquote\"back\\slash/ </script> `${x}`",
    "\u{FEFF}mark first, \u{FFFE}\u{FFFF} no characters, \u{10FFFF} last, \u{E000} private",
];

/// What titles and descriptions cannot hold, but strings in code, arguments and results can.
const CONTROLS: &str = "a\0b\u{1}\u{1f}\u{7f}\r\n\u{8}c";

fn code(text: &str) -> String {
    // JSON's strings are strings of JavaScript, with the text as it is but for control characters.
    format!(
        "/* {text} */ const text = {literal}; console.log(text); \
         await ctx.progress(1, 2, text); await ctx.log('warning', {{[text]: args.text}}); \
         if (args.fail) throw new Error(text); \
         return {{text, echo: args.text, same: text === args.text, [text]: args[text]}}",
        literal = json!(text)
    )
}

fn draft(name: &str, text: &str, shown: &str) -> Value {
    json!({
        "name": name, "title": shown, "description": format!("About: {shown}"),
        "code": code(text), "tags": ["text"],
        "inputSchema": {"type": "object", "description": shown, "properties": {text: {"const": text}}}
    })
}

/// Calls the tool; its notifications and its result.
async fn streamed(client: &Client, name: &str, arguments: Value) -> (Vec<Value>, Value) {
    let mut meta = json!({"progressToken": "\u{1F39F} token"});
    if client.era == Era::Modern {
        meta["io.modelcontextprotocol/logLevel"] = json!("info");
    }
    let params = json!({"name": name, "arguments": arguments});
    let answer = client.send_with_meta("tools/call", params, meta).await;
    let mut messages = answer.messages();
    let result = messages.pop().unwrap()["result"].take();
    (messages, result)
}

fn of<'a>(messages: &'a [Value], method: &str) -> &'a Value {
    let found = messages.iter().find(|message| message["method"] == method);
    &found.unwrap_or_else(|| panic!("no {method}: {messages:?}"))["params"]
}

async fn stays(client: &Client, name: &str, text: &str, shown: &str) {
    let tool = draft(name, text, shown);
    let made = client
        .ok("dynamic.tool.create", json!({"tool": tool}))
        .await;
    assert_eq!(made["tool"]["title"], shown);
    let list = client.result("tools/list", json!({})).await;
    let listed = list["tools"].as_array().unwrap();
    let listed = listed.iter().find(|one| one["name"] == name).unwrap();
    assert_eq!(listed["title"], shown);
    assert_eq!(listed["description"], tool["description"]);
    assert_eq!(listed["inputSchema"], tool["inputSchema"]);
    let got = client.ok("dynamic.tool.get", json!({"name": name})).await;
    assert_eq!(got["tool"]["code"], tool["code"]);

    let arguments = json!({"text": text, text: text});
    let (messages, result) = streamed(client, name, arguments).await;
    let content = &result["structuredContent"];
    let wanted = json!({"text": text, "echo": text, "same": true, text: text});
    assert_eq!(content["result"], wanted, "{result}");
    assert_eq!(content["logs"], json!([{"level": "info", "message": text}]));
    let shown = result["content"][0]["text"].as_str().unwrap();
    assert!(
        shown.contains(json!(text).as_str().unwrap()) || shown.contains(&json!(text).to_string())
    );
    let log = of(&messages, "notifications/message");
    assert_eq!(log["data"], json!({text: text}), "{log}");
    let progress = of(&messages, "notifications/progress");
    assert_eq!(progress["message"], text);
    assert_eq!(progress["progressToken"], "\u{1F39F} token");

    let failed = client.call(name, json!({"text": text, "fail": true})).await;
    let error = failed["structuredContent"]["error"].as_str().unwrap();
    assert!(error.contains(text), "{error:?}");
    client
        .ok("dynamic.tool.delete", json!({"name": name}))
        .await;
}

/// Halves of surrogate pairs exist in JavaScript and not in JSON that others can read.
async fn halves(client: &Client, name: &str) {
    let code = "const half = 'x\\ud83dy'; console.log(half, '\\udc00'); \
                await ctx.log('warning', {half}); await ctx.progress(1, 1, half); \
                if (args.args?.fail) throw new Error(half); \
                return {half, end: '\\ud800', pair: '\\ud83d\\ude00', ['\\udfff']: 1}";
    let tool = json!({"name": name, "description": "Halves.", "code": code});
    client
        .ok("dynamic.tool.create", json!({"tool": tool}))
        .await;
    let (messages, result) = streamed(client, name, json!({})).await;
    let content = &result["structuredContent"];
    let wanted = json!({
        "half": "x\u{FFFD}y", "end": "\u{FFFD}", "pair": "\u{1F600}", "\u{FFFD}": 1
    });
    assert_eq!(content["result"], wanted, "{result}");
    assert_eq!(content["logs"][0]["message"], "x\u{FFFD}y \u{FFFD}");
    let log = of(&messages, "notifications/message");
    assert_eq!(log["data"], json!({"half": "x\u{FFFD}y"}));
    let progress = of(&messages, "notifications/progress");
    assert_eq!(progress["message"], "x\u{FFFD}y");
}

async fn everywhere(kind: Kind) {
    let deployment = Deployment::start(kind, &[]).await;
    for (era, name) in [(Era::Modern, "modern"), (Era::Legacy, "legacy")] {
        let client = deployment.client(era);
        for (number, text) in TEXTS.iter().enumerate() {
            stays(&client, &format!("text.{name}.{number}"), text, text).await;
        }
        stays(&client, &format!("controls.{name}"), CONTROLS, "plain").await;
        halves(&client, &format!("halves.{name}")).await;
    }
    deployment.stop().await;
}

#[tokio::test]
async fn everywhere_direct() {
    everywhere(Kind::Direct).await;
}

#[tokio::test]
async fn everywhere_over_pipes() {
    everywhere(Kind::Pipes).await;
}

#[tokio::test]
async fn everywhere_three_processes() {
    everywhere(Kind::Three).await;
}
