//! Records of what is done to API keys. No gateway sees that, so the registry records it itself: in a
//! log of its own in the archive of audit logs, chained like every other and shared by all registries
//! of a database. A change begins when its record is kept for good, and not before.

use domain::audit::archive::Batch;
use domain::audit::{Action, Archive as _, Link, LogName, Outcome, Record, Writer};
use domain::keys::KeyPrefix;
use domain::{CallContext, Error, ErrorCode, Result};

use crate::registry::Registry;

/// Name of the log.
const LOG: &str = "registry.keys";
/// How often a record is written again after another registry was faster.
const MAX_TRIES: u32 = 200;
/// Longest pause before that, in milliseconds.
const PAUSE_MS: u64 = 10;
/// Longest line, in bytes.
const MAX_LINE: usize = 8 * 1024;

const WRITER: Writer = Writer {
    service: "registry",
    version: env!("CARGO_PKG_VERSION"),
    max_bytes: MAX_LINE,
};

/// One change of a key, from its begin to its end.
pub(super) struct Change<'a> {
    pub(super) context: &'a CallContext,
    pub(super) action: Action,
    pub(super) prefix: KeyPrefix,
    /// Name of the key, and what it opens, where the change says it.
    pub(super) details: Vec<(&'static str, serde_json::Value)>,
}

impl Registry {
    /// Does a change between its two records.
    pub(super) async fn recorded<T>(
        &self,
        change: Change<'_>,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut begun = change.record(Outcome::Begun, None);
        for (name, value) in &change.details {
            begun = begun.with(name, value.clone());
        }
        self.record(LOG, change.context, begun).await?;
        let result = work.await;
        let code = result.as_ref().err().map(Error::code);
        let ended = change.record(Outcome::of(code), code);
        if let Err(error) = self.record(LOG, change.context, ended).await {
            // The change has been made or refused: its begin is on record, and the log says the rest.
            tracing::error!(%error, prefix = %change.prefix, action = change.action.as_str(),
                "the end of a change of an API key was not recorded");
        }
        result
    }

    /// Writes one line of a log of the registry's own.
    pub(crate) async fn record(
        &self,
        log: &str,
        context: &CallContext,
        record: Record,
    ) -> Result<()> {
        let log = LogName::parse(log)?;
        let service = CallContext::service("registry", context.budget);
        for _ in 0..MAX_TRIES {
            let after = self.head(&service, &log).await?;
            let link = after.map_or(Link::FIRST, |head| head.next());
            let line = WRITER.line(&record, &link)?;
            let wanted = domain::audit::Head::of(line.as_bytes());
            let batch = Batch {
                log: log.clone(),
                after,
                lines: vec![line],
                lost: false,
            };
            if self.append(&service, batch).await? == wanted {
                return Ok(());
            }
            let pause = u64::from(context.call_id.to_string().as_bytes()[0]) % PAUSE_MS;
            tokio::time::sleep(std::time::Duration::from_millis(1 + pause)).await;
        }
        Err(Error::new(
            ErrorCode::Overloaded,
            "the change could not be recorded: too many others came before it; nothing was done",
        )
        .with_retry_after(std::time::Duration::from_secs(1)))
    }
}

impl Change<'_> {
    fn record(&self, outcome: Outcome, code: Option<ErrorCode>) -> Record {
        Record {
            target: Some(self.prefix.to_string()),
            code,
            ..Record::of_call(self.context, self.action, outcome)
        }
    }
}
