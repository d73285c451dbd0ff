//! The table of limits in docs/http.md is the one in the code.

use std::time::Duration;

use super::{frames, limits, rest, serve};
use crate::mcp::{
    Listeners, MAX_BATCH, MAX_DEPTH, MAX_ECHO_BYTES, MAX_ECHO_CHARS, MAX_NUMBER_BYTES, McpSettings,
};

fn bytes(count: u64) -> String {
    match count {
        count if count.is_multiple_of(1 << 20) => format!("{} MiB", count >> 20),
        count if count.is_multiple_of(1 << 10) => format!("{} KiB", count >> 10),
        count => format!("{count} bytes"),
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

fn table() -> String {
    let serving = serve::ServeSettings::default();
    let mcp = McpSettings::default();
    let head = format!(
        "{}, {} headers",
        bytes(limits::MAX_HEADER_BYTES as u64),
        limits::MAX_HEADERS
    );
    let json = format!("{MAX_DEPTH} levels, numbers of {MAX_NUMBER_BYTES} characters");
    let ahead = format!(
        "{} a stream, {} a connection",
        bytes(u64::from(serve::H2_STREAM_WINDOW)),
        bytes(u64::from(serve::H2_CONNECTION_WINDOW))
    );
    let control = format!("{} in {}", frames::MOST, seconds(frames::WINDOW));
    let taken_back = format!(
        "{} not looked at yet, {} that we reset",
        serve::MAX_H2_PENDING_RESETS,
        serve::MAX_H2_ERROR_RESETS
    );
    let ping = format!(
        "every {}, answered in {}",
        seconds(serve::H2_PING),
        seconds(serving.header_timeout)
    );
    let rows: &[(&str, String, &str)] = &[
        (
            "connections (`MCP_HTTP_MAX_CONNECTIONS`)",
            serving.max_connections.to_string(),
            "closed when it comes",
        ),
        (
            "connections of one address (`MCP_HTTP_MAX_CONNECTIONS_PER_ADDRESS`)",
            serving.max_connections_per_address.to_string(),
            "closed when it comes",
        ),
        ("TLS handshake", seconds(serving.header_timeout), "closed"),
        (
            "first head of a connection, and any head from its first byte",
            seconds(serving.header_timeout),
            "closed",
        ),
        (
            "idle between two requests",
            seconds(serving.idle_timeout),
            "closed",
        ),
        ("head of a request", head, "431"),
        ("URI", bytes(limits::MAX_URI_BYTES as u64), "414"),
        (
            "body (`MCP_HTTP_MAX_REQUEST_BYTES`)",
            bytes(mcp.max_request_bytes as u64),
            "413, unread and without `100 Continue`",
        ),
        ("time for a body", seconds(mcp.body_timeout), "408, closed"),
        (
            "body of a request that was refused by its head",
            format!(
                "{} in {}",
                bytes(rest::MOST_BYTES as u64),
                seconds(rest::WITHIN)
            ),
            "closed after the answer",
        ),
        (
            "answer that the client leaves unread",
            seconds(serving.write_timeout),
            "closed",
        ),
        (
            "event stream that the client leaves unread",
            seconds(serving.stream_timeout),
            "closed",
        ),
        (
            "unread answers in all",
            bytes(serving.max_unread_bytes),
            "503; those who do not read are closed",
        ),
        (
            "HTTP/2: requests at once on a connection",
            serve::MAX_H2_STREAMS.to_string(),
            "refused, then closed",
        ),
        (
            "HTTP/2: list of headers",
            bytes(u64::from(serve::MAX_H2_HEADER_LIST)),
            "431, or closed",
        ),
        ("HTTP/2: requests taken back", taken_back, "closed"),
        ("HTTP/2: bytes sent ahead", ahead, "they wait"),
        (
            "HTTP/2: frames that ask for nothing (pings, settings, resets, ...)",
            control,
            "closed",
        ),
        ("HTTP/2: signs of life", ping, "closed"),
        ("JSON", json, "400, -32700"),
        (
            "messages of a batch (2025-03-26)",
            MAX_BATCH.to_string(),
            "400, -32600",
        ),
        ("id, progress token", bytes(MAX_ECHO_BYTES as u64), "400"),
        (
            "a client's text in an error",
            format!("{MAX_ECHO_CHARS} characters"),
            "cut",
        ),
        (
            "subscriptions of one caller",
            Listeners::MAX_PER_CALLER.to_string(),
            "429",
        ),
    ];
    let mut text = String::from("| what | at most | beyond it |\n| --- | --- | --- |\n");
    for (what, most, beyond) in rows {
        text.push_str(&format!("| {what} | {most} | {beyond} |\n"));
    }
    text
}

#[test]
fn the_limits_in_the_document_are_those_in_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/http.md");
    let document = std::fs::read_to_string(path).unwrap();
    let table = table();
    assert!(
        document.contains(&format!("<!-- limits -->\n{table}<!-- /limits -->")),
        "docs/http.md has to have, between <!-- limits --> and <!-- /limits -->:\n{table}"
    );
}
