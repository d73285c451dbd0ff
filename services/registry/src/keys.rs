//! The rules of API keys.

pub(crate) mod audit;
mod feed;

use std::sync::Arc;

use async_trait::async_trait;
use domain::audit::Action as Recorded;
use domain::keys::{
    ApiKeyRecord, KeptKey, KeyPrefix, KeyStream, KeyUse, Keys, MAX_USES, NewKey, Rotated, Rotation,
};
use domain::principal::{Action, authorize};
use domain::{CallContext, CatalogVersion, Error, ErrorCode, Result, TenantId};
use jiff::Timestamp;
use serde_json::json;

use self::audit::Change;
use crate::registry::{Core, Registry};
use crate::store::keys::{KeyWrite, KeysNow};

#[async_trait]
impl Keys for Registry {
    async fn create(&self, context: &CallContext, key: NewKey) -> Result<ApiKeyRecord> {
        authorize(&context.principal, Action::ManageKeys)?;
        let now = now();
        key.check(now)?;
        let tenant = context.principal.tenant.clone();
        let by = context.principal.subject.clone();
        let (prefix, prefixes) = (key.prefix, vec![key.prefix]);
        let details = vec![
            ("name", json!(key.name)),
            ("scopes", json!(key.scopes)),
            ("subject", json!(key.subject)),
            ("expiresAt", json!(key.expires_at)),
        ];
        let limits = self.core.key_limits();
        let decide = move |keys: KeysNow| {
            is_free(&keys, key.prefix)?;
            limits.check(&keys)?;
            let record = ApiKeyRecord::made(key.clone(), tenant.clone(), &by, now);
            let digest = key.digest;
            Ok(vec![KeptKey { record, digest }])
        };
        let change = Change {
            context,
            action: Recorded::KeyCreate,
            prefix,
            details,
        };
        let work = self.change(context, "key_create", prefixes, now, decide);
        let mut made = self.recorded(change, work).await?;
        made.pop().ok_or_else(nothing)
    }

    async fn list(&self, context: &CallContext) -> Result<Vec<ApiKeyRecord>> {
        authorize(&context.principal, Action::ManageKeys)?;
        let keys = self.core.store.keys_of(&context.principal.tenant);
        self.core.read(context, "key_list", keys).await
    }

    async fn revoke(&self, context: &CallContext, prefix: &KeyPrefix) -> Result<ApiKeyRecord> {
        authorize(&context.principal, Action::ManageKeys)?;
        let now = now();
        let tenant = context.principal.tenant.clone();
        let prefix = *prefix;
        let decide = move |keys: KeysNow| {
            let mut key = own(keys, &tenant, prefix)?;
            if key.record.revoked_at.is_none() {
                key.record.revoked_at = Some(now);
            }
            Ok(vec![key])
        };
        let change = Change {
            context,
            action: Recorded::KeyRevoke,
            prefix,
            details: Vec::new(),
        };
        let work = self.change(context, "key_revoke", vec![prefix], now, decide);
        let mut revoked = self.recorded(change, work).await?;
        revoked.pop().ok_or_else(nothing)
    }

    async fn rotate(
        &self,
        context: &CallContext,
        prefix: &KeyPrefix,
        rotation: Rotation,
    ) -> Result<Rotated> {
        authorize(&context.principal, Action::ManageKeys)?;
        let now = now();
        rotation.check(now)?;
        let tenant = context.principal.tenant.clone();
        let by = context.principal.subject.clone();
        let (prefix, prefixes) = (*prefix, vec![*prefix, rotation.prefix]);
        let new_prefix = rotation.prefix;
        let limits = self.core.key_limits();
        let decide = move |keys: KeysNow| {
            is_free(&keys, rotation.prefix)?;
            limits.check(&keys)?;
            let KeptKey { record, digest } = own(keys, &tenant, prefix)?;
            let (old, new) = record.rotated(&rotation, &by, now)?;
            let new = KeptKey {
                record: new,
                digest: rotation.digest,
            };
            Ok(vec![
                KeptKey {
                    record: old,
                    digest,
                },
                new,
            ])
        };
        let change = Change {
            context,
            action: Recorded::KeyRotate,
            prefix,
            details: vec![("newPrefix", json!(new_prefix))],
        };
        let work = self.change(context, "key_rotate", prefixes, now, decide);
        let changed = self.recorded(change, work).await?;
        match <[ApiKeyRecord; 2]>::try_from(changed) {
            Ok([old, new]) => Ok(Rotated { old, new }),
            Err(_) => Err(nothing()),
        }
    }

    async fn watch(&self, context: &CallContext, since: CatalogVersion) -> Result<KeyStream> {
        authorize(&context.principal, Action::Internal)?;
        feed::watch(&self.core, context, since).await
    }

    async fn touch(&self, context: &CallContext, uses: Vec<KeyUse>) -> Result<()> {
        authorize(&context.principal, Action::Internal)?;
        if uses.len() > MAX_USES {
            return Err(Error::invalid("uses", "are too many").with_limit(MAX_USES.to_string()));
        }
        if uses.is_empty() {
            return Ok(());
        }
        let core = Arc::clone(&self.core);
        let work = async move { core.store.touch_keys(&uses).await };
        self.core.write(context, "key_touch", work).await
    }
}

impl Registry {
    /// Makes a change to its end, announces it, and gives the records back.
    async fn change(
        &self,
        context: &CallContext,
        operation: &'static str,
        prefixes: Vec<KeyPrefix>,
        now: Timestamp,
        decide: impl Fn(KeysNow) -> Result<Vec<KeptKey>> + Send + Sync + 'static,
    ) -> Result<Vec<ApiKeyRecord>> {
        let core = Arc::clone(&self.core);
        let tenant = context.principal.tenant.clone();
        let work = async move {
            let write = KeyWrite {
                tenant: &tenant,
                prefixes: &prefixes,
                now,
                keep_ended: core.settings.max_ended_keys,
            };
            let changed = core.store.change_keys(write, &decide).await?;
            let records: Vec<_> = changed.into_iter().map(|key| key.record).collect();
            if let Some(version) = records.iter().map(|record| record.version).max() {
                core.announce(version);
            }
            Ok(records)
        };
        self.core.write(context, operation, work).await
    }
}

/// How many keys there may be.
#[derive(Clone, Copy)]
struct Limits {
    own: u32,
    everybodys: u32,
}

impl Limits {
    fn check(self, keys: &KeysNow) -> Result<()> {
        let full = |what: &str, limit: u32| {
            Err(Error::new(ErrorCode::LimitExceeded, what)
                .with_limit(format!("{limit} keys that work"))
                .with_fix("revoke keys that are not used"))
        };
        if keys.own >= u64::from(self.own) {
            return full("the tenant has as many API keys as it may have", self.own);
        }
        if keys.everybodys >= u64::from(self.everybodys) {
            return full(
                "the registry has as many API keys as it may have",
                self.everybodys,
            );
        }
        Ok(())
    }
}

impl Core {
    fn key_limits(&self) -> Limits {
        Limits {
            own: self.settings.max_keys,
            everybodys: self.settings.max_keys_of_all,
        }
    }
}

/// The tenant's key. Another tenant's does not exist.
fn own(keys: KeysNow, tenant: &TenantId, prefix: KeyPrefix) -> Result<KeptKey> {
    let mut found = keys.found.into_iter();
    found
        .find(|key| key.record.prefix == prefix && key.record.tenant == *tenant)
        .ok_or_else(|| Error::not_found(format!("there is no API key {prefix}")))
}

fn is_free(keys: &KeysNow, prefix: KeyPrefix) -> Result<()> {
    if keys.found.iter().any(|key| key.record.prefix == prefix) {
        let what = format!("there is an API key {prefix} already");
        return Err(Error::new(ErrorCode::AlreadyExists, what)
            .with_field("prefix")
            .with_fix("make another key"));
    }
    Ok(())
}

/// The moment, in whole milliseconds as stores keep it.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

fn nothing() -> Error {
    Error::internal("a change of API keys came to nothing")
}
