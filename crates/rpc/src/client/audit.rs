//! The port `Archive` as a client.

use async_trait::async_trait;
use domain::audit::archive::{Archive, Batch, Head, LogName, Page, Search, Segment};
use domain::{CallContext, Result};

use super::link::Link;
use crate::convert::{batch_to, head_from, page_from, search_to, segment_from};
use crate::{method, pb};

/// What the registry keeps of audit logs, over gRPC.
#[derive(Debug, Clone)]
pub struct ArchiveClient(Link);

impl ArchiveClient {
    /// A client on a link to the registry.
    #[must_use]
    pub fn new(link: Link) -> Self {
        Self(link)
    }
}

#[async_trait]
impl Archive for ArchiveClient {
    async fn head(&self, context: &CallContext, log: &LogName) -> Result<Option<Head>> {
        let log = log.as_str().to_owned();
        let request = pb::HeadRequest { log };
        let answer: pb::HeadResponse = self.0.unary(context, &method::AUDIT_HEAD, request).await?;
        answer.head.map(head_from).transpose()
    }

    async fn append(&self, context: &CallContext, batch: Batch) -> Result<Option<Head>> {
        let request = batch_to(batch);
        let method = &method::AUDIT_APPEND;
        let answer: pb::AppendResponse = self.0.unary(context, method, request).await?;
        answer.head.map(head_from).transpose()
    }

    async fn segments(
        &self,
        context: &CallContext,
        log: Option<&LogName>,
        after: Option<(LogName, u64)>,
    ) -> Result<Vec<Segment>> {
        let (after_log, after_number) = after.unzip();
        let request = pb::SegmentsRequest {
            log: log.map(|log| log.as_str().to_owned()),
            after_log: after_log.map(String::from),
            after_number,
        };
        let method = &method::AUDIT_SEGMENTS;
        let answer: pb::SegmentsResponse = self.0.unary(context, method, request).await?;
        answer.segments.into_iter().map(segment_from).collect()
    }

    async fn search(&self, context: &CallContext, search: Search) -> Result<Page> {
        let request = search_to(search);
        let method = &method::AUDIT_SEARCH;
        let answer: pb::SearchResponse = self.0.unary(context, method, request).await?;
        page_from(answer)
    }
}
