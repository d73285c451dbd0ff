//! Writes whose answer is lost on the way, sent again with the same idempotency key (threat 65).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use auth::internal::Audience;
use domain::{CallContext, Catalog, ErrorCode, IdempotencyKey, Result, Revision, ToolPatch};
use registry::{Registry, Settings};
use rpc::Endpoint;
use rpc::client::{CatalogClient, Link};
use rpc::server::{Incoming, Server};
use testkit::Identity;
use testkit::postgres::{Cluster, Durability};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{admin, name, open, postgres, small};

/// How long a caller waits for an answer that never comes.
const PATIENCE: Duration = Duration::from_millis(700);

struct World {
    registry: Registry,
    client: CatalogClient,
    link: testkit::Link,
    _serving: JoinSet<()>,
}

impl World {
    /// A registry over TCP, and a client behind a link that can lose answers.
    async fn new(registry: Registry) -> Self {
        let identity = Identity::new();
        let server = Server::new(identity.verifier(Audience::Registry));
        let server = server.catalog(Arc::new(registry.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target: SocketAddr = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let forever = std::future::pending();
            server
                .serve(Incoming::Tcp(listener), forever)
                .await
                .unwrap();
        });
        let link = testkit::Link::to(target).await.unwrap();
        let endpoint = format!("http://{}", link.address());
        let endpoint = Endpoint::parse("MCP_TEST", &endpoint).unwrap();
        let grpc = Link::new(&endpoint, identity.signer(Audience::Registry)).unwrap();
        Self {
            registry,
            client: CatalogClient::new(grpc),
            link,
            _serving: serving,
        }
    }

    /// Sends a write whose answer is lost, then again over a new connection.
    async fn twice<T>(&self, write: impl AsyncFn(&CatalogClient) -> Result<T>) -> T {
        self.link.mute();
        let lost = timeout(PATIENCE, write(&self.client)).await;
        assert!(
            lost.is_err() || lost.is_ok_and(|answer| answer.is_err()),
            "it was answered"
        );
        self.link.cut();
        sleep(Duration::from_millis(50)).await;
        self.link.heal();
        for _ in 0..50 {
            match write(&self.client).await {
                Ok(answer) => return answer,
                Err(error) => assert_eq!(error.code(), ErrorCode::Unavailable, "{error}"),
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("the link does not heal");
    }
}

fn with(key: &str) -> CallContext {
    let mut context = admin();
    context.idempotency_key = Some(IdempotencyKey::parse(key).unwrap());
    context
}

async fn one_row_same_answer(registry: Registry) {
    let world = World::new(registry).await;
    // The connection is there, so that the first write goes out at once.
    world.client.create(&admin(), small("other")).await.unwrap();
    let (create, update, delete) = (with("create"), with("update"), with("delete"));
    let tool = name("once");
    let created = world
        .twice(async |client| client.create(&create, small("once")).await)
        .await;
    let there = world.registry.get(&admin(), &tool, None).await.unwrap();
    assert_eq!((there.record, created.revision), (created, Revision(1)));

    let updated = world
        .twice(async |client| {
            let patch = ToolPatch {
                description: Some("changed".to_owned()),
                ..ToolPatch::default()
            };
            let expected = Some(Revision(1));
            client.update(&update, &tool, patch, expected).await
        })
        .await;
    let there = world.registry.get(&admin(), &tool, None).await.unwrap();
    assert_eq!((there.record, updated.revision), (updated, Revision(2)));

    world
        .twice(async |client| client.delete(&delete, &tool, None).await)
        .await;
    let gone = world.registry.get(&admin(), &tool, None).await;
    assert_eq!(gone.unwrap_err().code(), ErrorCode::NotFound);
    let anew = world
        .registry
        .create(&admin(), small("once"))
        .await
        .unwrap();
    assert_eq!(anew.revision, Revision(3), "each write was made once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_65_an_answer_that_is_lost_is_given_again_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(&folder.path().join("registry.db"), Settings::default()).await;
    one_row_same_answer(registry).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_65_an_answer_that_is_lost_is_given_again_postgres() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    let registry = postgres::open(&cluster, Settings::default()).await;
    one_row_same_answer(registry).await;
    let rows = "SELECT count(*) FROM dynamic_mcp.mcp_tools WHERE name = 'once'";
    assert_eq!(cluster.sql("postgres", rows).await, "1");
    // What is too old is no answer any more, and goes with the next one.
    let aged = "UPDATE dynamic_mcp.mcp_answers SET made_at = made_at - 86400001";
    cluster.sql("postgres", aged).await;
    let registry = postgres::open(&cluster, Settings::default()).await;
    let again = registry.create(&with("create"), small("once")).await;
    assert_eq!(again.unwrap_err().code(), ErrorCode::AlreadyExists);
    registry.create(&with("next"), small("next")).await.unwrap();
    let kept = "SELECT string_agg(key, ' ') FROM dynamic_mcp.mcp_answers";
    assert_eq!(cluster.sql("postgres", kept).await, "next");
}
