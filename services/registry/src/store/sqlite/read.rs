//! Reads.

use domain::tool::ToolWithCode;
use domain::{CatalogVersion, Error, Result, Revision, TenantId, ToolName};

use super::super::row::{Changed, Loaded};
use super::super::{Change, DeclaredHead, Span, Standing};
use super::failure::failed;
use super::{SqliteStore, sql};

/// A number of ours as SQLite's; nothing that is stored is larger.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) async fn is_unused(store: &SqliteStore) -> Result<bool> {
    let used: bool = sqlx::query_scalar(sql::EVER_USED)
        .fetch_one(&store.readers)
        .await
        .map_err(|error| failed(&store.presence, error))?;
    Ok(!used)
}

pub(super) async fn load(
    store: &SqliteStore,
    tenant: &TenantId,
    name: &ToolName,
    revision: Option<Revision>,
) -> Result<Option<ToolWithCode>> {
    let row: Option<Loaded> = sqlx::query_as(sql::LOAD)
        .bind(tenant.as_str())
        .bind(name.as_str())
        .bind(revision.map(|revision| int(revision.0)))
        .fetch_optional(&store.readers)
        .await
        .map_err(|error| failed(&store.presence, error))?;
    row.map(|row| row.into_tool().map_err(Error::internal))
        .transpose()
}

pub(super) async fn declared(store: &SqliteStore) -> Result<Vec<DeclaredHead>> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(sql::DECLARED)
        .fetch_all(&store.readers)
        .await
        .map_err(|error| failed(&store.presence, error))?;
    rows.into_iter()
        .map(|(tenant, name, revision)| DeclaredHead::of(&tenant, &name, revision))
        .collect()
}

pub(super) async fn standing(
    store: &SqliteStore,
    tenant: &TenantId,
    name: &ToolName,
) -> Result<Option<Standing>> {
    let row: Option<(i64, bool)> = sqlx::query_as(sql::STANDING)
        .bind(tenant.as_str())
        .bind(name.as_str())
        .fetch_optional(&store.readers)
        .await
        .map_err(|error| failed(&store.presence, error))?;
    Ok(row.map(|(revision, declared)| Standing {
        revision: Revision(revision.unsigned_abs()),
        declared,
    }))
}

pub(super) async fn count(store: &SqliteStore, tenant: &TenantId) -> Result<u64> {
    let count: i64 = sqlx::query_scalar(sql::COUNT_LIVE)
        .bind(tenant.as_str())
        .fetch_one(&store.readers)
        .await
        .map_err(|error| failed(&store.presence, error))?;
    Ok(count.unsigned_abs())
}

pub(super) async fn load_lock(
    store: &SqliteStore,
    tenant: &TenantId,
    name: &ToolName,
    revision: Revision,
) -> Result<Option<Option<String>>> {
    sqlx::query_scalar(sql::LOAD_LOCK)
        .bind(tenant.as_str())
        .bind(name.as_str())
        .bind(int(revision.0))
        .fetch_optional(&store.readers)
        .await
        .map_err(|error| failed(&store.presence, error))
}

pub(super) async fn span(store: &SqliteStore) -> Result<Span> {
    let (first, current): (i64, i64) = sqlx::query_as(sql::SPAN)
        .fetch_one(&store.readers)
        .await
        .map_err(|error| failed(&store.presence, error))?;
    Ok(Span {
        first: CatalogVersion(first.unsigned_abs()),
        current: CatalogVersion(current.unsigned_abs()),
    })
}

pub(super) async fn changes(
    store: &SqliteStore,
    after: CatalogVersion,
    deletions_after: CatalogVersion,
    limit: u32,
) -> Result<Vec<Change>> {
    let rows: Vec<Changed> = sqlx::query_as(sql::CHANGES)
        .bind(int(after.0))
        .bind(int(deletions_after.0))
        .bind(limit)
        .fetch_all(&store.readers)
        .await
        .map_err(|error| failed(&store.presence, error))?;
    Ok(rows.into_iter().map(Changed::into_change).collect())
}
