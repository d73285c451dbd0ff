//! Sandbox sessions through gRPC.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use domain::dependency::Dependency;
use domain::session::{
    CommandResult, EntryKind, Exec, FileEntry, Listing, Network, SessionInfo, SessionSpec, unknown,
};
use domain::tool::Runtime;
use domain::{
    Call, CallContext, ErrorCode, Resolve, Result, RunEvent, RunStream, Runner, Scope, SessionId,
    Sessions,
};
use futures::StreamExt as _;
use jiff::Timestamp;
use parking_lot::Mutex;
use rpc::client::SessionsClient;
use testkit::{FakeRunner, call, context};

use super::setup::{TRANSPORTS, Transport, World, within};

/// Answers each method with something that has every field set, and notes what it was asked.
#[derive(Default)]
struct Scripted {
    asked: Mutex<Vec<String>>,
    dropped: Arc<AtomicUsize>,
}

struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn id() -> SessionId {
    SessionId::new("executor-1", b"sealed").unwrap()
}

fn info() -> SessionInfo {
    SessionInfo {
        id: id(),
        image: "node:lts-slim".to_owned(),
        idle: Duration::from_millis(1_500),
        created_at: Timestamp::from_millisecond(1_000).unwrap(),
        last_used_at: Timestamp::from_millisecond(2_000).unwrap(),
    }
}

fn result() -> CommandResult {
    CommandResult {
        exit_code: 137,
        signal: Some("SIGKILL".to_owned()),
        stdout: "ä".to_owned(),
        stderr: "b".to_owned(),
        duration: Duration::from_micros(7),
        truncated: true,
        stdout_bytes: 8,
        stderr_bytes: 9,
        timed_out: true,
        out_of_memory: true,
    }
}

fn listing() -> Listing {
    let entry = |kind| FileEntry {
        path: format!("{kind:?}"),
        kind,
        size: 3,
    };
    Listing {
        entries: EntryKind::ALL.map(entry).to_vec(),
        truncated: true,
    }
}

impl Scripted {
    fn note(&self, text: impl Into<String>) {
        self.asked.lock().push(text.into());
    }
}

#[async_trait]
impl Sessions for Scripted {
    async fn open(&self, context: &CallContext, spec: SessionSpec) -> Result<SessionInfo> {
        self.note(format!(
            "{} {spec:?} {:?}",
            context.principal.subject, spec.env
        ));
        Ok(info())
    }

    async fn exec(
        &self,
        _: &CallContext,
        id: &SessionId,
        exec: Exec,
    ) -> Result<Vec<CommandResult>> {
        self.note(format!("{} {exec:?}", id.as_str()));
        let _counted = CountDrop(Arc::clone(&self.dropped));
        if exec.commands == ["hang"] {
            std::future::pending::<()>().await;
        }
        Ok(vec![result()])
    }

    async fn run(&self, context: &CallContext, id: &SessionId, call: Call) -> Result<RunStream> {
        self.note(format!("{} {}", id.as_str(), call.code));
        FakeRunner::answering("7").run(context, call).await
    }

    async fn write(
        &self,
        _: &CallContext,
        _: &SessionId,
        path: &str,
        bytes: Vec<u8>,
    ) -> Result<()> {
        self.note(format!("{path} {bytes:?}"));
        Ok(())
    }

    async fn read(&self, _: &CallContext, _: &SessionId, path: &str) -> Result<Vec<u8>> {
        self.note(path);
        Ok(vec![0, 255])
    }

    async fn list(&self, _: &CallContext, _: &SessionId, path: &str) -> Result<Listing> {
        self.note(path);
        Ok(listing())
    }

    async fn stop(&self, _: &CallContext, _: &SessionId) -> Result<()> {
        Err(unknown())
    }

    async fn sessions(&self, _: &CallContext) -> Result<Vec<SessionInfo>> {
        Ok(vec![info(), info()])
    }
}

async fn world(transport: Transport) -> (World, Arc<Scripted>, SessionsClient) {
    let fake = Arc::new(Scripted::default());
    let sessions: Arc<dyn Sessions> = fake.clone();
    let world = World::offering(transport, FakeRunner::answering("1"), sessions).await;
    let client = SessionsClient::new(world.link());
    (world, fake, client)
}

#[tokio::test]
async fn every_method_arrives_whole_on_every_transport() {
    for transport in TRANSPORTS {
        let (_world, fake, client) = world(transport).await;
        let me = context(&[Scope::Sandbox]);
        let spec = SessionSpec {
            image: Some("python:3-slim".to_owned()),
            runtime: Some(Runtime::Python),
            idle: Some(Duration::from_millis(2_500)),
            network: Some(Network::Bridge),
            env: BTreeMap::from([("KEY".to_owned(), "value".to_owned())]),
            dependencies: vec![Dependency {
                name: "numpy".to_owned(),
                version: "2.0.0".to_owned(),
            }],
        };
        let (shown, env) = (format!("{spec:?}"), format!("{:?}", spec.env));
        assert!(!shown.contains("value"), "{shown}");
        assert_eq!(client.open(&me, spec).await.unwrap(), info());
        let asked = fake.asked.lock().pop().unwrap();
        assert!(asked.contains(&shown) && asked.ends_with(&env), "{asked}");

        let exec = Exec {
            commands: vec!["echo 'ä'\n".to_owned(), "b".to_owned()],
            timeout: Duration::from_millis(1_234),
        };
        let asked = format!("{} {exec:?}", id().as_str());
        assert_eq!(client.exec(&me, &id(), exec).await.unwrap(), [result()]);
        assert_eq!(fake.asked.lock().pop().unwrap(), asked);

        let events: Vec<RunEvent> = client
            .run(&me, &id(), call("return 7"))
            .await
            .unwrap()
            .collect()
            .await;
        let Some(RunEvent::Finished(outcome)) = events.last() else {
            panic!("{events:?}");
        };
        assert_eq!(
            outcome.result.as_ref().unwrap().as_ref().unwrap().get(),
            "7"
        );

        client
            .write(&me, &id(), "a/b", vec![1, 0, 255])
            .await
            .unwrap();
        assert_eq!(fake.asked.lock().pop().unwrap(), "a/b [1, 0, 255]");
        assert_eq!(client.read(&me, &id(), "a").await.unwrap(), [0, 255]);
        assert_eq!(client.list(&me, &id(), ".").await.unwrap(), listing());
        let refused = client.stop(&me, &id()).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (ErrorCode::NotFound, unknown().message())
        );
        assert_eq!(client.sessions(&me).await.unwrap(), [info(), info()]);
    }
}

#[tokio::test]
async fn giving_a_command_up_drops_it_at_the_executor() {
    let (_world, fake, client) = world(Transport::Tcp).await;
    let me = context(&[Scope::Sandbox]);
    let exec = Exec {
        commands: vec!["hang".to_owned()],
        timeout: Duration::from_secs(60),
    };
    let session = id();
    let hangs = client.exec(&me, &session, exec);
    let given_up = tokio::time::timeout(Duration::from_millis(300), hangs);
    assert!(given_up.await.is_err());
    within(5, async {
        while fake.dropped.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_executor_without_an_installer_says_so_through_grpc() {
    let (world, _, _) = world(Transport::Pipe).await;
    let request = Resolve {
        runtime: Runtime::Node,
        image: "node:lts-slim".to_owned(),
        dependencies: Vec::new(),
    };
    let me = context(&[Scope::ToolsWrite]);
    let refused = world
        .runner_client()
        .resolve(&me, request)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PolicyDenied);
}
