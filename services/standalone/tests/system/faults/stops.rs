//! Stops while something runs.

use std::time::Duration;

use serde_json::json;
use testkit::mcp::Era;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{ENDLESS, SOON, make};
use crate::deployment::{Deployment, Kind};
use crate::processes::{assert_gone, below, busy};

/// Answers after so many milliseconds without using the processor.
const WAITS: &str = "await new Promise(done => setTimeout(done, args.millis)); return 'finished'";

async fn a_running_call_finishes(kind: Kind, era: Era, millis: u64) {
    let mut deployment = Deployment::start(kind, &[]).await;
    let client = deployment.client(era);
    make(&client, "waits.tool", WAITS).await;
    let running = async {
        let arguments = json!({"args": {"millis": millis}});
        client.ok("waits.tool", arguments).await
    };
    let stopping = async {
        sleep(Duration::from_millis(400)).await;
        deployment.front.signal("TERM").await;
        Instant::now()
    };
    let (answer, _) = tokio::join!(running, stopping);
    assert_eq!(answer["result"], "finished");
    let code = deployment.front.ended(Duration::from_secs(5)).await;
    assert_eq!(code, Some(0), "{}", deployment.front.log().join("\n"));
    if let Some(inner) = deployment.inner.take() {
        inner.executor.stop().await;
        inner.registry.stop().await;
    }
}

#[tokio::test]
async fn a_running_call_finishes_direct() {
    a_running_call_finishes(Kind::Direct, Era::Modern, 900).await;
    a_running_call_finishes(Kind::Direct, Era::Legacy, 2_500).await;
}

#[tokio::test]
async fn a_running_call_finishes_over_pipes() {
    a_running_call_finishes(Kind::Pipes, Era::Modern, 2_500).await;
}

#[tokio::test]
async fn a_running_call_finishes_three_processes() {
    a_running_call_finishes(Kind::Three, Era::Modern, 2_500).await;
}

/// The executor is told to stop while it works: the call ends, and so does the executor.
#[tokio::test]
async fn an_executor_that_stops_finishes_its_call() {
    let mut deployment = Deployment::start(Kind::Three, &[]).await;
    let client = deployment.client(Era::Modern);
    make(&client, "waits.tool", WAITS).await;
    let inner = deployment.inner.as_mut().unwrap();
    let running = client.ok("waits.tool", json!({"args": {"millis": 1_500}}));
    let stopping = async {
        sleep(Duration::from_millis(400)).await;
        inner.executor.signal("TERM").await;
        inner.executor.ended(Duration::from_secs(10)).await
    };
    let (answer, code) = tokio::join!(running, stopping);
    assert_eq!(answer["result"], "finished");
    assert_eq!(code, Some(0));
    deployment.front.stop().await;
    deployment.inner.take().unwrap().registry.stop().await;
}

/// Starts a call that never ends and gives back everything below the process.
async fn endless(
    deployment: &Deployment,
    calls: &mut JoinSet<()>,
) -> Vec<crate::processes::Process> {
    let client = deployment.client(Era::Modern);
    make(&client, "endless.tool", ENDLESS).await;
    let call = json!({"name": "endless.tool", "arguments": {}});
    calls.spawn(async move { drop(client.send("tools/call", call).await) });
    busy(deployment.front.id()).await;
    below(deployment.front.id())
}

async fn wait_for_line(deployment: &Deployment, text: &str) {
    let end = Instant::now() + SOON;
    while !deployment
        .front
        .log()
        .iter()
        .any(|line| line.contains(text))
    {
        assert!(Instant::now() < end, "never {text:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_second_interrupt_ends_at_once() {
    let mut deployment = Deployment::start(Kind::Direct, &[]).await;
    let mut calls = JoinSet::new();
    let sandboxes = endless(&deployment, &mut calls).await;
    deployment.front.signal("INT").await;
    wait_for_line(&deployment, "stopping").await;
    sleep(Duration::from_millis(300)).await;
    deployment.front.signal("INT").await;
    let code = deployment.front.ended(Duration::from_secs(1)).await;
    assert_eq!(code, Some(130));
    assert_gone(&sandboxes, SOON).await;
    calls.abort_all();
}

#[tokio::test]
async fn fault_24_a_killed_standalone_leaves_no_sandbox() {
    let mut deployment = Deployment::start(Kind::Direct, &[]).await;
    let mut calls = JoinSet::new();
    let sandboxes = endless(&deployment, &mut calls).await;
    assert!(sandboxes.len() > 1, "the pool is there too: {sandboxes:?}");
    deployment.front.signal("KILL").await;
    deployment.front.ended(SOON).await;
    assert_gone(&sandboxes, SOON).await;
    calls.abort_all();
}

/// Nothing that only waits holds a stop: idle connections, subscriptions, the registry's feed.
#[tokio::test]
async fn what_only_waits_holds_no_stop() {
    let mut deployment = Deployment::start(Kind::Three, &[]).await;
    let idle = tokio::net::TcpStream::connect(&deployment.address).await;
    let client = deployment.client(Era::Modern);
    let mut streams = JoinSet::new();
    streams.spawn(async move {
        let wanted = json!({"notifications": {"toolsListChanged": true}});
        client.send("subscriptions/listen", wanted).await
    });
    sleep(Duration::from_millis(500)).await;
    let mut inner = deployment.inner.take().unwrap();
    let started = Instant::now();
    inner.registry.signal("TERM").await;
    let code = inner.registry.ended(Duration::from_secs(5)).await;
    assert_eq!(code, Some(0), "{}", inner.registry.log().join("\n"));
    deployment.front.signal("TERM").await;
    let code = deployment.front.ended(Duration::from_secs(5)).await;
    assert_eq!(code, Some(0), "{}", deployment.front.log().join("\n"));
    inner.executor.stop().await;
    assert!(started.elapsed() < Duration::from_secs(6));
    let answer = streams.join_next().await.unwrap().unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    drop(idle);
}
