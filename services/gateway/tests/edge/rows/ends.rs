//! Row 50, and what ends with a client or its credential.

use std::time::Duration;

use gateway::http::ServeSettings;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep};

use crate::edge::rig::{MODERN, with_meta};
use crate::edge::server::{local, read, server};

fn listen() -> String {
    let params = with_meta(json!({"notifications": {"toolsListChanged": true}}));
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params});
    let body = body.to_string();
    format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: {MODERN}\r\n\
         Mcp-Method: subscriptions/listen\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn row_50_subscriptions_of_one_caller_are_bounded_and_freed_when_abandoned() {
    local(async {
        let server = server(ServeSettings::default()).await;
        let (mut open, mut refused) = (Vec::new(), 0);
        for _ in 0..150 {
            let mut stream = server.connect().await;
            stream.write_all(listen().as_bytes()).await.unwrap();
            let text = read(&mut stream, Duration::from_millis(20)).await;
            if text.starts_with("HTTP/1.1 429 ") {
                assert!(text.contains("retry-after: 1"), "{text}");
                refused += 1;
            } else {
                open.push(stream);
            }
        }
        assert_eq!((open.len(), refused), (100, 50));
        drop(open);
        let end = Instant::now() + Duration::from_secs(5);
        while server.rig.metrics.requests_in_flight.get() > 0 {
            assert!(Instant::now() < end, "subscriptions that nobody reads stay");
            sleep(Duration::from_millis(10)).await;
        }
        let mut stream = server.connect().await;
        stream.write_all(listen().as_bytes()).await.unwrap();
        let text = read(&mut stream, Duration::from_millis(200)).await;
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    })
    .await;
}
