//! The port `Keys` as a service.

use std::sync::Arc;

use domain::CatalogVersion;
use domain::keys::{KeyPrefix, Keys};
use tonic::{Request, Response, Status};

use super::answer::{Shared, check_tenant};
use super::watch::{Feed, feed};
use crate::convert::{key_change_to, key_to, new_key_from, rotation_from, use_from};
use crate::method;
use crate::pb::keys_server::Keys as Service;
use crate::pb::{
    KeysCreateRequest, KeysCreateResponse, KeysListRequest, KeysListResponse, KeysRevokeRequest,
    KeysRevokeResponse, KeysRotateRequest, KeysRotateResponse, KeysTouchRequest, KeysTouchResponse,
    KeysWatchRequest, KeysWatchResponse,
};

pub(crate) struct KeysService {
    pub(crate) keys: Arc<dyn Keys>,
    pub(crate) shared: Shared,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Service for KeysService {
    async fn create(&self, request: Request<KeysCreateRequest>) -> Answer<KeysCreateResponse> {
        self.shared
            .answer(
                &method::CREATE_KEY,
                request,
                |context, request| async move {
                    check_tenant(&context, &request.tenant)?;
                    let key = self.keys.create(&context, new_key_from(request)?).await?;
                    Ok(KeysCreateResponse {
                        key: Some(key_to(key)),
                    })
                },
            )
            .await
    }

    async fn list(&self, request: Request<KeysListRequest>) -> Answer<KeysListResponse> {
        self.shared
            .answer(&method::LIST_KEYS, request, |context, request| async move {
                check_tenant(&context, &request.tenant)?;
                let keys = self.keys.list(&context).await?;
                Ok(KeysListResponse {
                    keys: keys.into_iter().map(key_to).collect(),
                })
            })
            .await
    }

    async fn revoke(&self, request: Request<KeysRevokeRequest>) -> Answer<KeysRevokeResponse> {
        self.shared
            .answer(
                &method::REVOKE_KEY,
                request,
                |context, request| async move {
                    check_tenant(&context, &request.tenant)?;
                    let prefix = KeyPrefix::parse(&request.prefix)?;
                    let key = self.keys.revoke(&context, &prefix).await?;
                    Ok(KeysRevokeResponse {
                        key: Some(key_to(key)),
                    })
                },
            )
            .await
    }

    async fn rotate(&self, request: Request<KeysRotateRequest>) -> Answer<KeysRotateResponse> {
        self.shared
            .answer(
                &method::ROTATE_KEY,
                request,
                |context, request| async move {
                    check_tenant(&context, &request.tenant)?;
                    let (prefix, rotation) = rotation_from(request)?;
                    let rotated = self.keys.rotate(&context, &prefix, rotation).await?;
                    Ok(KeysRotateResponse {
                        old: Some(key_to(rotated.old)),
                        new: Some(key_to(rotated.new)),
                    })
                },
            )
            .await
    }

    type WatchStream = Feed<KeysWatchResponse>;

    async fn watch(&self, request: Request<KeysWatchRequest>) -> Answer<Self::WatchStream> {
        self.shared
            .answer(
                &method::WATCH_KEYS,
                request,
                |context, request| async move {
                    let since = CatalogVersion(request.since);
                    let changes = self.keys.watch(&context, since).await?;
                    Ok(feed(changes, key_change_to, self.shared.stopping.clone()))
                },
            )
            .await
    }

    async fn touch(&self, request: Request<KeysTouchRequest>) -> Answer<KeysTouchResponse> {
        self.shared
            .answer(
                &method::TOUCH_KEYS,
                request,
                |context, request| async move {
                    let uses = request
                        .uses
                        .into_iter()
                        .map(use_from)
                        .collect::<Result<_, _>>()?;
                    self.keys.touch(&context, uses).await?;
                    Ok(KeysTouchResponse {})
                },
            )
            .await
    }
}
