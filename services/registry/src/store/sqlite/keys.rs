//! API keys.

use async_trait::async_trait;
use domain::keys::{ApiKeyRecord, KeptKey, KeyPrefix, KeyUse};
use domain::{CatalogVersion, Error, Result, TenantId};
use jiff::Timestamp;

use super::super::Span;
use super::super::keys::{KeyDecision, KeyRow, KeyStore, KeyWrite, KeysNow};
use super::failure::failed;
use super::read::int;
use super::write::Write;
use super::{SqliteStore, sql};

#[async_trait]
impl KeyStore for SqliteStore {
    async fn change_keys(
        &self,
        change: KeyWrite<'_>,
        decide: &KeyDecision,
    ) -> Result<Vec<KeptKey>> {
        let mut write = Write::begin(self).await?;
        let now = write.keys_now(change).await?;
        let mut keys = decide(now)?;
        for key in &mut keys {
            key.record.version = write.bump().await?;
            write.put_key(key).await?;
        }
        write.prune_keys(change).await?;
        write.commit().await?;
        Ok(keys)
    }

    async fn keys_of(&self, tenant: &TenantId) -> Result<Vec<ApiKeyRecord>> {
        let rows: Vec<KeyRow> = sqlx::query_as(sql::KEY_LIST)
            .bind(tenant.as_str())
            .fetch_all(&self.readers)
            .await
            .map_err(|error| failed(&self.presence, error))?;
        let keys = rows.into_iter().map(KeyRow::into_key);
        keys.map(|key| key.map(|key| key.record)).collect()
    }

    async fn key_changes(&self, after: CatalogVersion, limit: u32) -> Result<Vec<KeptKey>> {
        let rows: Vec<KeyRow> = sqlx::query_as(sql::KEY_CHANGES)
            .bind(int(after.0))
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| failed(&self.presence, error))?;
        rows.into_iter().map(KeyRow::into_key).collect()
    }

    async fn key_span(&self) -> Result<Span> {
        let (first, current): (i64, i64) = sqlx::query_as(sql::KEY_SPAN)
            .fetch_one(&self.readers)
            .await
            .map_err(|error| failed(&self.presence, error))?;
        Ok(Span {
            first: CatalogVersion(first.unsigned_abs()),
            current: CatalogVersion(current.unsigned_abs()),
        })
    }

    async fn touch_keys(&self, uses: &[KeyUse]) -> Result<()> {
        let mut write = Write::begin(self).await?;
        let failed = write.failed();
        for used in uses {
            sqlx::query(sql::KEY_TOUCH)
                .bind(used.prefix.to_string())
                .bind(used.at.as_millisecond())
                .execute(write.connection())
                .await
                .map_err(&failed)?;
        }
        write.commit().await
    }
}

impl Write<'_> {
    async fn keys_now(&mut self, change: KeyWrite<'_>) -> Result<KeysNow> {
        let failed = self.failed();
        let (own, everybodys): (i64, i64) = sqlx::query_as(sql::KEY_COUNTS)
            .bind(change.tenant.as_str())
            .bind(change.now.as_millisecond())
            .fetch_one(self.connection())
            .await
            .map_err(&failed)?;
        let mut found = Vec::new();
        for prefix in change.prefixes {
            let row: Option<KeyRow> = sqlx::query_as(sql::KEY_LOAD)
                .bind(prefix.to_string())
                .fetch_optional(self.connection())
                .await
                .map_err(&failed)?;
            found.extend(row.map(KeyRow::into_key).transpose()?);
        }
        Ok(KeysNow {
            found,
            own: own.unsigned_abs(),
            everybodys: everybodys.unsigned_abs(),
        })
    }

    async fn put_key(&mut self, key: &KeptKey) -> Result<()> {
        let failed = self.failed();
        let record = &key.record;
        let scopes = serde_json::to_string(&record.scopes).map_err(Error::internal)?;
        let millis = |moment: Option<Timestamp>| moment.map(Timestamp::as_millisecond);
        sqlx::query(sql::KEY_PUT)
            .bind(record.prefix.to_string())
            .bind(record.tenant.as_str())
            .bind(&record.name)
            .bind(&record.subject)
            .bind(&key.digest.as_bytes()[..])
            .bind(scopes)
            .bind(&record.role)
            .bind(&record.tier)
            .bind(record.created_at.as_millisecond())
            .bind(&record.created_by)
            .bind(millis(record.expires_at))
            .bind(millis(record.last_used_at))
            .bind(millis(record.revoked_at))
            .bind(record.replaced_by.as_ref().map(KeyPrefix::to_string))
            .bind(millis(record.overlap_until))
            .bind(int(record.version.0))
            .execute(self.connection())
            .await
            .map_err(failed)?;
        Ok(())
    }

    /// Drops the oldest keys of too many that do not work any more.
    async fn prune_keys(&mut self, change: KeyWrite<'_>) -> Result<()> {
        let failed = self.failed();
        let gone: Vec<i64> = sqlx::query_scalar(sql::KEY_PRUNE)
            .bind(change.tenant.as_str())
            .bind(change.now.as_millisecond())
            .bind(change.keep_ended)
            .fetch_all(self.connection())
            .await
            .map_err(&failed)?;
        let Some(newest) = gone.into_iter().max() else {
            return Ok(());
        };
        sqlx::query(sql::KEY_RAISE_FLOOR)
            .bind(newest)
            .execute(self.connection())
            .await
            .map_err(failed)?;
        Ok(())
    }
}
