//! Reads.

use domain::tool::ToolWithCode;
use domain::{CatalogVersion, Error, Result, Revision, TenantId, ToolName};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};

use super::super::row::{Changed, Loaded};
use super::super::{Change, DeclaredHead, NodeTable, Span, Standing};
use super::arguments::arguments;
use super::link::Link;
use super::sql;

/// Most text that is taken over from a table of the Node server, in bytes.
const MAX_NODE_BYTES: i64 = 256 * 1024 * 1024;

/// A number of ours as Postgres's; nothing that is stored is larger.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The one row that a statement always has.
pub(super) fn one(rows: Vec<PgRow>) -> Result<PgRow> {
    rows.into_iter()
        .next()
        .ok_or_else(|| Error::internal("a row of the registry's own is missing"))
}

pub(super) fn column<'r, T>(row: &'r PgRow, name: &str) -> Result<T>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(name).map_err(Error::internal)
}

pub(super) fn version(row: &PgRow) -> Result<CatalogVersion> {
    Ok(CatalogVersion(
        column::<i64>(row, "version")?.unsigned_abs(),
    ))
}

pub(super) async fn is_unused(link: &Link) -> Result<bool> {
    let row = one(link.read(sql::EVER_USED, arguments![]).await?)?;
    Ok(!column::<bool>(&row, "used")?)
}

pub(super) async fn load(
    link: &Link,
    tenant: &TenantId,
    name: &ToolName,
    revision: Option<Revision>,
) -> Result<Option<ToolWithCode>> {
    let revision = revision.map(|revision| int(revision.0));
    let arguments = arguments![tenant.as_str(), name.as_str(), revision];
    let rows = link.read(sql::LOAD, arguments).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let loaded = Loaded::from_row(row).map_err(Error::internal)?;
    loaded.into_tool().map(Some).map_err(Error::internal)
}

pub(super) async fn declared(link: &Link) -> Result<Vec<DeclaredHead>> {
    let rows = link.read(sql::DECLARED, arguments![]).await?;
    let head = |row: &PgRow| {
        let revision = column(row, "revision")?;
        DeclaredHead::of(column(row, "tenant")?, column(row, "name")?, revision)
    };
    rows.iter().map(head).collect()
}

pub(super) async fn standing(
    link: &Link,
    tenant: &TenantId,
    name: &ToolName,
) -> Result<Option<Standing>> {
    let arguments = arguments![tenant.as_str(), name.as_str()];
    let rows = link.read(sql::STANDING, arguments).await?;
    let standing = |row: &PgRow| {
        Ok(Standing {
            revision: Revision(column::<i64>(row, "revision")?.unsigned_abs()),
            declared: column(row, "declared")?,
        })
    };
    rows.first().map(standing).transpose()
}

pub(super) async fn count(link: &Link, tenant: &TenantId) -> Result<u64> {
    let row = one(link
        .read(sql::COUNT_LIVE, arguments![tenant.as_str()])
        .await?)?;
    Ok(column::<i64>(&row, "tools")?.unsigned_abs())
}

pub(super) async fn load_lock(
    link: &Link,
    tenant: &TenantId,
    name: &ToolName,
    revision: Revision,
) -> Result<Option<Option<String>>> {
    let arguments = arguments![tenant.as_str(), name.as_str(), int(revision.0)];
    let rows = link.read(sql::LOAD_LOCK, arguments).await?;
    rows.first().map(|row| column(row, "lock")).transpose()
}

pub(super) async fn span(link: &Link) -> Result<Span> {
    let row = one(link.read(sql::SPAN, arguments![]).await?)?;
    let first: i64 = column(&row, "first_version")?;
    Ok(Span {
        first: CatalogVersion(first.unsigned_abs()),
        current: version(&row)?,
    })
}

pub(super) async fn changes(
    link: &Link,
    after: CatalogVersion,
    deletions_after: CatalogVersion,
    limit: u32,
) -> Result<Vec<Change>> {
    let arguments = arguments![int(after.0), int(deletions_after.0), i64::from(limit)];
    let rows = link.read(sql::CHANGES, arguments).await?;
    rows.iter().map(change).collect()
}

/// A row that is not as it was made, by a column of another type for example, is as unreadable as
/// one whose text is. Without its version it has no place in the order, and nothing can go on.
fn change(row: &PgRow) -> Result<Change> {
    match Changed::from_row(row) {
        Ok(changed) => Ok(changed.into_change()),
        Err(error) => {
            let text = |name| column::<String>(row, name).unwrap_or_else(|_| "?".to_owned());
            let version: i64 = column(row, "head_version")?;
            Ok(Change::Unreadable {
                place: format!("{}/{}", text("tenant"), text("name")),
                version: CatalogVersion(version.unsigned_abs()),
                reason: error.to_string(),
            })
        }
    }
}

pub(super) async fn node_table(link: &Link, schema: &str) -> Result<Option<NodeTable>> {
    let row = one(link.read(sql::NODE_TABLE, arguments![]).await?)?;
    if !column::<bool>(&row, "there")? {
        return Ok(None);
    }
    let place = format!("table {schema}.dynamic_tools");
    let foreign = |what: String| Error::invalid(place.clone(), what);
    let row = one(link.read(sql::NODE_SIZE, arguments![]).await?)?;
    let bytes: i64 = column(&row, "bytes")?;
    if bytes > MAX_NODE_BYTES {
        let what = format!("has {bytes} bytes");
        return Err(foreign(what).with_limit(format!("{MAX_NODE_BYTES} bytes")));
    }
    let rows =
        link.read(sql::NODE_TOOLS, arguments![])
            .await
            .map_err(|error| match shape_error(&error) {
                Some(what) => foreign(what),
                None => error,
            })?;
    let records: Result<Vec<String>> = rows.iter().map(|row| column(row, "record")).collect();
    Ok(Some(NodeTable {
        place,
        records: records?,
    }))
}

/// What Postgres says when a table has other columns than the Node server's: class 42, syntax
/// error or access rule violation.
fn shape_error(error: &Error) -> Option<String> {
    let error = error.cause()?.downcast_ref::<sqlx::Error>()?;
    let error = error.as_database_error()?;
    let is_shape = error.code().is_some_and(|code| code.starts_with("42"));
    is_shape.then(|| error.message().to_owned())
}
