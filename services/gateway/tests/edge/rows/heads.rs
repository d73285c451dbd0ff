//! Rows 29 to 35 and 39 on a socket: heads that are wrong, too long, or readable in two ways.

use std::time::Duration;

use gateway::http::ServeSettings;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use crate::edge::server::{Server, answer, call, local, read, request, server};

const BASE: &str = "Host: localhost\r\nContent-Type: application/json\r\n\
                    Accept: application/json, text/event-stream\r\n";

async fn ask(server: &Server, bytes: &[u8]) -> String {
    let mut stream = server.connect().await;
    // Who refuses early may close while we still send.
    let _refused = stream.write_all(bytes).await;
    read(&mut stream, Duration::from_millis(400)).await
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("closed")
}

#[tokio::test]
async fn row_29_hosts_that_are_missing_twice_or_foreign() {
    local(async {
        let server = server(ServeSettings::default()).await;
        for (host, wanted) in [
            ("", "400"),
            ("Host: localhost\r\nHost: localhost\r\n", "400"),
            ("Host: evil.example.com\r\n", "403"),
            ("Host: 127.0.0.1:1.evil.example.com\r\n", "400"),
            ("Host: localhost:port\r\n", "400"),
            ("Host: a@localhost\r\n", "400"),
            ("Host: localhost\r\n", "405"),
        ] {
            let text = format!("GET /mcp HTTP/1.1\r\n{host}\r\n");
            let answer = ask(&server, text.as_bytes()).await;
            assert_eq!(status(&answer), wanted, "{host:?}: {answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn row_30_a_foreign_origin_gets_nothing_that_a_browser_would_take() {
    local(async {
        let server = server(ServeSettings::default()).await;
        for origin in [
            "https://evil.example.com",
            "null",
            "http://localhost.evil.example.com",
            "http://localhost@evil.example.com",
            "file://",
        ] {
            for line in ["POST /mcp", "OPTIONS /mcp"] {
                let text = format!(
                    "{line} HTTP/1.1\r\n{BASE}Origin: {origin}\r\nContent-Length: 0\r\n\
                     Access-Control-Request-Method: POST\r\n\r\n"
                );
                let answer = ask(&server, text.as_bytes()).await;
                assert_eq!(status(&answer), "403", "{origin}: {answer}");
                assert!(
                    !answer.to_lowercase().contains("access-control"),
                    "{answer}"
                );
            }
        }
    })
    .await;
}

#[tokio::test]
async fn row_31_a_length_that_could_be_read_in_two_ways_is_refused_and_closes() {
    local(async {
        let server = server(ServeSettings::default()).await;
        let hidden = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";
        for framing in [
            "Content-Length: 0\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 4",
            "transfer-encoding:chunked\r\ncontent-length:4",
            "Content-Length: 4\r\nContent-Length: 4",
            "Content-Length: 4\r\nContent-Length: 5",
            "Content-Length: 4, 4",
            "Content-Length: +4",
            "Content-Length: 4 4",
            "Content-Length: 0x4",
            "Content-Length : 4",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: \x0bchunked",
            "Transfer-Encoding : chunked",
            "Transfer-Encoding:\r\n chunked",
            "Transfer-Encoding: chunked, identity",
        ] {
            let text = format!("POST /mcp HTTP/1.1\r\n{BASE}{framing}\r\n\r\n0\r\n\r\n{hidden}");
            let answer = ask(&server, text.as_bytes()).await;
            assert!(
                matches!(status(&answer), "400" | "closed"),
                "{framing:?}: {answer}"
            );
            assert!(
                answer.matches("HTTP/1.1 ").count() <= 1,
                "{framing:?}: {answer}"
            );
        }
        let body = "5\r\nhello\r\n0\r\n\r\n";
        let old = format!("POST /mcp HTTP/1.0\r\n{BASE}Transfer-Encoding: chunked\r\n\r\n{body}");
        let answer = ask(&server, old.as_bytes()).await;
        assert!(matches!(status(&answer), "400" | "closed"), "{answer}");
        assert_eq!(server.rig.fake.calls(), 0);
    })
    .await;
}

#[tokio::test]
async fn row_31_requests_that_are_sent_ahead_are_no_ambiguity() {
    local(async {
        let server = server(ServeSettings::default()).await;
        let mut stream = server.connect().await;
        let chunk = call("echo");
        let chunked = format!(
            "POST /mcp HTTP/1.1\r\n{BASE}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{chunk}\r\n0\r\n\r\n",
            chunk.len()
        );
        let two = [request("", &call("echo")), chunked, request("", &call("echo"))].concat();
        stream.write_all(two.as_bytes()).await.unwrap();
        let text = read(&mut stream, Duration::from_millis(600)).await;
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3, "{text}");
    })
    .await;
}

#[tokio::test]
async fn row_32_long_heads_get_their_status() {
    local(async {
        let server = server(ServeSettings::default()).await;
        let many: String = (0..70).map(|number| format!("X-{number}: v\r\n")).collect();
        for (head, wanted) in [
            (
                format!("GET /{} HTTP/1.1\r\n{BASE}", "p".repeat(9_000)),
                &["414"][..],
            ),
            (
                format!("GET /mcp HTTP/1.1\r\n{BASE}X: {}\r\n", "v".repeat(17_000)),
                &["431"],
            ),
            (
                format!("GET /mcp HTTP/1.1\r\n{BASE}X: {}\r\n", "v".repeat(200_000)),
                &["431", "closed"],
            ),
            (format!("GET /mcp HTTP/1.1\r\n{BASE}{many}"), &["431"]),
            (
                format!("GET /mcp HTTP/1.1\r\n{BASE}{}", many.repeat(3)),
                &["431"],
            ),
            (
                format!("GET /{} HTTP/1.1\r\n", "p".repeat(200_000)),
                &["414", "431", "closed"],
            ),
        ] {
            let answer = ask(&server, format!("{head}\r\n").as_bytes()).await;
            assert!(
                wanted.contains(&status(&answer)),
                "{}: {answer}",
                &head[..60]
            );
            assert!(answer.len() < 1_000, "{answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn row_34_methods_and_upgrades_that_are_not_spoken() {
    local(async {
        let server = server(ServeSettings::default()).await;
        for line in [
            "PUT /mcp",
            "PATCH /mcp",
            "TRACE /mcp",
            "DELETE /mcp",
            "GET /mcp",
            "HEAD /mcp",
            "BREW /mcp",
        ] {
            let answer = ask(&server, format!("{line} HTTP/1.1\r\n{BASE}\r\n").as_bytes()).await;
            assert_eq!(status(&answer), "405", "{line}: {answer}");
            assert!(answer.contains("allow: POST"), "{answer}");
            assert!(
                !answer.contains("Accept: application/json"),
                "TRACE says nothing back: {answer}"
            );
        }
        for target in ["CONNECT localhost:80", "CONNECT evil.example.com:443"] {
            let answer = ask(
                &server,
                format!("{target} HTTP/1.1\r\n{BASE}\r\n").as_bytes(),
            )
            .await;
            assert!(
                matches!(status(&answer), "400" | "403" | "404" | "405"),
                "{answer}"
            );
        }
        for upgrade in ["websocket", "h2c", "TLS/1.2"] {
            let text = format!(
                "GET /mcp HTTP/1.1\r\n{BASE}Connection: Upgrade, HTTP2-Settings\r\n\
                 Upgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
            );
            let answer = ask(&server, text.as_bytes()).await;
            assert_eq!(status(&answer), "405", "{upgrade}: {answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn row_35_bodies_that_are_too_large_however_they_say_it() {
    local(async {
        let server = server(ServeSettings::default()).await;
        let post = format!("POST /mcp HTTP/1.1\r\n{BASE}");
        let chunk = format!("{:x}\r\n{}\r\n", 100_000, "x".repeat(100_000)).repeat(11);
        for (rest, wanted) in [
            ("Content-Length: 1048577\r\n\r\n".to_owned(), "413"),
            (
                "Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n".to_owned(),
                "413",
            ),
            (
                "Content-Length: 9999999999999999999999\r\n\r\n".to_owned(),
                "400",
            ),
            (format!("Transfer-Encoding: chunked\r\n\r\n{chunk}"), "413"),
            (
                "Content-Length: 20\r\nContent-Encoding: gzip\r\n\r\n".to_owned(),
                "415",
            ),
            (
                "Content-Length: 20\r\nContent-Encoding: br\r\n\r\n".to_owned(),
                "415",
            ),
        ] {
            let mut stream = server.connect().await;
            let began = Instant::now();
            let _refused = stream.write_all(format!("{post}{rest}").as_bytes()).await;
            let text = read(&mut stream, Duration::from_millis(1_500)).await;
            assert_eq!(status(&text), wanted, "{}: {text}", &rest[..20]);
            assert!(!text.contains("100 Continue"), "{text}");
            assert!(began.elapsed() < Duration::from_secs(2));
        }
        // Whoever asks first and is small enough is told to go on.
        let body = call("echo");
        let head = request("Expect: 100-continue\r\n", &body);
        let mut stream = server.connect().await;
        let (head, _) = head.split_once("\r\n\r\n").unwrap();
        stream
            .write_all(format!("{head}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let go_on = answer(&mut stream).await;
        assert!(go_on.starts_with("HTTP/1.1 100 Continue"), "{go_on}");
        stream.write_all(body.as_bytes()).await.unwrap();
        assert!(answer(&mut stream).await.contains("200 OK"));
    })
    .await;
}

#[tokio::test]
async fn row_39_no_answer_says_what_made_it() {
    local(async {
        let server = server(ServeSettings::default()).await;
        let gone = json!({"jsonrpc": "2.0", "id": 1, "method": "no/such"}).to_string();
        for text in [
            request("", &gone),
            format!("GET /nowhere HTTP/1.1\r\n{BASE}\r\n"),
            "NONSENSE\r\n\r\n".to_owned(),
            format!("GET /mcp HTTP/9.9\r\n{BASE}\r\n"),
        ] {
            let answer = ask(&server, text.as_bytes()).await.to_lowercase();
            for word in ["server:", "x-powered-by", "hyper", "axum", "rmcp", "rust"] {
                assert!(!answer.contains(word), "{word}: {answer}");
            }
        }
    })
    .await;
}
