//! What HTTP itself asks of a request to the endpoint.

use axum::body::Body;
use serde_json::json;

use super::rig::{BOTH, MODERN, Rig, legacy, modern, post};

#[tokio::test]
async fn methods_types_and_sizes_of_http() {
    let rig = Rig::new(true);
    for method in ["GET", "DELETE", "PUT", "PATCH", "OPTIONS", "TRACE"] {
        let mut request = legacy("ping", json!({}));
        *request.method_mut() = method.parse().unwrap();
        let answer = rig.answer(request).await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), "POST");
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    for content_type in [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ] {
        let answer = rig
            .answer(post(&[("content-type", content_type)], body.clone()))
            .await;
        assert_eq!(answer.error(), (415, 415), "{content_type}");
    }
    let zipped = post(&[("content-encoding", "gzip")], body.clone());
    assert_eq!(rig.answer(zipped).await.status, 415);
    for accept in [
        "",
        "application/json",
        "text/event-stream",
        "text/html",
        "application/json, text/event-stream;q=0",
    ] {
        let answer = rig.answer(post(&[("accept", accept)], body.clone())).await;
        assert_eq!(answer.error(), (406, 406), "{accept}");
    }
    for accept in [
        "*/*",
        "application/*, text/*",
        "text/event-stream; q=0.5 , APPLICATION/JSON",
    ] {
        let answer = rig.answer(post(&[("accept", accept)], body.clone())).await;
        assert_eq!(answer.result(), json!({}), "{accept}");
    }
    let utf8 = post(
        &[("content-type", "application/json; charset=utf-8")],
        body.clone(),
    );
    assert_eq!(rig.answer(utf8).await.status, 200);

    let large =
        json!({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"a": "x".repeat(1 << 20)}});
    let answer = rig.raw(large.to_string()).await;
    assert_eq!(answer.error(), (413, 413));
    // Without a length, too: the body is counted while it comes.
    let pieces = futures::stream::iter(
        std::iter::repeat_n(vec![b' '; 100_000], 11).map(Ok::<_, std::io::Error>),
    );
    assert_eq!(rig.raw(Body::from_stream(pieces)).await.error(), (413, 413));
    let arguments = json!({"text": "ü".repeat(450_000)});
    let answer = rig
        .modern(
            "tools/call",
            json!({"name": "echo", "arguments": arguments}),
        )
        .await;
    assert_eq!(answer.result()["structuredContent"], arguments);
}

#[tokio::test]
async fn bodies_in_pieces_are_put_together() {
    let text = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "echo", "arguments": {"a": "b".repeat(5_000)}}})
    .to_string();
    let pieces: Vec<_> = text
        .as_bytes()
        .chunks(7)
        .map(|piece| Ok::<_, std::io::Error>(bytes::Bytes::copy_from_slice(piece)))
        .collect();
    let rig = Rig::new(true);
    let answer = rig
        .raw(Body::from_stream(futures::stream::iter(pieces)))
        .await;
    assert_eq!(answer.result()["structuredContent"]["a"], "b".repeat(5_000));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_ends_the_wait() {
    let rig = Rig::new(true);
    let started = tokio::time::Instant::now();
    let answer = rig
        .raw(Body::from_stream(futures::stream::pending::<
            Result<Vec<u8>, std::io::Error>,
        >()))
        .await;
    assert_eq!(answer.error(), (408, 408));
    assert_eq!(started.elapsed().as_secs(), 14);
}

#[tokio::test]
async fn notifications_are_accepted_or_refused_without_a_body_of_their_own() {
    let rig = Rig::new(true);
    let note = |headers: &[(&str, &str)], method: &str| {
        post(
            headers,
            json!({"jsonrpc": "2.0", "method": method}).to_string(),
        )
    };
    let cancelled = "notifications/cancelled";
    for (request, status) in [
        (note(&[], cancelled), 202),
        (
            note(
                &[("mcp-protocol-version", "2025-11-25")],
                "notifications/unknown",
            ),
            202,
        ),
        (
            note(
                &[("mcp-protocol-version", MODERN), ("mcp-method", cancelled)],
                cancelled,
            ),
            202,
        ),
        (note(&[("mcp-protocol-version", MODERN)], cancelled), 400),
        (
            note(
                &[("mcp-protocol-version", MODERN), ("mcp-method", "other")],
                cancelled,
            ),
            400,
        ),
        (
            note(&[("mcp-protocol-version", "1900-01-01")], cancelled),
            400,
        ),
    ] {
        let answer = rig.answer(request).await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.body.is_empty(), status == 202);
    }
}

#[tokio::test]
async fn a_panic_of_the_core_is_an_error_and_not_the_end() {
    for fast in BOTH {
        let rig = Rig::new(fast);
        let answer = rig
            .answer(modern("tools/call", json!({"name": "panics"})))
            .await;
        assert_eq!(answer.json()["error"]["code"], -32603);
        assert!(!answer.header("x-request-id").is_empty());
        assert_eq!(rig.legacy("ping", json!({})).await.result(), json!({}));
    }
}
