//! The program itself: what stays of it when it is stopped, and when it is killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed helper fails its test"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use auth::internal::{Audience, Signer, SigningKey};
use domain::runner::{RunEvent, RunStream, Runner};
use domain::{Scope, error::ErrorCode};
use futures::StreamExt;
use rpc::Endpoint;
use rpc::client::{Link, RunnerClient};
use testkit::keys::{KeyPair, write_pair};
use testkit::process::Program;
use tokio::time::Instant;

struct Running {
    program: Program,
    client: RunnerClient,
    _folder: tempfile::TempDir,
}

async fn start() -> Running {
    let folder = tempfile::tempdir().unwrap();
    let pair = write_pair(folder.path());
    let socket = format!("unix:{}", folder.path().join("executor.sock").display());
    let admin = format!("unix:{}", folder.path().join("admin.sock").display());
    let keys = pair.public.clone();
    let env = [
        ("MCP_EXECUTOR_LISTEN", socket.as_str()),
        ("MCP_ADMIN_LISTEN", admin.as_str()),
        ("MCP_INTERNAL_VERIFY_KEYS_FILE", keys.as_str()),
        ("MCP_SHUTDOWN_GRACE_MS", "5000"),
        ("MCP_EXECUTION_ENGINE", "isolate"),
    ];
    let executable = Path::new(env!("CARGO_BIN_EXE_executor"));
    let mut program = Program::start(executable, folder.path(), &[], &env);
    let engine = program
        .field_of_line("tools run in QuickJS", "engine")
        .await;
    assert_eq!(engine, "isolate");
    let client = client(&pair, &socket);
    Running {
        program,
        client,
        _folder: folder,
    }
}

fn client(pair: &KeyPair, socket: &str) -> RunnerClient {
    let key = SigningKey::from_pem(&fs::read_to_string(&pair.private).unwrap()).unwrap();
    let endpoint = Endpoint::parse("executor", socket).unwrap();
    let signer = Signer::new(Arc::new(key), Audience::Executor);
    RunnerClient::new(Link::new(&endpoint, signer).unwrap())
}

/// Runs this code, retrying while the server has not begun to listen.
async fn run(client: &RunnerClient, code: &str) -> RunStream {
    let begun = Instant::now();
    loop {
        match client
            .run(&testkit::context(&[Scope::Invoke]), testkit::call(code))
            .await
        {
            Ok(stream) => return stream,
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::Unavailable, "{error}");
                assert!(begun.elapsed() < Duration::from_secs(10), "{error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

fn sandboxes(parent: u32) -> Vec<u32> {
    let wanted = format!("\0--isolate-child\0call\0{parent}\0");
    let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.ok()?.path();
        let line = fs::read_to_string(path.join("cmdline")).ok()?;
        let id = path.file_name()?.to_str()?.parse().ok()?;
        line.contains(&wanted).then_some(id)
    });
    ids.collect()
}

async fn none_left(parent: u32) {
    let begun = Instant::now();
    while !sandboxes(parent).is_empty() {
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "sandboxes stay: {:?}",
            sandboxes(parent)
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// 24: the executor is killed in the middle of a call. Its sandboxes die with it, those that loop
/// and those that wait, and the caller learns that the tool may have run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_24_a_killed_executor_leaves_no_sandbox() {
    let Running {
        mut program,
        client,
        _folder,
    } = start().await;
    let mut stream = run(&client, "ctx.log('info', 'runs'); for (;;);").await;
    assert!(matches!(
        stream.next().await,
        Some(RunEvent::Accepted { .. })
    ));
    assert!(matches!(stream.next().await, Some(RunEvent::Log { .. })));
    let id = program.id();
    assert!(sandboxes(id).len() >= 2, "one that runs and some that wait");

    program.signal("KILL").await;
    program.ended(Duration::from_secs(5)).await;
    none_left(id).await;
    let Some(RunEvent::Finished(outcome)) = stream.next().await else {
        panic!("no end")
    };
    let failure = outcome.result.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Unavailable);
    assert!(failure.may_have_run);
}

/// A stop waits for the call that runs, takes no other, and leaves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_executor_finishes_its_calls_and_leaves_nothing() {
    let Running {
        mut program,
        client,
        _folder,
    } = start().await;
    let code = "await ctx.log('info', 'runs'); await new Promise((r) => setTimeout(r, 600)); return 'done'";
    let mut stream = run(&client, code).await;
    assert!(matches!(
        stream.next().await,
        Some(RunEvent::Accepted { .. })
    ));
    assert!(matches!(stream.next().await, Some(RunEvent::Log { .. })));
    let id = program.id();
    program.signal("TERM").await;
    let Some(RunEvent::Finished(outcome)) = stream.next().await else {
        panic!("no end")
    };
    assert_eq!(outcome.result.unwrap().unwrap().get(), "\"done\"");
    assert_eq!(
        program.ended(Duration::from_secs(8)).await,
        Some(0),
        "{:#?}",
        program.log()
    );
    none_left(id).await;
}
