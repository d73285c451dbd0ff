//! The port `Archive` as a service.

use std::sync::Arc;

use domain::Error;
use domain::audit::archive::{Archive, LogName};
use tonic::{Request, Response, Status};

use super::answer::Shared;
use crate::convert::{batch_from, head_to, page_to, search_from, segment_to};
use crate::method;
use crate::pb::audit_server::Audit as Service;
use crate::pb::{
    AppendRequest, AppendResponse, HeadRequest, HeadResponse, SearchRequest, SearchResponse,
    SegmentsRequest, SegmentsResponse,
};

pub(crate) struct AuditService {
    pub(crate) archive: Arc<dyn Archive>,
    pub(crate) shared: Shared,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Service for AuditService {
    async fn head(&self, request: Request<HeadRequest>) -> Answer<HeadResponse> {
        self.shared
            .answer(
                &method::AUDIT_HEAD,
                request,
                |context, request| async move {
                    let log = LogName::parse(&request.log)?;
                    let head = self.archive.head(&context, &log).await?;
                    Ok(HeadResponse {
                        head: head.map(head_to),
                    })
                },
            )
            .await
    }

    async fn append(&self, request: Request<AppendRequest>) -> Answer<AppendResponse> {
        self.shared
            .answer(
                &method::AUDIT_APPEND,
                request,
                |context, request| async move {
                    let batch = batch_from(request)?;
                    let head = self.archive.append(&context, batch).await?;
                    Ok(AppendResponse {
                        head: head.map(head_to),
                    })
                },
            )
            .await
    }

    async fn segments(&self, request: Request<SegmentsRequest>) -> Answer<SegmentsResponse> {
        self.shared
            .answer(
                &method::AUDIT_SEGMENTS,
                request,
                |context, request| async move {
                    let name = |log: Option<String>| log.as_deref().map(LogName::parse).transpose();
                    let log = name(request.log)?;
                    let after = match (name(request.after_log)?, request.after_number) {
                        (Some(log), Some(number)) => Some((log, number)),
                        (None, None) => None,
                        _ => {
                            let why = "is set without the other half of the place";
                            return Err(Error::invalid("after_number", why));
                        }
                    };
                    let segments = self.archive.segments(&context, log.as_ref(), after).await?;
                    Ok(SegmentsResponse {
                        segments: segments.into_iter().map(segment_to).collect(),
                    })
                },
            )
            .await
    }

    async fn search(&self, request: Request<SearchRequest>) -> Answer<SearchResponse> {
        self.shared
            .answer(
                &method::AUDIT_SEARCH,
                request,
                |context, request| async move {
                    let page = self.archive.search(&context, search_from(request)?).await?;
                    Ok(page_to(page))
                },
            )
            .await
    }
}
