//! Bounds of the transport.

use std::time::Duration;

use auth::internal::Audience;
use domain::{Catalog as _, ErrorCode, Runner as _, Scope};
use futures::StreamExt as _;
use prost::Message;
use rpc::client::CatalogClient;
use rpc::server::Incoming;
use testkit::{FakeRunner, Step, call, context, draft, raw as json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

use super::raw::{self, Named};
use super::runner::assert_finished;
use super::setup::{Running, Transport, World, tcp, within};

pub(crate) const RUN: &str = "/dynamic_mcp.v1.Runner/Run";
const DELETE: &str = "/dynamic_mcp.v1.Catalog/Delete";

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_on_both_sides() {
    let world = World::new(Transport::Tcp).await;
    let mut large = draft("abc");
    large.code = "x".repeat(5 << 20).into();
    let admin = context(&[Scope::Admin]);
    let error = world
        .catalog_client()
        .create(&admin, large)
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidArgument);
    assert_eq!(error.limit(), Some("at most 4194304 bytes"));

    let message = Named {
        tenant: "default".to_owned(),
        name: "x".repeat(2 << 20),
    };
    let signer = world.identity.signer(Audience::Executor);
    let token = signer.sign(&admin, DELETE, &raw::bytes(&message)).unwrap();
    let headers = [("dynamic-mcp-identity", token.to_str().unwrap().to_owned())];
    let channel = raw::connect(world.address()).await;
    let status = raw::unary(&channel, DELETE, &headers, message)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    // The connection is as good as before.
    world
        .catalog_client()
        .create(&admin, draft("abc"))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_largest_results_and_arguments_pass() {
    let result = format!("\"{}\"", "r".repeat(10_000_000));
    let world = World::with(Transport::Pipe, FakeRunner::answering(&result)).await;
    let mut largest = call(&"x".repeat(800_000));
    largest.args = json(&format!("\"{}\"", "a".repeat(16 << 20)));
    let stream = world
        .runner_client()
        .run(&context(&[]), largest)
        .await
        .unwrap();
    assert_finished(stream, |outcome| {
        assert_eq!(outcome.result.unwrap().unwrap().get().len(), result.len());
    })
    .await;
}

#[tokio::test]
async fn a_result_over_the_bound_is_named_as_such() {
    let script = [
        Step::accepted(),
        Step::finished(&format!("\"{}\"", "r".repeat(21 << 20))),
    ];
    let world = World::with(Transport::Pipe, FakeRunner::new(script)).await;
    let stream = world
        .runner_client()
        .run(&context(&[]), call(""))
        .await
        .unwrap();
    assert_finished(stream, |outcome| {
        assert_eq!(outcome.result.unwrap_err().code, ErrorCode::OutputTooLarge);
    })
    .await;
}

#[tokio::test]
async fn many_calls_share_one_connection() {
    let script = [
        Step::accepted(),
        Step::Wait(Duration::from_millis(300)),
        Step::finished("1"),
    ];
    let world = World::with(Transport::Tcp, FakeRunner::new(script)).await;
    let client = world.runner_client();
    let calls = (0..500).map(|_| async {
        let stream = client.run(&context(&[]), call("")).await.unwrap();
        stream.count().await
    });
    let events: Vec<usize> = within(10, futures::future::join_all(calls)).await;
    assert_eq!(events, vec![2; 500]);
}

#[tokio::test]
async fn headers_that_are_too_large_do_not_get_in() {
    let world = World::new(Transport::Tcp).await;
    let channel = raw::connect(world.address()).await;
    let headers = [("x-filler", "x".repeat(64 * 1024))];
    let message = Named {
        tenant: "default".to_owned(),
        name: "abc".to_owned(),
    };
    assert!(
        raw::unary(&channel, DELETE, &headers, message)
            .await
            .is_err()
    );
    let admin = context(&[Scope::Admin]);
    world
        .catalog_client()
        .create(&admin, draft("abc"))
        .await
        .unwrap();
}

/// The first message of Run, so far as these tests need it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RunRequest {
    #[prost(message, optional, tag = "1")]
    call: Option<Call>,
}

#[derive(Clone, PartialEq, Message)]
struct Call {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(bytes = "vec", tag = "5")]
    code_digest: Vec<u8>,
    #[prost(string, tag = "6")]
    args_json: String,
    #[prost(int32, tag = "7")]
    runtime: i32,
    #[prost(int32, tag = "8")]
    engine: i32,
    #[prost(int32, tag = "9")]
    isolation: i32,
    #[prost(message, optional, tag = "12")]
    limits: Option<raw::Anything>,
}

pub(crate) fn run_request() -> RunRequest {
    RunRequest {
        call: Some(Call {
            tenant: "default".to_owned(),
            code_digest: vec![0; 32],
            args_json: "{}".to_owned(),
            runtime: 1,
            engine: 1,
            isolation: 1,
            limits: Some(raw::Anything {}),
        }),
    }
}

pub(crate) fn run_headers(world: &World) -> [(&'static str, String); 1] {
    let signer = world.identity.signer(Audience::Executor);
    let token = signer
        .sign(&context(&[]), RUN, &raw::bytes(&run_request()))
        .unwrap();
    [("dynamic-mcp-identity", token.to_str().unwrap().to_owned())]
}

#[tokio::test]
async fn the_end_of_the_request_stream_cancels_the_call() {
    let world = World::with(Transport::Tcp, FakeRunner::hanging()).await;
    let channel = raw::connect(world.address()).await;
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let messages = futures::stream::once(async { run_request() })
        .chain(futures::stream::once(ended).filter_map(|_| std::future::ready(None)));
    let mut events = raw::streaming(&channel, RUN, &run_headers(&world), messages)
        .await
        .unwrap();
    assert!(events.message().await.unwrap().is_some());
    world.runner.until_running(1).await;
    drop(end);
    within(1, world.runner.until_running(0)).await;
    let status = within(1, events.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::Cancelled);
}

#[tokio::test]
async fn a_second_message_is_refused_and_ends_the_call() {
    let world = World::with(Transport::Tcp, FakeRunner::hanging()).await;
    let channel = raw::connect(world.address()).await;
    let messages =
        futures::stream::iter([run_request(), run_request()]).chain(futures::stream::pending());
    let mut events = match raw::streaming(&channel, RUN, &run_headers(&world), messages).await {
        Ok(events) => events,
        Err(status) => {
            assert_eq!(status.code(), Code::InvalidArgument);
            return;
        }
    };
    let status = loop {
        match within(1, events.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the call went on"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::InvalidArgument);
    within(1, world.runner.until_running(0)).await;
}

#[tokio::test]
async fn who_says_nothing_is_put_out() {
    let world = World::new(Transport::Tcp).await;
    let mut silent = TcpStream::connect(world.address()).await.unwrap();
    silent.write_all(b"PRI * HTTP/2.0").await.unwrap();
    let mut rest = Vec::new();
    // Ended by the server, in whatever way.
    let ended = within(8, silent.read_to_end(&mut rest)).await;
    assert!(
        ended.is_ok()
            || ended.is_err_and(|reason| reason.kind() == std::io::ErrorKind::ConnectionReset)
    );
}

#[tokio::test]
async fn what_is_not_http2_is_put_out() {
    let world = World::new(Transport::Tcp).await;
    let mut stranger = TcpStream::connect(world.address()).await.unwrap();
    stranger
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let _ended = within(2, stranger.read_to_end(&mut rest)).await;
    assert!(!rest.starts_with(b"HTTP/1.1 2"));
}

#[tokio::test]
async fn connections_beyond_the_bound_are_closed_and_a_freed_place_is_taken() {
    let world = World::new(Transport::Tcp).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = world.new_server().with_max_connections(1);
    let _running = Running::start(server, Incoming::Tcp(listener));
    let admin = context(&[Scope::Admin]);
    let first = CatalogClient::new(world.link_to(&tcp(address)));
    first.create(&admin, draft("one")).await.unwrap();
    let second = CatalogClient::new(world.link_to(&tcp(address)));
    let error = within(5, second.create(&admin, draft("two")))
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    first.create(&admin, draft("three")).await.unwrap();
    drop(first);
    let freed = async {
        while second.create(&admin, draft("two")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(5, freed).await;
}
