//! Services that go away and come back.

use std::time::Duration;

use auth::internal::Audience;
use domain::{Catalog, CatalogVersion, ErrorCode, RunEvent, Runner, Scope};
use futures::StreamExt as _;
use rpc::client::{CatalogClient, RunnerClient};
use rpc::server::Incoming;
use rpc::{Endpoint, pipe};
use testkit::{FakeRunner, Identity, Link, call, context, draft};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::runner::assert_finished;
use super::setup::{Running, Transport, World, tcp, within};

/// An address where nothing listens.
async fn nowhere() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

#[tokio::test]
async fn nobody_there_is_unavailable_at_once_and_nothing_has_run() {
    let world = World::new(Transport::Tcp).await;
    let link = world.link_to(&tcp(nowhere().await));
    let start = Instant::now();
    for _ in 0..20 {
        let run = RunnerClient::new(link.clone())
            .run(&context(&[]), call(""))
            .await;
        let error = run.map(|_| ()).unwrap_err();
        assert_eq!(
            (error.code(), error.may_have_run()),
            (ErrorCode::Unavailable, false)
        );
        assert!(error.message().contains("executor"), "{error}");
        let (client, admin) = (CatalogClient::new(link.clone()), context(&[Scope::Admin]));
        let error = client.create(&admin, draft("abc")).await.unwrap_err();
        assert_eq!(
            (error.code(), error.may_have_run()),
            (ErrorCode::Unavailable, false)
        );
    }
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "attempts are fast and kept apart"
    );
}

/// A machine that is gone answers nothing at all, not even that nobody listens.
#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_come_about_has_carried_out_nothing() {
    let identity = Identity::new();
    let (dialer, _listener) = pipe();
    let endpoint = Endpoint::Pipe(dialer);
    let link = || {
        let signer = identity.signer(Audience::Executor);
        rpc::client::Link::new(&endpoint, signer).unwrap()
    };
    let run = async |link| {
        let run = RunnerClient::new(link).run(&context(&[]), call("")).await;
        run.map(|_| ()).unwrap_err()
    };
    // Nobody accepts: so many connections wait, and the next one waits for a place.
    let waiting: Vec<_> = (0..16).map(|_| link()).collect();
    let waiting = futures::future::join_all(waiting.into_iter().map(run));
    let start = Instant::now();
    let last = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let error = run(link()).await;
        (error, start.elapsed())
    };
    let (error, took) = tokio::select! {
        last = last => last,
        _ = waiting => panic!("they wait for an answer"),
    };
    assert_eq!(
        (error.code(), error.may_have_run()),
        (ErrorCode::Unavailable, false),
        "{error}"
    );
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn a_service_that_comes_back_is_found_by_the_same_client() {
    let mut world = World::new(Transport::Tcp).await;
    let (client, admin) = (world.catalog_client(), context(&[Scope::Admin]));
    client.create(&admin, draft("one")).await.unwrap();
    for name in ["two", "three"] {
        let address = world.address();
        world.server.stop();
        world.server.stopped().await;
        let error = client.create(&admin, draft(name)).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unavailable);
        let listener = TcpListener::bind(address).await.unwrap();
        world.server = Running::start(world.new_server(), Incoming::Tcp(listener));
        let heal = async {
            while let Err(error) = client.create(&admin, draft(name)).await {
                assert_eq!(error.code(), ErrorCode::Unavailable);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        within(1, heal).await;
    }
}

#[tokio::test]
async fn a_link_that_breaks_while_a_call_runs_ends_it_on_both_sides() {
    let world = World::with(Transport::Tcp, FakeRunner::hanging()).await;
    let link = Link::to(world.address()).await.unwrap();
    let client = RunnerClient::new(world.link_to(&tcp(link.address())));
    let mut stream = client.run(&context(&[]), call("")).await.unwrap();
    assert!(matches!(
        stream.next().await,
        Some(RunEvent::Accepted { .. })
    ));
    link.cut();
    assert_finished(stream, |outcome| {
        let failure = outcome.result.unwrap_err();
        assert_eq!(
            (failure.code, failure.may_have_run),
            (ErrorCode::Unavailable, true)
        );
        assert!(failure.message.contains("executor"), "{}", failure.message);
    })
    .await;
    within(1, world.runner.until_running(0)).await;
    link.heal();
    world
        .runner
        .play([testkit::Step::accepted(), testkit::Step::finished("1")]);
    let heal = async {
        while client.run(&context(&[]), call("")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(1, heal).await;
}

#[tokio::test]
async fn a_link_that_breaks_before_accepted_says_that_the_call_may_have_run() {
    let world = World::with(Transport::Tcp, FakeRunner::hanging()).await;
    world.runner.accept_after(Duration::from_secs(60));
    let link = Link::to(world.address()).await.unwrap();
    let client = RunnerClient::new(world.link_to(&tcp(link.address())));
    let (caller, job) = (context(&[]), call(""));
    let (error, ()) = tokio::join!(client.run(&caller, job), async {
        world.runner.until_running(1).await;
        link.cut();
    });
    let error = error.map(|_| ()).unwrap_err();
    assert_eq!(
        (error.code(), error.may_have_run()),
        (ErrorCode::Unavailable, true)
    );
    within(1, world.runner.until_running(0)).await;
}

#[tokio::test]
async fn a_stalled_link_is_noticed_by_pings() {
    let world = World::with(Transport::Tcp, FakeRunner::hanging()).await;
    let link = Link::to(world.address()).await.unwrap();
    let client = RunnerClient::new(world.link_to(&tcp(link.address())));
    let stream = client.run(&context(&[]), call("")).await.unwrap();
    link.stall();
    let lost = stream.filter(|event| {
        let finished = matches!(event, RunEvent::Finished(_));
        async move { finished }
    });
    let lost = within(12, Box::pin(lost).next()).await;
    let Some(RunEvent::Finished(outcome)) = lost else {
        panic!("{lost:?}")
    };
    assert_eq!(outcome.result.unwrap_err().code, ErrorCode::Unavailable);
}

#[tokio::test]
async fn a_feed_ends_when_its_link_breaks() {
    let world = World::new(Transport::Tcp).await;
    let link = Link::to(world.address()).await.unwrap();
    let client = CatalogClient::new(world.link_to(&tcp(link.address())));
    let service = context(&[Scope::Internal]);
    let mut feed = client.watch(&service, CatalogVersion(0)).await.unwrap();
    assert!(within(2, feed.next()).await.unwrap().is_ok());
    link.cut();
    let last = async {
        loop {
            match feed.next().await {
                Some(Ok(_)) => {}
                other => return other,
            }
        }
    };
    let error = within(2, last).await.unwrap().unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert!(feed.next().await.is_none());
}

#[tokio::test]
async fn stopping_ends_feeds_and_lets_calls_finish() {
    let script = [
        testkit::Step::accepted(),
        testkit::Step::Wait(Duration::from_millis(500)),
        testkit::Step::finished("42"),
    ];
    let mut world = World::with(Transport::Tcp, FakeRunner::new(script)).await;
    let service = context(&[Scope::Internal]);
    let mut feed = world
        .catalog_client()
        .watch(&service, CatalogVersion(0))
        .await
        .unwrap();
    let stream = world
        .runner_client()
        .run(&context(&[]), call(""))
        .await
        .unwrap();
    world.server.stop();
    let ended = async { while let Some(Ok(_)) = feed.next().await {} };
    within(2, ended).await;
    assert_finished(stream, |outcome| {
        assert_eq!(outcome.result.unwrap().unwrap().get(), "42");
    })
    .await;
    world.server.stopped().await;
}
