//! Tools and the change feed.

use std::sync::Arc;

use domain::tool::{
    CachePolicy, CacheScope, EngineChoice, Isolation, JsonText, RateLimit, Runtime,
};
use domain::{
    CatalogChange, CatalogVersion, CodeDigest, RawValue, Result, Revision, TenantId, ToolDraft,
    ToolName, ToolRecord, ToolSpec,
};

use super::call::{dependencies_from, dependencies_to, locked_from, locked_to};
use super::words::Word;
use super::{json, required, timestamp_from, timestamp_to};
use crate::pb;
use crate::pb::catalog_watch_response::Change;

pub(crate) fn draft_to(tenant: &TenantId, draft: ToolDraft) -> pb::CreateRequest {
    pb::CreateRequest {
        tenant: tenant.as_str().to_owned(),
        name: draft.name.into(),
        spec: Some(spec_to(draft.spec)),
        code: draft.code.as_ref().to_owned(),
        lock: draft.lock.as_ref().map(locked_to),
        idempotency_key: None,
    }
}

/// The draft. Its tenant is checked by the caller of this function.
pub(crate) fn draft_from(request: pb::CreateRequest) -> Result<ToolDraft> {
    Ok(ToolDraft {
        name: ToolName::parse(&request.name)?,
        spec: spec_from(required("spec", request.spec)?)?,
        code: Arc::from(request.code),
        lock: request.lock.map(locked_from).transpose()?,
    })
}

pub(crate) fn record_to(record: ToolRecord) -> pb::ToolRecord {
    pb::ToolRecord {
        tenant: record.tenant.into(),
        name: record.name.into(),
        spec: Some(spec_to(record.spec)),
        code_digest: record.code_digest.as_bytes().to_vec(),
        code_size_bytes: record.code_size_bytes,
        revision: record.revision.0,
        version: record.version.0,
        created_at: Some(timestamp_to(record.created_at)),
        updated_at: Some(timestamp_to(record.updated_at)),
    }
}

pub(crate) fn record_from(record: Option<pb::ToolRecord>) -> Result<ToolRecord> {
    let record = required("tool", record)?;
    Ok(ToolRecord {
        tenant: TenantId::parse(&record.tenant)?,
        name: ToolName::parse(&record.name)?,
        spec: spec_from(required("tool.spec", record.spec)?)?,
        code_digest: CodeDigest::from_bytes(&record.code_digest)?,
        code_size_bytes: record.code_size_bytes,
        revision: Revision(record.revision),
        version: CatalogVersion(record.version),
        created_at: timestamp_from("tool.created_at", record.created_at)?,
        updated_at: timestamp_from("tool.updated_at", record.updated_at)?,
    })
}

pub(crate) fn change_to(change: CatalogChange) -> pb::CatalogWatchResponse {
    let change = match change {
        CatalogChange::Reset => Change::Reset(pb::CatalogReset {}),
        CatalogChange::Upserted(record) => Change::Upserted(record_to(*record)),
        CatalogChange::Removed {
            tenant,
            name,
            version,
        } => Change::Removed(pb::ToolRemoved {
            tenant: tenant.into(),
            name: name.into(),
            version: version.0,
        }),
        CatalogChange::Synced(version) => Change::Synced(pb::CatalogSynced { version: version.0 }),
    };
    pb::CatalogWatchResponse {
        change: Some(change),
    }
}

pub(crate) fn change_from(response: pb::CatalogWatchResponse) -> Result<CatalogChange> {
    Ok(match required("change", response.change)? {
        Change::Reset(pb::CatalogReset {}) => CatalogChange::Reset,
        Change::Upserted(record) => CatalogChange::Upserted(Box::new(record_from(Some(record))?)),
        Change::Removed(removed) => CatalogChange::Removed {
            tenant: TenantId::parse(&removed.tenant)?,
            name: ToolName::parse(&removed.name)?,
            version: CatalogVersion(removed.version),
        },
        Change::Synced(synced) => CatalogChange::Synced(CatalogVersion(synced.version)),
    })
}

fn spec_to(spec: ToolSpec) -> pb::ToolSpec {
    pb::ToolSpec {
        title: spec.title,
        description: spec.description,
        image: spec.image,
        timeout_ms: spec.timeout_ms,
        dependencies: dependencies_to(spec.dependencies),
        enabled: spec.enabled,
        input_schema_json: spec.input_schema.as_deref().map(text_of),
        output_schema_json: spec.output_schema.as_deref().map(text_of),
        annotations_json: spec.annotations.as_deref().map(text_of),
        runtime: spec.runtime.wire(),
        engine: spec.engine.wire(),
        isolation: spec.isolation.wire(),
        tags: spec.tags.into_iter().collect(),
        rate_limit: spec.rate_limit.map(rate_limit_to),
        cache: spec.cache.map(cache_to),
        required_scopes: spec.required_scopes.into_iter().collect(),
    }
}

fn spec_from(spec: pb::ToolSpec) -> Result<ToolSpec> {
    let shared =
        |field, text: Option<String>| text.map(|text| shared_json(field, text)).transpose();
    Ok(ToolSpec {
        title: spec.title,
        description: spec.description,
        image: spec.image,
        timeout_ms: spec.timeout_ms,
        dependencies: dependencies_from(spec.dependencies),
        enabled: spec.enabled,
        input_schema: shared("spec.input_schema_json", spec.input_schema_json)?,
        output_schema: shared("spec.output_schema_json", spec.output_schema_json)?,
        annotations: shared("spec.annotations_json", spec.annotations_json)?,
        runtime: Runtime::of_wire("spec.runtime", spec.runtime)?,
        engine: EngineChoice::of_wire("spec.engine", spec.engine)?,
        isolation: Isolation::of_wire("spec.isolation", spec.isolation)?,
        tags: spec.tags.into_iter().collect(),
        rate_limit: spec.rate_limit.map(rate_limit_from),
        cache: spec.cache.map(cache_from).transpose()?,
        required_scopes: spec.required_scopes.into_iter().collect(),
    })
}

pub(super) fn text_of(value: &RawValue) -> String {
    value.get().to_owned()
}

pub(super) fn shared_json(field: &str, text: String) -> Result<JsonText> {
    json(field, text).map(Arc::from)
}

pub(super) fn rate_limit_to(limit: RateLimit) -> pb::RateLimit {
    pb::RateLimit {
        max_calls: limit.max_calls,
        window_ms: limit.window_ms,
    }
}

pub(super) fn rate_limit_from(limit: pb::RateLimit) -> RateLimit {
    RateLimit {
        max_calls: limit.max_calls,
        window_ms: limit.window_ms,
    }
}

pub(super) fn cache_to(cache: CachePolicy) -> pb::CachePolicy {
    pb::CachePolicy {
        ttl_seconds: cache.ttl_seconds,
        scope: cache.scope.wire(),
    }
}

pub(super) fn cache_from(cache: pb::CachePolicy) -> Result<CachePolicy> {
    let unsaid = i32::from(pb::CacheScope::Unspecified);
    let scope = match cache.scope {
        scope if scope == unsaid => CacheScope::default(),
        scope => CacheScope::of_wire("cache.scope", scope)?,
    };
    Ok(CachePolicy {
        ttl_seconds: cache.ttl_seconds,
        scope,
    })
}
