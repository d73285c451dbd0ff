//! Answers of writes with an idempotency key: kept in the transaction of the write.

use domain::{Error, Result};
use sqlx::postgres::{PgArguments, PgRow};

use super::super::{Answer, MOST_KEPT, Once, Refusal, Verdict};
use super::arguments::arguments;
use super::failure::Failure;
use super::link::Link;
use super::read::column;
use super::sql;
use super::write::Write;

/// What the same write was answered before, if it was made.
pub(super) async fn answered(link: &Link, once: &Once) -> Verdict<Option<Answer>> {
    let rows = link.read(sql::ANSWERED, which(once)?).await?;
    read(once, rows.first())
}

impl Write<'_> {
    /// What the same write was answered before, if it was made. Asked under the lock, so that of two
    /// that come at once the second finds the answer of the first.
    pub(super) async fn answered(
        &mut self,
        once: Option<&Once>,
    ) -> Result<Option<std::result::Result<Answer, Refusal>>, Failure> {
        let Some(once) = once else {
            return Ok(None);
        };
        let rows = self.rows(sql::ANSWERED, which(once)?).await?;
        Ok(read(once, rows.first())?.transpose())
    }

    /// Keeps an answer until it is too old, or one of too many.
    pub(super) async fn keep(
        &mut self,
        once: Option<&Once>,
        answer: &Answer,
    ) -> Result<(), Failure> {
        use sqlx::Arguments as _;
        let Some(once) = once else {
            return Ok(());
        };
        let mut arguments = which(once)?;
        arguments
            .add(&once.request.as_bytes()[..])
            .map_err(Error::internal)?;
        arguments.add(answer.text()?).map_err(Error::internal)?;
        arguments
            .add(once.at.as_millisecond())
            .map_err(Error::internal)?;
        arguments
            .add(i64::from(MOST_KEPT))
            .map_err(Error::internal)?;
        self.rows(sql::KEEP_ANSWER, arguments).await.map(|_| ())
    }
}

/// Arguments of `answered.sql`, and the first ones of `keep_answer.sql`.
fn which(once: &Once) -> Result<PgArguments> {
    Ok(arguments![
        once.tenant.as_str(),
        once.subject(),
        once.key.as_str(),
        once.oldest()
    ])
}

fn read(once: &Once, row: Option<&PgRow>) -> Verdict<Option<Answer>> {
    let Some(row) = row else {
        return Ok(Ok(None));
    };
    let (request, answer) = (column::<&[u8]>(row, "request")?, column(row, "answer")?);
    Ok(once.answered(request, answer)?.map(Some))
}
