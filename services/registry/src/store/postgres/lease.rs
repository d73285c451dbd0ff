//! Leases of executors, timed by the clock of the database, so that several registries agree.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::Result;
use domain::fleet::ExecutorInfo;

use super::super::executor_info;
use super::arguments::arguments;
use super::link::Link;
use super::read::{column, int, one};
use super::sql;
use super::write::Write;

pub(super) async fn renew(
    link: &Link,
    executor: &ExecutorInfo,
    lease: Duration,
    max: u32,
) -> Result<bool> {
    let info = executor_info::write(executor)?;
    let lease = int(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX));
    let arguments = &arguments![executor.id.as_str(), info, lease, i64::from(max)];
    link.attempt(|| async move {
        let mut write = Write::begin(link, sql::LOCK_EXECUTORS).await?;
        let row = one(write.rows(sql::RENEW, arguments.clone()).await?)?;
        // Whether a commit was made that was not answered is found out by the next heartbeat.
        write.commit_unasked().await?;
        Ok(column(&row, "fits")?)
    })
    .await
}

pub(super) async fn leave(link: &Link, id: &str) -> Result<()> {
    // Done twice it does the same, so it is read like any statement.
    link.read(sql::LEAVE, arguments![id]).await.map(|_| ())
}

pub(super) async fn executors(link: &Link) -> Result<BTreeMap<String, ExecutorInfo>> {
    let rows = link.read(sql::EXECUTORS, arguments![]).await?;
    let mut executors = BTreeMap::new();
    for row in &rows {
        let (id, info): (String, &str) = (column(row, "id")?, column(row, "info")?);
        executors.extend(executor_info::read(id, info));
    }
    Ok(executors)
}
