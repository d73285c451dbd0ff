//! The port `Keys` as a client.

use async_trait::async_trait;
use domain::keys::{ApiKeyRecord, KeyPrefix, KeyStream, KeyUse, Keys, NewKey, Rotated, Rotation};
use domain::{CallContext, CatalogVersion, Result};

use super::link::Link;
use super::watch;
use crate::convert::{key_change_from, key_from, new_key_to, rotation_to, use_to};
use crate::{method, pb};

/// The registry's API keys over gRPC.
#[derive(Debug, Clone)]
pub struct KeysClient(Link);

impl KeysClient {
    /// A client on a link to the registry.
    #[must_use]
    pub fn new(link: Link) -> Self {
        Self(link)
    }
}

fn tenant(context: &CallContext) -> String {
    context.principal.tenant.as_str().to_owned()
}

#[async_trait]
impl Keys for KeysClient {
    async fn create(&self, context: &CallContext, key: NewKey) -> Result<ApiKeyRecord> {
        let request = new_key_to(&context.principal.tenant, key);
        let answer: pb::KeysCreateResponse =
            self.0.unary(context, &method::CREATE_KEY, request).await?;
        key_from(answer.key)
    }

    async fn list(&self, context: &CallContext) -> Result<Vec<ApiKeyRecord>> {
        let request = pb::KeysListRequest {
            tenant: tenant(context),
        };
        let answer: pb::KeysListResponse =
            self.0.unary(context, &method::LIST_KEYS, request).await?;
        answer
            .keys
            .into_iter()
            .map(|key| key_from(Some(key)))
            .collect()
    }

    async fn revoke(&self, context: &CallContext, prefix: &KeyPrefix) -> Result<ApiKeyRecord> {
        let request = pb::KeysRevokeRequest {
            tenant: tenant(context),
            prefix: prefix.to_string(),
        };
        let answer: pb::KeysRevokeResponse =
            self.0.unary(context, &method::REVOKE_KEY, request).await?;
        key_from(answer.key)
    }

    async fn rotate(
        &self,
        context: &CallContext,
        prefix: &KeyPrefix,
        rotation: Rotation,
    ) -> Result<Rotated> {
        let request = rotation_to(&context.principal.tenant, prefix, rotation);
        let answer: pb::KeysRotateResponse =
            self.0.unary(context, &method::ROTATE_KEY, request).await?;
        Ok(Rotated {
            old: key_from(answer.old)?,
            new: key_from(answer.new)?,
        })
    }

    async fn watch(&self, context: &CallContext, since: CatalogVersion) -> Result<KeyStream> {
        let request = pb::KeysWatchRequest { since: since.0 };
        watch::follow(
            &self.0,
            context,
            &method::WATCH_KEYS,
            request,
            key_change_from,
        )
        .await
    }

    async fn touch(&self, context: &CallContext, uses: Vec<KeyUse>) -> Result<()> {
        let request = pb::KeysTouchRequest {
            uses: uses.into_iter().map(use_to).collect(),
        };
        let pb::KeysTouchResponse {} = self.0.unary(context, &method::TOUCH_KEYS, request).await?;
        Ok(())
    }
}
