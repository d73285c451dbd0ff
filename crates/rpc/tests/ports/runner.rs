//! The runner through gRPC: events, cancellation, deadlines.

use std::time::Duration;

use domain::runner::{EngineKind, Failure, LogLevel, Printed, Usage};
use domain::{Error, ErrorCode, Outcome, RunEvent, RunStream, Runner, Scope, TraceContext};
use futures::StreamExt as _;
use testkit::{FakeRunner, Step, call, context, raw};

use super::setup::{TRANSPORTS, Transport, World, within};

fn outcome() -> Outcome {
    Outcome {
        result: Err(Failure {
            code: ErrorCode::ToolFailed,
            message: "Fehler".to_owned(),
            may_have_run: true,
        }),
        printed: vec![Printed {
            level: LogLevel::Error,
            message: "✗".to_owned(),
        }],
        truncated: true,
        usage: Usage {
            queued: Duration::from_micros(1),
            checkout: Duration::from_micros(2),
            running: Duration::from_micros(3),
            cpu: Some(Duration::from_micros(4)),
            peak_memory_bytes: Some(5),
            warm: true,
        },
    }
}

fn show(events: &[RunEvent]) -> String {
    format!("{events:?}")
}

#[tokio::test]
async fn a_call_and_its_events_arrive_whole_on_every_transport() {
    for transport in TRANSPORTS {
        let events = vec![
            RunEvent::Accepted {
                executor: "e".to_owned(),
                engine: EngineKind::Docker,
            },
            RunEvent::Log {
                level: LogLevel::Notice,
                data: raw(r#"{"a" : [1, "ü"]}"#),
            },
            RunEvent::Progress {
                progress: 0.5,
                total: Some(2.0),
                message: None,
            },
            RunEvent::Progress {
                progress: 1.5,
                total: None,
                message: Some("m".to_owned()),
            },
            RunEvent::Finished(outcome()),
        ];
        let world = World::with(
            transport,
            FakeRunner::new(events.clone().into_iter().map(Step::Event)),
        )
        .await;
        let client = world.runner_client();
        let mut sent = call("return '🦀';");
        sent.args = raw(&format!(r#"{{"big":"{}"}}"#, "x".repeat(3_000_000)));
        sent.client_capabilities = Some(raw("{}"));
        sent.revision = Some(domain::Revision(7));
        let mut caller = context(&[Scope::Invoke]);
        caller.trace = TraceContext {
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            tracestate: Some("a=b".to_owned()),
        };
        let stream = client.run(&caller, sent.clone()).await.unwrap();
        let got: Vec<RunEvent> = within(5, stream.collect()).await;
        assert_eq!(show(&got), show(&events));
        let (seen, received) = world.runner.calls().remove(0);
        assert_eq!(format!("{received:?}"), format!("{sent:?}"));
        assert_eq!(seen.principal, caller.principal);
        assert_eq!(
            (seen.call_id, &seen.request_id),
            (caller.call_id, &caller.request_id)
        );
        assert_eq!(seen.trace, caller.trace);
        assert!(seen.budget > Duration::from_secs(28) && seen.budget <= caller.budget);
    }
}

#[tokio::test]
async fn a_refusal_before_accepted_is_an_error_as_it_was_made() {
    let world = World::new(Transport::Pipe).await;
    let refusal = Error::new(ErrorCode::Overloaded, "all slots are taken")
        .with_retry_after(Duration::from_millis(250));
    world.runner.refuse_with(refusal.clone());
    let client = world.runner_client();
    let error = client
        .run(&context(&[]), call(""))
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (refusal.code(), refusal.message())
    );
    assert_eq!(
        (error.retry_after(), error.may_have_run()),
        (refusal.retry_after(), false)
    );
}

#[tokio::test]
async fn dropping_the_events_stops_the_call_within_a_second() {
    for transport in TRANSPORTS {
        let world = World::with(transport, FakeRunner::hanging()).await;
        let client = world.runner_client();
        let mut stream = client.run(&context(&[]), call("")).await.unwrap();
        assert!(matches!(
            stream.next().await,
            Some(RunEvent::Accepted { .. })
        ));
        world.runner.until_running(1).await;
        drop(stream);
        within(1, world.runner.until_running(0)).await;
        assert_eq!(world.runner.abandoned(), 1);
    }
}

#[tokio::test]
async fn giving_up_while_the_call_waits_for_a_slot_stops_it() {
    let world = World::with(Transport::Tcp, FakeRunner::hanging()).await;
    world.runner.accept_after(Duration::from_secs(60));
    let client = world.runner_client();
    let (caller, job) = (context(&[]), call(""));
    let mut waiting = client.run(&caller, job);
    tokio::select! {
        _ = &mut waiting => panic!("there is no slot"),
        () = world.runner.until_running(1) => {}
    }
    drop(waiting);
    within(1, world.runner.until_running(0)).await;
}

#[tokio::test]
async fn an_open_request_stream_does_not_end_a_running_call() {
    let script = [
        Step::accepted(),
        Step::Wait(Duration::from_millis(1500)),
        Step::finished("7"),
    ];
    let world = World::with(Transport::Tcp, FakeRunner::new(script)).await;
    let events = world
        .runner_client()
        .run(&context(&[]), call(""))
        .await
        .unwrap();
    assert_finished(events, |outcome| {
        assert_eq!(outcome.result.unwrap().unwrap().get(), "7");
    })
    .await;
}

#[tokio::test]
async fn the_server_ends_a_call_whose_time_is_up() {
    let world = World::with(Transport::Pipe, FakeRunner::hanging()).await;
    let mut caller = context(&[]);
    caller.budget = Duration::from_millis(300);
    let stream = world.runner_client().run(&caller, call("")).await.unwrap();
    assert_finished(stream, |outcome| {
        let failure = outcome.result.unwrap_err();
        assert_eq!(
            (failure.code, failure.may_have_run),
            (ErrorCode::Timeout, true)
        );
    })
    .await;
    within(1, world.runner.until_running(0)).await;
}

#[tokio::test]
async fn a_call_that_gets_no_slot_in_time_is_a_timeout() {
    let world = World::with(Transport::Pipe, FakeRunner::hanging()).await;
    world.runner.accept_after(Duration::from_secs(60));
    let mut caller = context(&[]);
    caller.budget = Duration::from_millis(200);
    let waiting = world.runner_client().run(&caller, call("")).await;
    assert_eq!(waiting.map(|_| ()).unwrap_err().code(), ErrorCode::Timeout);
    within(1, world.runner.until_running(0)).await;
}

#[tokio::test]
async fn a_runner_that_ends_without_an_outcome_is_a_fault_that_says_so() {
    let world = World::with(Transport::Pipe, FakeRunner::new([Step::accepted()])).await;
    let stream = world
        .runner_client()
        .run(&context(&[]), call(""))
        .await
        .unwrap();
    assert_finished(stream, |outcome| {
        let failure = outcome.result.unwrap_err();
        assert_eq!(
            (failure.code, failure.may_have_run),
            (ErrorCode::Internal, true)
        );
    })
    .await;
}

#[tokio::test]
async fn requests_are_measured_on_both_sides() {
    let world = World::new(Transport::Pipe).await;
    let stream = world
        .runner_client()
        .run(&context(&[]), call(""))
        .await
        .unwrap();
    let _events: Vec<RunEvent> = stream.collect().await;
    world
        .runner
        .refuse_with(Error::new(ErrorCode::Overloaded, "no"));
    assert!(
        world
            .runner_client()
            .run(&context(&[]), call(""))
            .await
            .is_err()
    );
    let text = world.metrics.encode().unwrap();
    for side in ["client", "server"] {
        for code in ["OK", "RESOURCE_EXHAUSTED"] {
            let line = format!(
                "mcp_grpc_{side}_duration_seconds_count{{code=\"{code}\",method=\"Run\",service=\"dynamic_mcp.v1.Runner\"}} 1"
            );
            assert!(text.contains(&line), "{line}\n{text}");
        }
    }
}

pub(crate) async fn assert_finished(mut stream: RunStream, check: impl FnOnce(Outcome)) {
    loop {
        match within(5, stream.next()).await {
            Some(RunEvent::Finished(outcome)) => {
                check(outcome);
                assert!(stream.next().await.is_none(), "nothing after the end");
                return;
            }
            Some(_) => {}
            None => panic!("the stream ended without an outcome"),
        }
    }
}
