//! Audit logs at the registry.

use domain::audit::archive::{Batch, Found, Head, LogName, Page, Search, Segment, SegmentStart};
use domain::{Error, Result, TenantId};

use super::{required, timestamp_from, timestamp_to};
use crate::pb;

pub(crate) fn head_to(head: Head) -> pb::AuditHead {
    pb::AuditHead {
        seq: head.seq,
        hash: head.hash.to_vec(),
    }
}

pub(crate) fn head_from(head: pb::AuditHead) -> Result<Head> {
    let hash = <[u8; 32]>::try_from(head.hash.as_slice());
    let hash = hash.map_err(|_| Error::invalid("hash", "is not 32 bytes"))?;
    if head.seq == 0 {
        return Err(Error::invalid("seq", "is not a number of a line"));
    }
    Ok(Head {
        seq: head.seq,
        hash,
    })
}

pub(crate) fn batch_to(batch: Batch) -> pb::AppendRequest {
    pb::AppendRequest {
        log: batch.log.into(),
        after: batch.after.map(head_to),
        lines: batch.lines,
        lost: batch.lost,
    }
}

pub(crate) fn batch_from(request: pb::AppendRequest) -> Result<Batch> {
    Ok(Batch {
        log: LogName::parse(&request.log)?,
        after: request.after.map(head_from).transpose()?,
        lines: request.lines,
        lost: request.lost,
    })
}

pub(crate) fn segment_to(segment: Segment) -> pb::AuditSegment {
    let start = match segment.start {
        SegmentStart::First => pb::SegmentStart::First,
        SegmentStart::Restart => pb::SegmentStart::Restart,
        SegmentStart::Gap => pb::SegmentStart::Gap,
        SegmentStart::Mismatch => pb::SegmentStart::Mismatch,
    };
    pb::AuditSegment {
        log: segment.log.into(),
        number: segment.number,
        start: start.into(),
        first_seq: segment.first_seq,
        missing: segment.missing,
        head: Some(head_to(segment.head)),
        began_at: Some(timestamp_to(segment.began_at)),
        updated_at: Some(timestamp_to(segment.updated_at)),
    }
}

pub(crate) fn segment_from(segment: pb::AuditSegment) -> Result<Segment> {
    let start = match segment.start() {
        pb::SegmentStart::First => SegmentStart::First,
        pb::SegmentStart::Restart => SegmentStart::Restart,
        pb::SegmentStart::Gap => SegmentStart::Gap,
        pb::SegmentStart::Mismatch => SegmentStart::Mismatch,
        pb::SegmentStart::Unspecified => {
            return Err(Error::invalid("start", "is not known here"));
        }
    };
    Ok(Segment {
        log: LogName::parse(&segment.log)?,
        number: segment.number,
        start,
        first_seq: segment.first_seq,
        missing: segment.missing,
        head: head_from(required("head", segment.head)?)?,
        began_at: timestamp_from("began_at", segment.began_at)?,
        updated_at: timestamp_from("updated_at", segment.updated_at)?,
    })
}

pub(crate) fn search_to(search: Search) -> pb::SearchRequest {
    pb::SearchRequest {
        since: search.since.map(timestamp_to),
        until: search.until.map(timestamp_to),
        actor: search.actor,
        action: search.action,
        tenant: search.tenant.map(String::from),
        target: search.target,
        outcome: search.outcome,
        before: search.before,
        limit: search.limit,
    }
}

pub(crate) fn search_from(request: pb::SearchRequest) -> Result<Search> {
    let moment = |field, moment: Option<_>| match moment {
        Some(moment) => timestamp_from(field, Some(moment)).map(Some),
        None => Ok(None),
    };
    Ok(Search {
        since: moment("since", request.since)?,
        until: moment("until", request.until)?,
        actor: request.actor,
        action: request.action,
        tenant: request
            .tenant
            .map(|tenant| TenantId::parse(&tenant))
            .transpose()?,
        target: request.target,
        outcome: request.outcome,
        before: request.before,
        limit: request.limit,
    })
}

pub(crate) fn page_to(page: Page) -> pb::SearchResponse {
    let record = |found: Found| pb::AuditRecord {
        id: found.id,
        log: found.log.into(),
        segment: found.segment,
        line: found.line,
    };
    pb::SearchResponse {
        records: page.records.into_iter().map(record).collect(),
        next: page.next,
    }
}

pub(crate) fn page_from(page: pb::SearchResponse) -> Result<Page> {
    let found = |record: pb::AuditRecord| {
        Ok(Found {
            id: record.id,
            log: LogName::parse(&record.log)?,
            segment: record.segment,
            line: record.line,
        })
    };
    Ok(Page {
        records: page.records.into_iter().map(found).collect::<Result<_>>()?,
        next: page.next,
    })
}
