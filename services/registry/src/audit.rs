//! The archive of the gateways' audit logs: heads for ever, records for a while.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use domain::audit::archive::{
    Archive, Batch, Found, Head, LogName, MAX_BATCH_LINES, MAX_PAGE, Page, Search, Segment,
    SegmentStart,
};
use domain::audit::chain::place_of;
use domain::principal::{Action, authorize};
use domain::{CallContext, Error, Result, TenantId};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::registry::Registry;
use crate::store::audit::{Append, Kept, Part, Row};

/// Longest text of one column that is searched in, in characters.
const COLUMN_CHARS: usize = 512;

#[async_trait]
impl Archive for Registry {
    async fn head(&self, context: &CallContext, log: &LogName) -> Result<Option<Head>> {
        authorize(&context.principal, Action::Internal)?;
        let store = &self.core.store;
        self.core
            .read(context, "audit_head", store.audit_head(log))
            .await
    }

    async fn append(&self, context: &CallContext, batch: Batch) -> Result<Option<Head>> {
        authorize(&context.principal, Action::Internal)?;
        let append = checked(batch)?;
        let core = Arc::clone(&self.core);
        let (rows, parts) = (append.rows.len() as u64, append.parts.clone());
        let (log, wanted) = (append.log.clone(), parts.last().map(|part| part.head));
        let kept = Kept {
            rows: core.settings.audit_rows,
            bytes: core.settings.audit_bytes,
            since: since(append.at, core.settings.audit_age),
        };
        let work = async move {
            let head = core.store.append_audit(append, kept).await?;
            if head == wanted {
                core.metrics.audit_archived.inc_by(rows);
                for (start, seq, missing) in parts.iter().filter_map(|part| part.begins) {
                    core.tell_of_segment(&log, start, seq, missing);
                }
            }
            Ok(head)
        };
        self.core.write(context, "append_audit", work).await
    }

    async fn segments(
        &self,
        context: &CallContext,
        log: Option<&LogName>,
        after: Option<(LogName, u64)>,
    ) -> Result<Vec<Segment>> {
        authorize(&context.principal, Action::Internal)?;
        let after = after.as_ref().map(|(log, number)| (log, *number));
        let segments = self.core.store.audit_segments(log, after, MAX_PAGE);
        self.core.read(context, "audit_segments", segments).await
    }

    async fn search(&self, context: &CallContext, mut search: Search) -> Result<Page> {
        // Services see every tenant's records, and those of nobody's.
        if authorize(&context.principal, Action::Internal).is_err() {
            authorize(&context.principal, Action::ReadAudit)?;
            let own = &context.principal.tenant;
            if search.tenant.as_ref().is_some_and(|tenant| tenant != own) {
                return Ok(Page::default());
            }
            search.tenant = Some(own.clone());
        }
        if !(1..=MAX_PAGE).contains(&search.limit) {
            return Err(
                Error::invalid("limit", "is out of range").with_limit(format!("1-{MAX_PAGE}"))
            );
        }
        let hits = self.core.store.search_audit(&search);
        let (hits, more) = self.core.read(context, "search_audit", hits).await?;
        let records: Vec<Found> = hits
            .into_iter()
            .map(|hit| {
                Ok(Found {
                    id: hit.id.unsigned_abs(),
                    log: LogName::parse(&hit.log)?,
                    segment: hit.segment.unsigned_abs(),
                    line: hit.line,
                })
            })
            .collect::<Result<_>>()?;
        let next = records.last().filter(|_| more).map(|last| last.id);
        Ok(Page { records, next })
    }
}

impl crate::registry::Core {
    /// A log that does not go on where it was is worth a line.
    fn tell_of_segment(&self, log: &LogName, start: SegmentStart, seq: u64, missing: u64) {
        match start {
            SegmentStart::First | SegmentStart::Restart => {
                tracing::info!(%log, seq, start = start.as_str(), "an audit log begins");
            }
            SegmentStart::Gap => {
                tracing::warn!(%log, seq, missing, "lines of an audit log were never shown to the registry");
            }
            SegmentStart::Mismatch => {
                tracing::error!(%log, seq, "an audit log does not follow what was acknowledged: it was changed");
            }
        }
        self.metrics
            .audit_archive_segments
            .with_label_values(&[start.as_str()])
            .inc();
    }
}

fn since(now: Timestamp, age: std::time::Duration) -> Timestamp {
    SignedDuration::try_from(age)
        .ok()
        .and_then(|age| now.checked_sub(age).ok())
        .unwrap_or(Timestamp::MIN)
}

/// The lines with their place in the chain; which segments they make.
fn checked(batch: Batch) -> Result<Append> {
    let Batch {
        log,
        after,
        lines,
        lost,
    } = batch;
    let count = lines.len();
    if !(1..=MAX_BATCH_LINES).contains(&count) {
        return Err(Error::invalid("lines", "are none, or too many")
            .with_limit(format!("1-{MAX_BATCH_LINES}")));
    }
    let at = Timestamp::now();
    let mut parts: Vec<Part> = Vec::new();
    let mut rows = Vec::with_capacity(count);
    let mut before = after;
    for line in lines {
        let bytes = line.as_bytes();
        let not_one = || Error::invalid("lines", "hold one that is no line of an audit log");
        if bytes.contains(&b'\n') {
            return Err(not_one());
        }
        let (link, head) = place_of(bytes).zip(Head::of(bytes)).ok_or_else(not_one)?;
        let lost = lost && rows.is_empty();
        let begins = SegmentStart::of(before.as_ref(), &link, lost);
        match (parts.last_mut(), begins) {
            (Some(part), None) => part.head = head,
            (_, begins) => parts.push(Part {
                begins: begins.map(|(start, missing)| (start, link.seq, missing)),
                head,
            }),
        }
        before = Some(head);
        rows.push(row(line, link.seq, parts.len() - 1, at).ok_or_else(not_one)?);
    }
    Ok(Append {
        log,
        after,
        parts,
        rows,
        at,
    })
}

/// The members that are searched for.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    actor: Actor<'a>,
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow, default)]
    target: Option<Cow<'a, str>>,
    #[serde(borrow)]
    result: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Actor<'a> {
    #[serde(borrow)]
    subject: Cow<'a, str>,
    #[serde(default)]
    tenant: Option<TenantId>,
}

fn row(line: String, seq: u64, part: usize, at: Timestamp) -> Option<Row> {
    let read: Line<'_> = serde_json::from_str(&line).ok()?;
    // Text of Postgres holds no NUL.
    let text = |text: &str| -> String {
        let plain = |c| if c == '\0' { '\u{fffd}' } else { c };
        text.chars().take(COLUMN_CHARS).map(plain).collect()
    };
    let happened = read.timestamp.parse::<Timestamp>().unwrap_or(at);
    Some(Row {
        part,
        seq,
        at: happened.as_millisecond(),
        actor: text(&read.actor.subject),
        tenant: read.actor.tenant.map(String::from),
        action: text(&read.action),
        target: read.target.as_deref().map(text),
        outcome: text(&read.result),
        line,
    })
}
