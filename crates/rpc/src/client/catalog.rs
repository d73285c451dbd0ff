//! The port `Catalog` as a client.

use std::sync::Arc;

use async_trait::async_trait;
use domain::catalog::Deleted;
use domain::tool::ToolWithCode;
use domain::{
    CallContext, Catalog, CatalogVersion, ChangeStream, Lockfile, Result, Revision, ToolDraft,
    ToolName, ToolPatch, ToolRecord,
};

use super::link::Link;
use super::watch;
use crate::convert::{
    change_from, draft_to, locked_from, locked_to, patch_to, record_from, required,
};
use crate::{method, pb};

/// The registry's catalogue over gRPC.
#[derive(Debug, Clone)]
pub struct CatalogClient(Link);

impl CatalogClient {
    /// A client on a link to the registry.
    #[must_use]
    pub fn new(link: Link) -> Self {
        Self(link)
    }
}

fn tenant(context: &CallContext) -> String {
    context.principal.tenant.as_str().to_owned()
}

fn key(context: &CallContext) -> Option<String> {
    let key = context.idempotency_key.as_ref()?;
    Some(key.as_str().to_owned())
}

#[async_trait]
impl Catalog for CatalogClient {
    async fn create(&self, context: &CallContext, draft: ToolDraft) -> Result<ToolRecord> {
        let mut request = draft_to(&context.principal.tenant, draft);
        request.idempotency_key = key(context);
        let answer: pb::CreateResponse = self.0.unary(context, &method::CREATE, request).await?;
        record_from(answer.tool)
    }

    async fn update(
        &self,
        context: &CallContext,
        name: &ToolName,
        patch: ToolPatch,
        expected: Option<Revision>,
    ) -> Result<ToolRecord> {
        let request = pb::UpdateRequest {
            tenant: tenant(context),
            name: name.as_str().to_owned(),
            patch: Some(patch_to(patch)),
            expected_revision: expected.map(|revision| revision.0),
            idempotency_key: key(context),
        };
        let answer: pb::UpdateResponse = self.0.unary(context, &method::UPDATE, request).await?;
        record_from(answer.tool)
    }

    async fn delete(
        &self,
        context: &CallContext,
        name: &ToolName,
        expected: Option<Revision>,
    ) -> Result<Deleted> {
        let request = pb::DeleteRequest {
            tenant: tenant(context),
            name: name.as_str().to_owned(),
            expected_revision: expected.map(|revision| revision.0),
            idempotency_key: key(context),
        };
        let answer: pb::DeleteResponse = self.0.unary(context, &method::DELETE, request).await?;
        Ok(Deleted {
            version: CatalogVersion(answer.version),
        })
    }

    async fn get(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Option<Revision>,
    ) -> Result<ToolWithCode> {
        let request = pb::GetRequest {
            tenant: tenant(context),
            name: name.as_str().to_owned(),
            revision: revision.map(|revision| revision.0),
        };
        let answer: pb::GetResponse = self.0.unary(context, &method::GET, request).await?;
        Ok(ToolWithCode {
            record: record_from(answer.tool)?,
            code: Arc::from(answer.code),
        })
    }

    async fn code(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Revision,
    ) -> Result<Arc<str>> {
        let request = pb::GetCodeRequest {
            tenant: tenant(context),
            name: name.as_str().to_owned(),
            revision: revision.0,
        };
        let answer: pb::GetCodeResponse = self.0.unary(context, &method::GET_CODE, request).await?;
        Ok(Arc::from(answer.code))
    }

    async fn lock(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Revision,
    ) -> Result<Option<Lockfile>> {
        let request = pb::GetLockRequest {
            tenant: tenant(context),
            name: name.as_str().to_owned(),
            revision: revision.0,
        };
        let answer: pb::GetLockResponse = self.0.unary(context, &method::GET_LOCK, request).await?;
        answer.lock.map(locked_from).transpose()
    }

    async fn set_lock(
        &self,
        context: &CallContext,
        name: &ToolName,
        revision: Revision,
        lock: Lockfile,
    ) -> Result<Lockfile> {
        let request = pb::SetLockRequest {
            tenant: tenant(context),
            name: name.as_str().to_owned(),
            revision: revision.0,
            lock: Some(locked_to(&lock)),
        };
        let answer: pb::SetLockResponse = self.0.unary(context, &method::SET_LOCK, request).await?;
        locked_from(required("lock", answer.lock)?)
    }

    async fn watch(&self, context: &CallContext, since: CatalogVersion) -> Result<ChangeStream> {
        let request = pb::CatalogWatchRequest { since: since.0 };
        watch::follow(
            &self.0,
            context,
            &method::WATCH_CATALOG,
            request,
            change_from,
        )
        .await
    }
}
