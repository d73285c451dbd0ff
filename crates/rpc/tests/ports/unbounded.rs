//! Row 91 of the threats: callers that say no end and open without end.

use std::time::Duration;

use auth::internal::Audience;
use domain::{Catalog as _, Scope};
use testkit::frames::{END_HEADERS, Taken, flood, frame, head, hello, kind};
use testkit::{FakeRunner, context, draft};
use tokio::net::TcpStream;

use super::limits::{RUN, run_headers, run_request};
use super::raw;
use super::setup::{Transport, World, within};

/// A request that names no time gets the server's.
#[tokio::test]
async fn threat_91_without_a_deadline_a_call_has_the_servers() {
    let world = World::with(Transport::Tcp, FakeRunner::hanging()).await;
    let channel = raw::connect(world.address()).await;
    let message = futures::stream::iter([run_request()]);
    let message = futures::StreamExt::chain(message, futures::stream::pending());
    let run = raw::streaming(&channel, RUN, &run_headers(&world), message).await;
    within(2, world.runner.until_running(1)).await;
    let (seen, _) = world.runner.calls().remove(0);
    assert_eq!(seen.budget, Duration::from_secs(30));
    drop(run);
}

/// 10,000 requests at once on one connection, each with an identity that was good for its head and
/// none with its message: the connection ends, nothing runs, others are served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_91_ten_thousand_streams_end_their_connection_and_nobody_elses() {
    let world = World::with(Transport::Tcp, FakeRunner::answering("1")).await;
    let signer = world.identity.signer(Audience::Executor);
    let token = signer.sign(&context(&[]), RUN, &raw::bytes(&run_request()));
    let token = token.unwrap();
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", RUN),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("dynamic-mcp-identity", token.to_str().unwrap()),
    ];
    let block = head(&fields);
    let open = (0..10_000_u32)
        .map(move |number| frame(kind::HEADERS, END_HEADERS, number * 2 + 1, &block));
    let pieces = std::iter::once(hello()).chain(open);
    let stream = TcpStream::connect(world.address()).await.unwrap();
    let admin = context(&[Scope::Admin]);
    let client = world.catalog_client();
    let (taken, made) = tokio::join!(
        Box::pin(flood(stream, pieces, true, Duration::from_secs(20))),
        within(10, client.create(&admin, draft("others.go.on"))),
    );
    assert_eq!(taken, Taken::Closed);
    made.unwrap();
    assert!(world.runner.calls().is_empty());
    within(5, client.create(&admin, draft("afterwards")))
        .await
        .unwrap();
}
