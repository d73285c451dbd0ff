//! Row 36: clients that take their time.

use std::time::Duration;

use gateway::http::ServeSettings;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, timeout};

use crate::edge::rig::modern;
use crate::edge::server::{answer, call, local, read, request, server};

fn quick() -> ServeSettings {
    ServeSettings {
        header_timeout: Duration::from_millis(400),
        idle_timeout: Duration::from_secs(1),
        write_timeout: Duration::from_millis(500),
        stream_timeout: Duration::from_millis(500),
        ..ServeSettings::default()
    }
}

#[test]
fn row_36_the_limits_are_those_of_the_table() {
    let settings = ServeSettings::default();
    let body = gateway::mcp::McpSettings::default().body_timeout;
    assert!(settings.header_timeout <= Duration::from_secs(10));
    assert!(body < Duration::from_secs(15));
    // Looks at what is unread are a second apart.
    assert!(settings.write_timeout + Duration::from_secs(2) <= Duration::from_secs(30));
    assert!(settings.stream_timeout + Duration::from_secs(2) <= Duration::from_secs(30));
    assert!(settings.stream_timeout > gateway::mcp::McpSettings::default().keep_alive);
    assert_eq!(settings.idle_timeout, Duration::from_secs(65));
}

#[tokio::test]
async fn row_36_who_never_begins_is_closed_too() {
    local(async {
        let server = server(quick()).await;
        for first in [
            &b""[..],
            b"P",
            b"PRI * HTTP/2.0\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            let mut stream = server.connect().await;
            let began = Instant::now();
            stream.write_all(first).await.unwrap();
            let mut rest = Vec::new();
            let ended = timeout(Duration::from_secs(3), stream.read_to_end(&mut rest)).await;
            assert!(ended.is_ok(), "{first:?}");
            let took = began.elapsed();
            assert!(took > Duration::from_millis(300), "{first:?}: {took:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn row_36_a_body_that_trickles_is_told_so_and_closed() {
    local(async {
        let mut settings = crate::edge::rig::settings(true);
        settings.mcp.body_timeout = Duration::from_millis(500);
        let rig = crate::edge::rig::Rig::with(settings);
        let server = crate::edge::server::server_of(rig, ServeSettings::default()).await;
        let mut stream = server.connect().await;
        let (head, body) = (request("", &call("echo")), call("echo"));
        let head = head.strip_suffix(&body).unwrap();
        let began = Instant::now();
        stream.write_all(head.as_bytes()).await.unwrap();
        for byte in body.bytes().take(40) {
            if stream.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        let text = read(&mut stream, Duration::from_secs(3)).await;
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
        assert!(text.contains("connection: close"), "{text}");
        assert!(began.elapsed() < Duration::from_secs(3));
        assert_eq!(server.rig.fake.calls(), 0);
    })
    .await;
}

#[tokio::test]
async fn row_36_an_event_stream_that_nobody_reads_is_given_up() {
    local(async {
        let server = server(quick()).await;
        let stream = hyper_util::rt::TokioIo::new(server.connect().await);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut deaf, connection) = hyper::client::conn::http2::Builder::new(executor)
            .initial_stream_window_size(1)
            .handshake(stream)
            .await
            .unwrap();
        let connection = tokio::task::spawn_local(connection);
        let params = json!({"name": "notes", "_meta": {"progressToken": 1}});
        let mut asked = modern("tools/call", params);
        asked.headers_mut().remove("host");
        *asked.uri_mut() = format!("http://{}/mcp", server.address).parse().unwrap();
        let response = deaf.send_request(asked).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        drop(timeout(Duration::from_secs(5), connection).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn an_http_2_connection_that_asks_nothing_is_closed_when_idle() {
    local(async {
        let server = server(quick()).await;
        let stream = hyper_util::rt::TokioIo::new(server.connect().await);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, stream)
            .await
            .unwrap();
        let connection = tokio::task::spawn_local(connection);
        // Used, it stays.
        for _ in 0..4 {
            let mut asked = modern("tools/call", json!({"name": "echo"}));
            asked.headers_mut().remove("host");
            *asked.uri_mut() = format!("http://{}/mcp", server.address).parse().unwrap();
            assert_eq!(sender.send_request(asked).await.unwrap().status(), 200);
            sleep(Duration::from_millis(600)).await;
        }
        drop(timeout(Duration::from_secs(4), connection).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_kept_http_1_connection_is_closed_when_idle() {
    local(async {
        let server = server(quick()).await;
        let mut stream = server.connect().await;
        stream
            .write_all(request("", &call("echo")).as_bytes())
            .await
            .unwrap();
        assert!(answer(&mut stream).await.contains("200 OK"));
        let began = Instant::now();
        assert_eq!(read(&mut stream, Duration::from_secs(4)).await, "");
        let took = began.elapsed();
        assert!((900..3_000).contains(&took.as_millis()), "{took:?}");
    })
    .await;
}
