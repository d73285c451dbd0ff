//! Row 93: what clients call themselves and everything else that they may choose.

use std::path::Path;

use serde_json::{Value, json};
use testkit::audit::records;
use testkit::http::exchange;
use testkit::mcp::Era;
use testkit::process::Program;

use super::{ON, log_in};
use crate::deployment::{Deployment, Kind};

/// A text that tries to end the line, the string and the object, to colour a terminal, to turn the
/// text around.
const EVIL: &str = "x\u{1b}[31m\r\n{\"forged\":\"yes\"}\n\",\"forged\":\"yes\u{202e}\u{2028}\u{7}";

/// Whether the key stands anywhere in it.
fn has_key(value: &Value, key: &str) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name == key || has_key(value, key)),
        Value::Array(values) => values.iter().any(|value| has_key(value, key)),
        _ => false,
    }
}

/// Every line is one object without the key, and nothing in it moves a cursor.
fn assert_whole(program: &Program) {
    let log = program.log();
    assert!(log.len() > 5, "{log:?}");
    for line in log {
        assert!(!line.chars().any(char::is_control), "{line:?}");
        let record: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert!(record.is_object() && !has_key(&record, "forged"), "{line}");
    }
}

fn assert_audit_whole(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    for sign in ['\u{1b}', '\r', '\u{202e}', '\u{2028}', '\u{7}'] {
        assert!(!text.contains(sign), "{sign:?} in {text}");
    }
    assert!(
        text.contains("forged"),
        "nothing of it was recorded: {text}"
    );
    // `records` reads each line and looks at the chain.
    for record in records(path) {
        assert!(!has_key(&record, "forged"), "{record}");
    }
}

#[tokio::test]
async fn threat_93_no_text_of_a_client_forges_a_line_or_a_key() {
    let deployment = Deployment::start(Kind::Three, &[ON, ("RUST_LOG", "debug")]).await;
    let (old, new) = (
        deployment.client(Era::Legacy),
        deployment.client(Era::Modern),
    );
    let who = json!({"name": EVIL, "version": EVIL, "title": EVIL});
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {EVIL: {}},
        "clientInfo": who});
    let answer = old.send("initialize", hello).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let meta = json!({"io.modelcontextprotocol/clientInfo": who, "progressToken": EVIL,
        "traceparent": EVIL, EVIL: EVIL});
    let answer = new
        .send_with_meta("tools/list", json!({}), meta.clone())
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());

    // Names of tools, of members, of resources, of methods, ids.
    let tool = json!({"name": "forged.one", "title": EVIL, "description": EVIL,
        "code": "console.log(args.text); await ctx.log('info', args.text); throw new Error(args.text)",
        "inputSchema": {"type": "object", "properties": {EVIL: {"type": "string"}}}});
    old.call("dynamic.tool.create", json!({"tool": tool})).await;
    let plain = json!({"name": "forged.two", "description": "d",
        "code": "console.log(args.text); await ctx.log('info', args.text); throw new Error(args.text)"});
    old.ok("dynamic.tool.create", json!({"tool": plain})).await;
    let params = json!({"name": "forged.two", "arguments": {"args": {"text": EVIL}}});
    new.send_with_meta("tools/call", params, meta).await;
    for (method, params) in [
        (
            "tools/call",
            json!({"name": EVIL, "arguments": {EVIL: EVIL}}),
        ),
        (
            "tools/call",
            json!({"name": "dynamic.tool.create", "arguments": {"tool":
                {"name": EVIL, "description": "d", "code": "return 1"}}}),
        ),
        (
            "tools/call",
            json!({"name": "dynamic.tool.delete", "arguments": {"name": EVIL, EVIL: EVIL}}),
        ),
        ("resources/read", json!({"uri": EVIL})),
        (
            "prompts/get",
            json!({"name": EVIL, "arguments": {EVIL: EVIL}}),
        ),
        ("logging/setLevel", json!({"level": EVIL})),
        (EVIL, json!({EVIL: EVIL})),
    ] {
        let answer = old.send(method, params).await;
        assert!(answer.status < 500, "{method:?}: {}", answer.text());
    }
    let body = json!({"jsonrpc": "2.0", "id": EVIL, "method": EVIL, EVIL: EVIL}).to_string();
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("user-agent", "\",\"forged\":\"yes"),
        ("x-request-id", "\",\"forged\":\"yes"),
        ("x-forwarded-for", "\",\"forged\":\"yes"),
    ];
    let answer = exchange(
        &deployment.address,
        "POST",
        "/mcp",
        &headers,
        body.as_bytes(),
    )
    .await;
    assert!(answer.status < 500, "{}", answer.text());

    assert_whole(&deployment.front);
    let inner = deployment.inner.as_ref().unwrap();
    assert_whole(&inner.registry);
    assert_whole(&inner.executor);
    let folder = deployment.stop_keeping().await;
    assert_audit_whole(&log_in(folder.path()));
}
