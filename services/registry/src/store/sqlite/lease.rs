//! Leases of executors, timed by the clock that SQLite reads: the machine's.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::Result;
use domain::fleet::ExecutorInfo;

use super::super::executor_info;
use super::failure::failed;
use super::read::int;
use super::write::Write;
use super::{SqliteStore, sql};

pub(super) async fn renew(
    store: &SqliteStore,
    executor: &ExecutorInfo,
    lease: Duration,
    max: u32,
) -> Result<bool> {
    let info = executor_info::write(executor)?;
    let mut write = Write::begin(store).await?;
    let failed = write.failed();
    sqlx::query(sql::DROP_EXPIRED_EXECUTORS)
        .execute(write.connection())
        .await
        .map_err(&failed)?;
    let others: i64 = sqlx::query_scalar(sql::COUNT_OTHER_EXECUTORS)
        .bind(&executor.id)
        .fetch_one(write.connection())
        .await
        .map_err(&failed)?;
    if others >= i64::from(max) {
        return Ok(false);
    }
    sqlx::query(sql::RENEW_EXECUTOR)
        .bind(&executor.id)
        .bind(info)
        .bind(int(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX)))
        .execute(write.connection())
        .await
        .map_err(&failed)?;
    write.commit().await?;
    Ok(true)
}

pub(super) async fn leave(store: &SqliteStore, id: &str) -> Result<()> {
    let mut write = Write::begin(store).await?;
    let failed = write.failed();
    sqlx::query(sql::DROP_EXECUTOR)
        .bind(id)
        .execute(write.connection())
        .await
        .map_err(failed)?;
    write.commit().await
}

pub(super) async fn executors(store: &SqliteStore) -> Result<BTreeMap<String, ExecutorInfo>> {
    let rows: Vec<(String, String)> = sqlx::query_as(sql::EXECUTORS)
        .fetch_all(&store.readers)
        .await
        .map_err(|error| failed(&store.presence, error))?;
    Ok(rows
        .into_iter()
        .filter_map(|(id, info)| executor_info::read(id, &info))
        .collect())
}
