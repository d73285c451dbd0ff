//! The rows of MCP: tools and methods.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::http::Answer;
use testkit::mcp::{Client, Era};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::world::{World, closed, open};
use super::{ROLES, Row, Table};

/// The one who has everything that another could want.
const OWNER: &str = "admin";

pub(super) async fn run(
    world: &World,
    table: &Table,
    (tenant, other): (&str, &str),
    failures: &mut Vec<String>,
) -> usize {
    let mut cells = 0;
    let mut fail = |what: String, wanted: &str, got: String| {
        cells += 1;
        if wanted != got {
            failures.push(format!("{what}: {got}, and the table says {wanted}"));
        }
    };
    // Each role's list is exactly what it may use.
    for (at, role) in ROLES.iter().enumerate() {
        let listed = world.listed(tenant, role).await;
        for row in &table.tool {
            let name = real(&row.name, tenant);
            let unseen = ["403", "error"]
                .iter()
                .any(|no| row.outcomes[at].starts_with(no));
            let wanted = if unseen { "not listed" } else { "listed" };
            let got = if listed.contains(&name) {
                "listed"
            } else {
                "not listed"
            };
            // What is refused for its object's sake has another row that says who sees it.
            if !row.arguments.to_string().contains("$closed") {
                fail(
                    format!("{tenant} {role} tools/list {name}"),
                    wanted,
                    got.to_owned(),
                );
            }
        }
    }
    let rows = table.tool.iter().map(|row| (row, true));
    let rows = rows.chain(table.method.iter().map(|row| (row, false)));
    for (row, is_tool) in rows {
        let name = &row.name;
        for (at, role) in ROLES.iter().enumerate() {
            let wanted = &row.outcomes[at];
            let whose = if wanted.starts_with("403") {
                OWNER
            } else {
                role
            };
            let (method, params) = ask(world, row, is_tool, tenant, whose).await;
            let client = era(world.client(tenant, role, at % 2), row);
            let got = outcome(&client, &method, params).await.0;
            fail(
                format!("{tenant} {role} {name} {}", row.arguments),
                wanted,
                got,
            );
        }
        let (method, params) = ask(world, row, is_tool, tenant, OWNER).await;
        let nobody = era(world.anonymous(1), row);
        let got = outcome(&nobody, &method, params.clone()).await.0;
        fail(format!("{tenant} without a token: {name}"), "401", got);
        let Some(foreign) = &row.foreign else {
            continue;
        };
        let stranger = era(world.client(other, OWNER, 1), row);
        let object = object(&params);
        let (got, said) = outcome(&stranger, &method, params.clone()).await;
        let what = format!(
            "{other} admin with what is {tenant}'s: {name} {}",
            row.arguments
        );
        fail(what.clone(), foreign, got);
        // The same of what does not exist: not one byte may differ but the name.
        let absent = absent(&object);
        let params = json_replaced(&params, &object, &absent);
        let (_, said_of_nothing) = outcome(&stranger, &method, params).await;
        let (said, nothing) = (
            said.replace(&object, "X"),
            said_of_nothing.replace(&absent, "X"),
        );
        fail(what, &nothing, said);
    }
    cells
}

fn era(mut client: Client, row: &Row) -> Client {
    if row.era.as_deref() == Some("legacy") {
        client.era = Era::Legacy;
    }
    client
}

/// The name in the table, or what it stands for.
fn real(name: &str, tenant: &str) -> String {
    match name {
        "$open" => open(tenant),
        "$closed" => closed(tenant),
        name => name.to_owned(),
    }
}

/// Method and params of a row, with objects of this tenant and this caller.
async fn ask(world: &World, row: &Row, is_tool: bool, tenant: &str, role: &str) -> (String, Value) {
    let mut text = row.arguments.to_string();
    for (mark, name) in [("$open", open(tenant)), ("$closed", closed(tenant))] {
        text = text.replace(mark, &name);
    }
    if text.contains("$fresh") {
        text = text.replace("$fresh", &world.fresh());
    }
    if text.contains("$own") {
        text = text.replace("$own", &world.own(tenant).await);
    }
    if text.contains("$session") {
        let id = match &*row.name {
            "sandbox.stop" => world.new_session(tenant, role).await,
            _ => world.session(tenant, role).await,
        };
        text = text.replace("$session", &id);
    }
    let arguments: Value = serde_json::from_str(&text).unwrap();
    if is_tool {
        let params = json!({"name": real(&row.name, tenant), "arguments": arguments});
        ("tools/call".to_owned(), params)
    } else {
        (row.name.clone(), arguments)
    }
}

/// What a row with `foreign` is about: a session, the tool that is managed, or the tool that is called.
fn object(params: &Value) -> String {
    let arguments = &params["arguments"];
    let found = [&arguments["sessionId"], &arguments["name"], &params["name"]];
    let found = found.into_iter().find_map(Value::as_str);
    found.unwrap().to_owned()
}

/// Of the same kind, and nobody's.
fn absent(object: &str) -> String {
    if object.starts_with("sbx_") {
        return "sbx_AAAA".to_owned();
    }
    "matrix.absent".to_owned()
}

fn json_replaced(value: &Value, from: &str, to: &str) -> Value {
    serde_json::from_str(&value.to_string().replace(from, to)).unwrap()
}

/// The word of the table for an answer, and the answer itself without what differs every time.
async fn outcome(client: &Client, method: &str, params: Value) -> (String, String) {
    if method == "subscriptions/listen" {
        return (listen(client, params).await, String::new());
    }
    let answer = client.send(method, params).await;
    let word = word(&answer);
    let mut said = answer.messages().pop().unwrap_or_default();
    for changing in [
        "/error/data/requestId",
        "/result/structuredContent/durationMs",
    ] {
        if let Some(value) = said.pointer_mut(changing) {
            *value = Value::Null;
        }
    }
    (word, without_times(&format!("{} {said}", answer.status)))
}

/// The text without how long it took.
fn without_times(text: &str) -> String {
    const MARK: &str = "Duration: ";
    let mut parts = text.split(MARK);
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept += MARK;
        kept += part.trim_start_matches(|letter: char| letter.is_ascii_digit());
    }
    kept
}

fn word(answer: &Answer) -> String {
    let challenge = answer
        .headers
        .get("www-authenticate")
        .map_or("", String::as_str);
    if answer.status == 401 {
        return "401".to_owned();
    }
    if answer.status == 403 {
        let scope = challenge.split_once("scope=\"").map(|(_, rest)| rest);
        let scope = scope.and_then(|rest| rest.split('"').next()).unwrap_or("?");
        let named = challenge.contains("error=\"insufficient_scope\"");
        return format!("403 {}{scope}", if named { "" } else { "unnamed " });
    }
    let Some(message) = answer.messages().pop() else {
        return format!("status {}", answer.status);
    };
    if !message["error"].is_null() {
        return format!("error {}", message["error"]["code"]);
    }
    let result = &message["result"];
    if result["isError"] == json!(true) {
        let content = &result["structuredContent"]["code"];
        let meta = &result["_meta"]["dynamic-mcp/error"]["code"];
        let code = content.as_str().or(meta.as_str()).unwrap_or("?");
        return code.to_owned();
    }
    if result.is_object() {
        "ok".to_owned()
    } else {
        format!("no result: {message}")
    }
}

/// A stream that goes on is looked at until its first event.
async fn listen(client: &Client, mut params: Value) -> String {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body =
        json!({"jsonrpc": "2.0", "id": 7, "method": "subscriptions/listen", "params": params});
    let body = body.to_string();
    let mut head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\n\
         mcp-method: subscriptions/listen\r\ncontent-length: {}\r\n",
        client.address,
        body.len()
    );
    for (name, value) in &client.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let mut stream = TcpStream::connect(&client.address).await.unwrap();
    let request = format!("{head}\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = String::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = timeout(Duration::from_secs(10), stream.read(&mut buffer)).await;
        let count = read.unwrap_or_else(|_| panic!("no event: {seen}")).unwrap();
        seen += &String::from_utf8_lossy(&buffer[..count]);
        let status = seen.split(' ').nth(1).unwrap_or_default().to_owned();
        if status != "200" {
            return status;
        }
        if seen.contains("notifications/subscriptions/acknowledged") {
            return "ok".to_owned();
        }
        assert!(count > 0, "the stream ended: {seen}");
    }
}
