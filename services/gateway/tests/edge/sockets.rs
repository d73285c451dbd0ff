//! What can only be seen on a socket.

use std::time::Duration;

use gateway::http::ServeSettings;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::server::{answer, call, local, read, request, server};

#[tokio::test]
async fn connections_are_kept_and_calls_answered_in_order() {
    local(async {
        let server = server(ServeSettings::default()).await;
        let mut stream = server.connect().await;
        for _ in 0..3 {
            stream
                .write_all(request("", &call("echo")).as_bytes())
                .await
                .unwrap();
            let answer = answer(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.ends_with('}'), "{answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_oversized_body_is_refused_unread_and_without_100_continue() {
    local(async {
        let server = server(ServeSettings::default()).await;
        let mut stream = server.connect().await;
        let head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                    Accept: application/json, text/event-stream\r\nContent-Length: 1000000000\r\n\
                    Expect: 100-continue\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let started = Instant::now();
        let text = read(&mut stream, Duration::from_secs(5)).await;
        assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
        assert!(!text.contains("100 Continue"), "{text}");
        assert!(started.elapsed() < Duration::from_secs(1));
    })
    .await;
}

#[tokio::test]
async fn a_connection_outlives_a_refusal_that_came_before_the_body() {
    local(async {
        let server = server(ServeSettings::default()).await;
        let mut stream = server.connect().await;
        let head = "POST /nowhere HTTP/1.1\r\nHost: localhost\r\n";
        for (length, body) in [
            ("Content-Length: 2", "{}"),
            ("Transfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n"),
        ] {
            let head = format!("{head}{length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            sleep(Duration::from_millis(50)).await;
            stream.write_all(body.as_bytes()).await.unwrap();
            let refusal = answer(&mut stream).await;
            assert!(refusal.starts_with("HTTP/1.1 404 "), "{refusal}");
            assert!(!refusal.contains("connection: close"), "{refusal}");
        }
        let call = request("", &call("echo"));
        stream.write_all(call.as_bytes()).await.unwrap();
        let answer = answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn a_refusal_says_when_the_body_is_too_long_or_too_late_to_keep_the_connection() {
    local(async {
        let server = server(ServeSettings::default()).await;
        for (length, least, most) in [
            ("Content-Length: 70000", 0, 500),
            ("Content-Length: 2\r\nExpect: 100-continue", 0, 500),
            ("Content-Length: 2", 900, 3_000),
        ] {
            let mut stream = server.connect().await;
            let head = format!("POST /nowhere HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let started = Instant::now();
            let text = read(&mut stream, Duration::from_secs(5)).await;
            let took = started.elapsed().as_millis();
            assert!(text.starts_with("HTTP/1.1 404 "), "{text}");
            assert!(text.contains("connection: close"), "{text}");
            assert!((least..most).contains(&took), "{length}: {took} ms");
        }
    })
    .await;
}

#[tokio::test]
async fn messages_that_could_be_read_in_two_ways_are_refused() {
    local(async {
        let server = server(ServeSettings::default()).await;
        let base = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                    Accept: application/json, text/event-stream\r\n";
        for bad in [
            "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
            "Content-Length: +2\r\n\r\n{}",
            "Content-Length: 2, 3\r\n\r\n{}x",
            "Transfer-Encoding: chunked, identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
            "X-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
            "X-Nul: a\0b\r\nContent-Length: 2\r\n\r\n{}",
            "Host: localhost\r\nContent-Length: 2\r\n\r\n{}",
        ] {
            let mut stream = server.connect().await;
            stream
                .write_all(format!("{base}{bad}").as_bytes())
                .await
                .unwrap();
            let text = read(&mut stream, Duration::from_millis(300)).await;
            let status = text.split(' ').nth(1).unwrap_or("closed");
            assert!(matches!(status, "400" | "closed"), "{bad:?}: {text}");
            assert!(text.matches("HTTP/1.1 ").count() <= 1, "{bad:?}: {text}");
        }
        assert_eq!(server.rig.fake.calls(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_off_and_an_idle_connection_is_not() {
    local(async {
        let settings = ServeSettings {
            header_timeout: Duration::from_millis(300),
            idle_timeout: Duration::from_secs(20),
            ..ServeSettings::default()
        };
        let server = server(settings).await;
        let mut idle = server.connect().await;
        idle.write_all(request("", &call("echo")).as_bytes())
            .await
            .unwrap();
        answer(&mut idle).await;

        let mut slow = server.connect().await;
        let started = Instant::now();
        for byte in
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaa".bytes()
        {
            if slow.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(read(&mut slow, Duration::from_secs(5)).await, "");
        assert!(
            started.elapsed() < Duration::from_secs(3),
            "{:?}",
            started.elapsed()
        );

        idle.write_all(request("", &call("echo")).as_bytes())
            .await
            .unwrap();
        assert!(answer(&mut idle).await.contains("200 OK"));
    })
    .await;
}

#[tokio::test]
async fn a_connection_too_many_is_closed_at_once() {
    local(async {
        let settings = ServeSettings {
            max_connections: 2,
            ..ServeSettings::default()
        };
        let server = server(settings).await;
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut stream = server.connect().await;
            stream
                .write_all(request("", &call("echo")).as_bytes())
                .await
                .unwrap();
            answer(&mut stream).await;
            held.push(stream);
        }
        let mut one_more = server.connect().await;
        assert_eq!(read(&mut one_more, Duration::from_secs(2)).await, "");
        held.pop();
        sleep(Duration::from_millis(50)).await;
        let mut again = server.connect().await;
        again
            .write_all(request("", &call("echo")).as_bytes())
            .await
            .unwrap();
        assert!(answer(&mut again).await.contains("200 OK"));
    })
    .await;
}

#[tokio::test]
async fn a_closed_socket_cancels_the_call_before_and_after_the_stream_began() {
    local(async {
        let server = server(ServeSettings::default()).await;
        for wait in [50, 1_200] {
            let mut stream = server.connect().await;
            stream
                .write_all(request("", &call("hang")).as_bytes())
                .await
                .unwrap();
            sleep(Duration::from_millis(wait)).await;
            assert_eq!(server.rig.fake.running(), 1);
            drop(stream);
            let started = Instant::now();
            while server.rig.fake.running() > 0 {
                assert!(
                    started.elapsed() < Duration::from_secs(5),
                    "after {wait} ms"
                );
                sleep(Duration::from_millis(5)).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_drain_lets_calls_end_and_closes_idle_connections() {
    local(async {
        let server = server(ServeSettings::default()).await;
        let mut idle = server.connect().await;
        idle.write_all(request("", &call("echo")).as_bytes())
            .await
            .unwrap();
        answer(&mut idle).await;
        let mut busy = server.connect().await;
        let body = call("echo");
        let (first, rest) = request("", &body).split_at(200).into_owned();
        busy.write_all(first.as_bytes()).await.unwrap();
        sleep(Duration::from_millis(50)).await;
        server.stop.cancel();
        assert_eq!(read(&mut idle, Duration::from_secs(2)).await, "");
        assert!(TcpStream::connect(server.address).await.is_err());
        busy.write_all(rest.as_bytes()).await.unwrap();
        assert!(
            read(&mut busy, Duration::from_secs(2))
                .await
                .contains("200 OK")
        );
        timeout(Duration::from_secs(5), server.task)
            .await
            .unwrap()
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_connection() {
    local(async {
        let settings = ServeSettings {
            max_connections: 1,
            write_timeout: Duration::from_millis(300),
            ..ServeSettings::default()
        };
        let server = server(settings).await;
        let mut deaf = server.connect().await;
        let params = json!({"name": "echo", "arguments": {"a": "x".repeat(900_000)}});
        let large = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let large = request("", &large.to_string());
        let writing = tokio::task::spawn_local(async move {
            // More than the buffers of both ends can hold.
            while deaf.write_all(large.as_bytes()).await.is_ok() {}
        });
        timeout(Duration::from_secs(10), writing)
            .await
            .unwrap()
            .unwrap();
        let mut next = server.connect().await;
        next.write_all(request("", &call("echo")).as_bytes())
            .await
            .unwrap();
        assert!(answer(&mut next).await.contains("200 OK"));
    })
    .await;
}

#[tokio::test]
async fn http_2_is_spoken_to_those_who_begin_with_it() {
    local(async {
        let server = server(ServeSettings::default()).await;
        let stream = hyper_util::rt::TokioIo::new(server.connect().await);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, stream)
            .await
            .unwrap();
        tokio::task::spawn_local(connection);
        let mut streams = Vec::new();
        for _ in 0..20 {
            let mut request = super::rig::modern("tools/call", json!({"name": "notes"}));
            request.headers_mut().remove("host");
            *request.uri_mut() = format!("http://{}/mcp", server.address).parse().unwrap();
            streams.push(sender.send_request(request));
        }
        for stream in streams {
            let response = stream.await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.version(), http::Version::HTTP_2);
        }
    })
    .await;
}

/// Over HTTP/2 a client can take the heads of many answers and none of the bodies.
#[tokio::test]
async fn an_http_2_client_that_does_not_read_loses_its_connection_and_fills_nothing() {
    local(async {
        let settings = ServeSettings {
            write_timeout: Duration::from_secs(2),
            max_unread_bytes: 100_000,
            ..ServeSettings::default()
        };
        let server = server(settings).await;
        let stream = hyper_util::rt::TokioIo::new(server.connect().await);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut deaf, connection) = hyper::client::conn::http2::Builder::new(executor)
            .initial_stream_window_size(1)
            .handshake(stream)
            .await
            .unwrap();
        let connection = tokio::task::spawn_local(connection);
        let mut ask = |bytes: usize| {
            let arguments = json!({"a": "x".repeat(bytes)});
            let params = json!({"name": "echo", "arguments": arguments});
            let mut request = super::rig::modern("tools/call", params);
            request.headers_mut().remove("host");
            *request.uri_mut() = format!("http://{}/mcp", server.address).parse().unwrap();
            deaf.send_request(request)
        };
        let small = ask(1_000).await.unwrap();
        assert_eq!(small.status(), 200);
        let large = ask(200_000).await.unwrap();
        assert_eq!(large.status(), 200);
        let refused = ask(1_000).await.unwrap();
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.headers()["retry-after"], "1");
        drop(timeout(Duration::from_secs(5), connection).await.unwrap());
        let mut next = server.connect().await;
        next.write_all(request("", &call("echo")).as_bytes())
            .await
            .unwrap();
        assert!(answer(&mut next).await.contains("200 OK"));
    })
    .await;
}

trait Halves {
    fn into_owned(self) -> (String, String);
}

impl Halves for (&str, &str) {
    fn into_owned(self) -> (String, String) {
        (self.0.to_owned(), self.1.to_owned())
    }
}
