//! The port `Catalog` as a service.

use std::sync::Arc;

use domain::{CallContext, Catalog, CatalogVersion, IdempotencyKey, Revision, ToolName};
use tonic::{Request, Response, Status};

use super::answer::{Shared, check_tenant};
use super::watch::{Feed, feed};
use crate::convert::{
    change_to, draft_from, locked_from, locked_to, patch_from, record_to, required,
};
use crate::method;
use crate::pb::catalog_server::Catalog as Service;
use crate::pb::{
    CatalogWatchRequest, CatalogWatchResponse, CreateRequest, CreateResponse, DeleteRequest,
    DeleteResponse, GetCodeRequest, GetCodeResponse, GetLockRequest, GetLockResponse, GetRequest,
    GetResponse, SetLockRequest, SetLockResponse, UpdateRequest, UpdateResponse,
};

pub(crate) struct CatalogService {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) shared: Shared,
}

type Answer<T> = Result<Response<T>, Status>;

/// The context of a write with the key that its message has.
fn keyed(mut context: CallContext, key: Option<&str>) -> domain::Result<CallContext> {
    context.idempotency_key = key.map(IdempotencyKey::parse).transpose()?;
    Ok(context)
}

#[tonic::async_trait]
impl Service for CatalogService {
    async fn create(&self, request: Request<CreateRequest>) -> Answer<CreateResponse> {
        self.shared
            .answer(&method::CREATE, request, |context, request| async move {
                check_tenant(&context, &request.tenant)?;
                let context = keyed(context, request.idempotency_key.as_deref())?;
                let record = self.catalog.create(&context, draft_from(request)?).await?;
                Ok(CreateResponse {
                    tool: Some(record_to(record)),
                })
            })
            .await
    }

    async fn update(&self, request: Request<UpdateRequest>) -> Answer<UpdateResponse> {
        self.shared
            .answer(&method::UPDATE, request, |context, request| async move {
                check_tenant(&context, &request.tenant)?;
                let context = keyed(context, request.idempotency_key.as_deref())?;
                let name = ToolName::parse(&request.name)?;
                let patch = patch_from(required("patch", request.patch)?)?;
                let expected = request.expected_revision.map(Revision);
                let record = self
                    .catalog
                    .update(&context, &name, patch, expected)
                    .await?;
                Ok(UpdateResponse {
                    tool: Some(record_to(record)),
                })
            })
            .await
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Answer<DeleteResponse> {
        self.shared
            .answer(&method::DELETE, request, |context, request| async move {
                check_tenant(&context, &request.tenant)?;
                let context = keyed(context, request.idempotency_key.as_deref())?;
                let name = ToolName::parse(&request.name)?;
                let expected = request.expected_revision.map(Revision);
                let deleted = self.catalog.delete(&context, &name, expected).await?;
                Ok(DeleteResponse {
                    version: deleted.version.0,
                })
            })
            .await
    }

    async fn get(&self, request: Request<GetRequest>) -> Answer<GetResponse> {
        self.shared
            .answer(&method::GET, request, |context, request| async move {
                check_tenant(&context, &request.tenant)?;
                let name = ToolName::parse(&request.name)?;
                let revision = request.revision.map(Revision);
                let tool = self.catalog.get(&context, &name, revision).await?;
                Ok(GetResponse {
                    tool: Some(record_to(tool.record)),
                    code: tool.code.as_ref().to_owned(),
                })
            })
            .await
    }

    async fn get_code(&self, request: Request<GetCodeRequest>) -> Answer<GetCodeResponse> {
        self.shared
            .answer(&method::GET_CODE, request, |context, request| async move {
                check_tenant(&context, &request.tenant)?;
                let name = ToolName::parse(&request.name)?;
                let code = self
                    .catalog
                    .code(&context, &name, Revision(request.revision))
                    .await?;
                Ok(GetCodeResponse {
                    code: code.as_ref().to_owned(),
                })
            })
            .await
    }

    async fn get_lock(&self, request: Request<GetLockRequest>) -> Answer<GetLockResponse> {
        self.shared
            .answer(&method::GET_LOCK, request, |context, request| async move {
                check_tenant(&context, &request.tenant)?;
                let name = ToolName::parse(&request.name)?;
                let lock = self
                    .catalog
                    .lock(&context, &name, Revision(request.revision))
                    .await?;
                Ok(GetLockResponse {
                    lock: lock.as_ref().map(locked_to),
                })
            })
            .await
    }

    async fn set_lock(&self, request: Request<SetLockRequest>) -> Answer<SetLockResponse> {
        self.shared
            .answer(&method::SET_LOCK, request, |context, request| async move {
                check_tenant(&context, &request.tenant)?;
                let name = ToolName::parse(&request.name)?;
                let lock = locked_from(required("lock", request.lock)?)?;
                let kept = self
                    .catalog
                    .set_lock(&context, &name, Revision(request.revision), lock)
                    .await?;
                Ok(SetLockResponse {
                    lock: Some(locked_to(&kept)),
                })
            })
            .await
    }

    type WatchStream = Feed<CatalogWatchResponse>;

    async fn watch(&self, request: Request<CatalogWatchRequest>) -> Answer<Self::WatchStream> {
        self.shared
            .answer(
                &method::WATCH_CATALOG,
                request,
                |context, request| async move {
                    let since = CatalogVersion(request.since);
                    let changes = self.catalog.watch(&context, since).await?;
                    Ok(feed(changes, change_to, self.shared.stopping.clone()))
                },
            )
            .await
    }
}
