//! API keys.

use domain::keys::{
    ApiKeyRecord, KeptKey, KeyChange, KeyDigest, KeyPrefix, KeyUse, NewKey, Rotation,
};
use domain::{CatalogVersion, Result, TenantId};
use jiff::Timestamp;

use super::{required, timestamp_from, timestamp_to};
use crate::pb;
use crate::pb::keys_watch_response::Change;

pub(crate) fn key_to(key: ApiKeyRecord) -> pb::ApiKey {
    pb::ApiKey {
        prefix: key.prefix.to_string(),
        tenant: key.tenant.into(),
        name: key.name,
        subject: key.subject,
        scopes: key.scopes.into_iter().collect(),
        role: key.role,
        tier: key.tier,
        created_at: Some(timestamp_to(key.created_at)),
        created_by: key.created_by,
        expires_at: key.expires_at.map(timestamp_to),
        last_used_at: key.last_used_at.map(timestamp_to),
        revoked_at: key.revoked_at.map(timestamp_to),
        replaced_by: key.replaced_by.map(String::from),
        overlap_until: key.overlap_until.map(timestamp_to),
        version: key.version.0,
    }
}

pub(crate) fn key_from(key: Option<pb::ApiKey>) -> Result<ApiKeyRecord> {
    let key = required("key", key)?;
    Ok(ApiKeyRecord {
        prefix: KeyPrefix::parse(&key.prefix)?,
        tenant: TenantId::parse(&key.tenant)?,
        name: key.name,
        subject: key.subject,
        scopes: key.scopes.into_iter().collect(),
        role: key.role,
        tier: key.tier,
        created_at: timestamp_from("key.created_at", key.created_at)?,
        created_by: key.created_by,
        expires_at: moment_from("key.expires_at", key.expires_at)?,
        last_used_at: moment_from("key.last_used_at", key.last_used_at)?,
        revoked_at: moment_from("key.revoked_at", key.revoked_at)?,
        replaced_by: key
            .replaced_by
            .as_deref()
            .map(KeyPrefix::parse)
            .transpose()?,
        overlap_until: moment_from("key.overlap_until", key.overlap_until)?,
        version: CatalogVersion(key.version),
    })
}

pub(crate) fn new_key_to(tenant: &TenantId, key: NewKey) -> pb::KeysCreateRequest {
    pb::KeysCreateRequest {
        tenant: tenant.as_str().to_owned(),
        prefix: key.prefix.to_string(),
        digest: key.digest.as_bytes().to_vec(),
        name: key.name,
        subject: key.subject,
        scopes: key.scopes.into_iter().collect(),
        role: key.role,
        tier: key.tier,
        expires_at: key.expires_at.map(timestamp_to),
    }
}

/// The key. Its tenant is checked by the caller of this function.
pub(crate) fn new_key_from(request: pb::KeysCreateRequest) -> Result<NewKey> {
    Ok(NewKey {
        prefix: KeyPrefix::parse(&request.prefix)?,
        digest: KeyDigest::from_bytes(&request.digest)?,
        name: request.name,
        subject: request.subject,
        scopes: request.scopes.into_iter().collect(),
        role: request.role,
        tier: request.tier,
        expires_at: moment_from("expires_at", request.expires_at)?,
    })
}

pub(crate) fn rotation_to(
    tenant: &TenantId,
    prefix: &KeyPrefix,
    rotation: Rotation,
) -> pb::KeysRotateRequest {
    pb::KeysRotateRequest {
        tenant: tenant.as_str().to_owned(),
        prefix: prefix.to_string(),
        new_prefix: rotation.prefix.to_string(),
        new_digest: rotation.digest.as_bytes().to_vec(),
        overlap_seconds: rotation.overlap_seconds,
        expires_at: rotation.expires_at.map(timestamp_to),
    }
}

/// The old key's prefix and the rotation. The tenant is checked by the caller of this function.
pub(crate) fn rotation_from(request: pb::KeysRotateRequest) -> Result<(KeyPrefix, Rotation)> {
    let rotation = Rotation {
        prefix: KeyPrefix::parse(&request.new_prefix)?,
        digest: KeyDigest::from_bytes(&request.new_digest)?,
        overlap_seconds: request.overlap_seconds,
        expires_at: moment_from("expires_at", request.expires_at)?,
    };
    Ok((KeyPrefix::parse(&request.prefix)?, rotation))
}

pub(crate) fn key_change_to(change: KeyChange) -> pb::KeysWatchResponse {
    let change = match change {
        KeyChange::Reset => Change::Reset(pb::KeysReset {}),
        KeyChange::Put(kept) => Change::Put(pb::KeptKey {
            key: Some(key_to(kept.record)),
            digest: kept.digest.as_bytes().to_vec(),
        }),
        KeyChange::Synced(version) => Change::Synced(pb::KeysSynced { version: version.0 }),
    };
    pb::KeysWatchResponse {
        change: Some(change),
    }
}

pub(crate) fn key_change_from(response: pb::KeysWatchResponse) -> Result<KeyChange> {
    Ok(match required("change", response.change)? {
        Change::Reset(pb::KeysReset {}) => KeyChange::Reset,
        Change::Put(kept) => KeyChange::Put(Box::new(KeptKey {
            record: key_from(kept.key)?,
            digest: KeyDigest::from_bytes(&kept.digest)?,
        })),
        Change::Synced(synced) => KeyChange::Synced(CatalogVersion(synced.version)),
    })
}

pub(crate) fn use_to(used: KeyUse) -> pb::KeyUse {
    pb::KeyUse {
        prefix: used.prefix.to_string(),
        at: Some(timestamp_to(used.at)),
    }
}

pub(crate) fn use_from(used: pb::KeyUse) -> Result<KeyUse> {
    Ok(KeyUse {
        prefix: KeyPrefix::parse(&used.prefix)?,
        at: timestamp_from("uses.at", used.at)?,
    })
}

fn moment_from(field: &str, moment: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>> {
    moment
        .map(|moment| timestamp_from(field, Some(moment)))
        .transpose()
}
