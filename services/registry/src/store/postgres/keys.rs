//! API keys.

use async_trait::async_trait;
use domain::keys::{ApiKeyRecord, KeptKey, KeyPrefix, KeyUse};
use domain::{CatalogVersion, Error, Result, TenantId};
use jiff::Timestamp;
use sqlx::FromRow as _;
use sqlx::postgres::{PgArguments, PgRow};

use super::super::Span;
use super::super::keys::{KeyDecision, KeyRow, KeyStore, KeyWrite, KeysNow};
use super::arguments::arguments;
use super::failure::Failure;
use super::read::{column, int, one, version};
use super::write::Write;
use super::{PostgresStore, sql};

#[async_trait]
impl KeyStore for PostgresStore {
    async fn change_keys(
        &self,
        change: KeyWrite<'_>,
        decide: &KeyDecision,
    ) -> Result<Vec<KeptKey>> {
        let link = &self.link;
        link.attempt(|| async move {
            let mut write = Write::begin(link, sql::LOCK).await?;
            let now = write.keys_now(change).await?;
            let mut keys = match decide(now) {
                Ok(keys) => keys,
                Err(refused) => {
                    write.give_up().await;
                    return Err(Failure::Failed(refused));
                }
            };
            let mut last = None;
            for key in &mut keys {
                let row = one(write.rows(sql::KEY_BUMP, arguments![]).await?)?;
                key.record.version = version(&row)?;
                write.rows(sql::KEY_PUT, of_key(key)?).await?;
                last = Some(row);
            }
            let Some(row) = last else {
                write.give_up().await;
                return Ok(keys);
            };
            let prune = arguments![
                change.tenant.as_str(),
                change.now.as_millisecond(),
                i64::from(change.keep_ended)
            ];
            write.rows(sql::KEY_PRUNE, prune).await?;
            write.commit(&row).await?;
            Ok(keys)
        })
        .await
    }

    async fn keys_of(&self, tenant: &TenantId) -> Result<Vec<ApiKeyRecord>> {
        let rows = self
            .link
            .read(sql::KEY_LIST, arguments![tenant.as_str()])
            .await?;
        rows.iter().map(|row| Ok(key(row)?.record)).collect()
    }

    async fn key_changes(&self, after: CatalogVersion, limit: u32) -> Result<Vec<KeptKey>> {
        let arguments = arguments![int(after.0), i64::from(limit)];
        let rows = self.link.read(sql::KEY_CHANGES, arguments).await?;
        rows.iter().map(key).collect()
    }

    async fn key_span(&self) -> Result<Span> {
        let row = one(self.link.read(sql::KEY_SPAN, arguments![]).await?)?;
        let first: i64 = column(&row, "first_version")?;
        Ok(Span {
            first: CatalogVersion(first.unsigned_abs()),
            current: version(&row)?,
        })
    }

    async fn touch_keys(&self, uses: &[KeyUse]) -> Result<()> {
        let prefixes: Vec<String> = uses.iter().map(|used| used.prefix.to_string()).collect();
        let times: Vec<i64> = uses.iter().map(|used| used.at.as_millisecond()).collect();
        // Done twice it does the same, so it is sent like any statement.
        self.link
            .read(sql::KEY_TOUCH, arguments![prefixes, times])
            .await
            .map(|_| ())
    }
}

impl Write<'_> {
    async fn keys_now(&mut self, change: KeyWrite<'_>) -> Result<KeysNow, Failure> {
        let whose = arguments![change.tenant.as_str(), change.now.as_millisecond()];
        let counts = one(self.rows(sql::KEY_COUNTS, whose).await?)?;
        let mut found = Vec::new();
        for prefix in change.prefixes {
            let rows = self
                .rows(sql::KEY_LOAD, arguments![prefix.to_string()])
                .await?;
            found.extend(rows.first().map(key).transpose()?);
        }
        Ok(KeysNow {
            found,
            own: column::<i64>(&counts, "own")?.unsigned_abs(),
            everybodys: column::<i64>(&counts, "everybodys")?.unsigned_abs(),
        })
    }
}

fn key(row: &PgRow) -> Result<KeptKey> {
    KeyRow::from_row(row).map_err(Error::internal)?.into_key()
}

fn of_key(key: &KeptKey) -> Result<PgArguments> {
    let record = &key.record;
    let scopes = serde_json::to_string(&record.scopes).map_err(Error::internal)?;
    let millis = |moment: Option<Timestamp>| moment.map(Timestamp::as_millisecond);
    Ok(arguments![
        record.prefix.to_string(),
        record.tenant.as_str(),
        record.name.as_str(),
        record.subject.as_str(),
        &key.digest.as_bytes()[..],
        scopes,
        record.role.as_deref(),
        record.tier.as_deref(),
        record.created_at.as_millisecond(),
        // Text of Postgres holds no NUL; a subject of a token never has one either.
        record.created_by.replace('\0', "\u{fffd}"),
        millis(record.expires_at),
        millis(record.last_used_at),
        millis(record.revoked_at),
        record.replaced_by.as_ref().map(KeyPrefix::to_string),
        millis(record.overlap_until),
        int(record.version.0),
    ])
}
