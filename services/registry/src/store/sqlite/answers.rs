//! Answers of writes with an idempotency key: kept in the transaction of the write.

use domain::Result;

use super::super::{Answer, MOST_KEPT, Once, Refusal, Verdict};
use super::failure::failed;
use super::write::Write;
use super::{SqliteStore, sql};

type Row = (Vec<u8>, String);

/// What the same write was answered before, if it was made.
pub(super) async fn answered(store: &SqliteStore, once: &Once) -> Verdict<Option<Answer>> {
    let row: Option<Row> = sqlx::query_as(sql::ANSWERED)
        .bind(once.tenant.as_str())
        .bind(once.subject())
        .bind(once.key.as_str())
        .bind(once.oldest())
        .fetch_optional(&store.readers)
        .await
        .map_err(|error| failed(&store.presence, error))?;
    read(once, row)
}

impl Write<'_> {
    /// What the same write was answered before, if it was made. Asked under the lock, so that of two
    /// that come at once the second finds the answer of the first.
    pub(super) async fn answered(
        &mut self,
        once: Option<&Once>,
    ) -> Result<Option<std::result::Result<Answer, Refusal>>> {
        let Some(once) = once else {
            return Ok(None);
        };
        let failed = self.failed();
        let row: Option<Row> = sqlx::query_as(sql::ANSWERED)
            .bind(once.tenant.as_str())
            .bind(once.subject())
            .bind(once.key.as_str())
            .bind(once.oldest())
            .fetch_optional(self.connection())
            .await
            .map_err(failed)?;
        Ok(read(once, row)?.transpose())
    }

    /// Keeps an answer until it is too old, or one of too many.
    pub(super) async fn keep(&mut self, once: Option<&Once>, answer: &Answer) -> Result<()> {
        let Some(once) = once else {
            return Ok(());
        };
        let failed = self.failed();
        sqlx::query(sql::KEEP_ANSWER)
            .bind(once.tenant.as_str())
            .bind(once.subject())
            .bind(once.key.as_str())
            .bind(&once.request.as_bytes()[..])
            .bind(answer.text()?)
            .bind(once.at.as_millisecond())
            .execute(self.connection())
            .await
            .map_err(&failed)?;
        sqlx::query(sql::DROP_OLD_ANSWERS)
            .bind(once.tenant.as_str())
            .bind(once.oldest())
            .bind(MOST_KEPT)
            .execute(self.connection())
            .await
            .map_err(&failed)?;
        Ok(())
    }
}

fn read(once: &Once, row: Option<Row>) -> Verdict<Option<Answer>> {
    let Some((request, answer)) = row else {
        return Ok(Ok(None));
    };
    Ok(once.answered(&request, &answer)?.map(Some))
}
