//! Services that are there and say nothing. The clock is paused: nobody waits.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use auth::internal::Audience;
use domain::catalog::Deleted;
use domain::tool::ToolWithCode;
use domain::{
    CallContext, Catalog, CatalogVersion, ChangeStream, ErrorCode, Result, Revision, Scope,
    ToolDraft, ToolName, ToolPatch, ToolRecord,
};
use futures::{StreamExt as _, stream};
use rpc::client::{CatalogClient, Link};
use rpc::server::{Incoming, Server};
use rpc::{Endpoint, pipe};
use testkit::{Identity, context, draft};

use super::setup::Running;

struct Silent;

#[async_trait]
impl Catalog for Silent {
    async fn create(&self, _: &CallContext, _: ToolDraft) -> Result<ToolRecord> {
        std::future::pending().await
    }

    async fn update(
        &self,
        _: &CallContext,
        _: &ToolName,
        _: ToolPatch,
        _: Option<Revision>,
    ) -> Result<ToolRecord> {
        std::future::pending().await
    }

    async fn delete(&self, _: &CallContext, _: &ToolName, _: Option<Revision>) -> Result<Deleted> {
        std::future::pending().await
    }

    async fn get(
        &self,
        _: &CallContext,
        _: &ToolName,
        _: Option<Revision>,
    ) -> Result<ToolWithCode> {
        std::future::pending().await
    }

    async fn code(&self, _: &CallContext, _: &ToolName, _: Revision) -> Result<Arc<str>> {
        std::future::pending().await
    }

    async fn lock(
        &self,
        _: &CallContext,
        _: &ToolName,
        _: Revision,
    ) -> Result<Option<domain::Lockfile>> {
        std::future::pending().await
    }
    async fn set_lock(
        &self,
        _: &CallContext,
        _: &ToolName,
        _: Revision,
        _: domain::Lockfile,
    ) -> Result<domain::Lockfile> {
        std::future::pending().await
    }

    async fn watch(&self, _: &CallContext, _: CatalogVersion) -> Result<ChangeStream> {
        Ok(Box::pin(stream::pending()))
    }
}

fn silent() -> (CatalogClient, Running) {
    let identity = Identity::new();
    let (dialer, listener) = pipe();
    let server = Server::new(identity.verifier(Audience::Registry)).catalog(Arc::new(Silent));
    let running = Running::start(server, Incoming::Pipe(listener));
    let signer = identity.signer(Audience::Registry);
    let link = Link::new(&Endpoint::Pipe(dialer), signer).unwrap();
    (CatalogClient::new(link), running)
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_is_given_up_long_before_the_time_of_a_call() {
    let (client, _running) = silent();
    let mut admin = context(&[Scope::Admin]);
    admin.budget = Duration::from_secs(120);
    let start = tokio::time::Instant::now();
    let read = client
        .get(&admin, &draft("abc").name, None)
        .await
        .unwrap_err();
    assert_eq!(
        (read.code(), read.may_have_run()),
        (ErrorCode::Timeout, false)
    );
    let write = client.create(&admin, draft("abc")).await.unwrap_err();
    assert_eq!(
        (write.code(), write.may_have_run()),
        (ErrorCode::Timeout, true)
    );
    assert!(start.elapsed() < Duration::from_secs(21));
}

#[tokio::test(start_paused = true)]
async fn a_short_budget_is_a_timeout() {
    let (client, _running) = silent();
    let mut admin = context(&[Scope::Admin]);
    admin.budget = Duration::from_millis(200);
    let error = client
        .get(&admin, &draft("abc").name, None)
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout);
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_says_nothing_is_broken() {
    let (client, _running) = silent();
    let service = context(&[Scope::Internal]);
    let mut feed = client.watch(&service, CatalogVersion(0)).await.unwrap();
    let start = tokio::time::Instant::now();
    let error = feed.next().await.unwrap().unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert_eq!(start.elapsed().as_secs(), 15);
    assert!(feed.next().await.is_none());
}
