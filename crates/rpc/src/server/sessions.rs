//! The port `Sessions` as a service.

use std::sync::Arc;

use domain::{SessionId, Sessions};
use futures::StreamExt as _;
use futures::stream::Map;
use tonic::{Request, Response, Status, Streaming};

use super::answer::{Shared, check_tenant};
use super::runner::{Running, run};
use crate::convert::{call_from, exec_from, info_to, listing_to, open_from, required, result_to};
use crate::method;
use crate::pb::run_in_request::Message;
use crate::pb::sessions_server::Sessions as Service;
use crate::pb::{
    ExecRequest, ExecResponse, ListFilesRequest, ListFilesResponse, ListRequest, ListResponse,
    OpenRequest, OpenResponse, ReadFileRequest, ReadFileResponse, RunInRequest, RunInResponse,
    RunResponse, StopRequest, StopResponse, WriteFileRequest, WriteFileResponse,
};

pub(crate) struct SessionsService {
    pub(crate) sessions: Arc<dyn Sessions>,
    pub(crate) shared: Shared,
}

type Answer<T> = Result<Response<T>, Status>;
type Wrap = fn(Result<RunResponse, Status>) -> Result<RunInResponse, Status>;

fn wrapped(event: Result<RunResponse, Status>) -> Result<RunInResponse, Status> {
    event.map(|event| RunInResponse { event: Some(event) })
}

#[tonic::async_trait]
impl Service for SessionsService {
    async fn open(&self, request: Request<OpenRequest>) -> Answer<OpenResponse> {
        self.shared
            .answer(&method::OPEN, request, |context, request| async move {
                check_tenant(&context, &request.tenant)?;
                let info = self.sessions.open(&context, open_from(request)?).await?;
                Ok(OpenResponse {
                    session: Some(info_to(info)),
                })
            })
            .await
    }

    async fn exec(&self, request: Request<ExecRequest>) -> Answer<ExecResponse> {
        self.shared
            .answer(&method::EXEC, request, |context, request| async move {
                let (id, exec) = exec_from(request)?;
                let results = self.sessions.exec(&context, &id, exec).await?;
                Ok(ExecResponse {
                    results: results.into_iter().map(result_to).collect(),
                })
            })
            .await
    }

    type RunInStream = Map<Running<RunInRequest>, Wrap>;

    async fn run_in(&self, request: Request<Streaming<RunInRequest>>) -> Answer<Self::RunInStream> {
        let begun = run(
            &self.shared,
            &method::RUN_IN,
            request,
            |context, first| async move {
                let Message::Run(run) = required("message", required("message", first)?.message)?;
                let call = required("call", run.call)?;
                check_tenant(&context, &call.tenant)?;
                let id = SessionId::parse(&run.id)?;
                self.sessions.run(&context, &id, call_from(call)?).await
            },
        );
        Ok(begun.await?.map(|events| events.map(wrapped as Wrap)))
    }

    async fn write_file(&self, request: Request<WriteFileRequest>) -> Answer<WriteFileResponse> {
        self.shared
            .answer(
                &method::WRITE_FILE,
                request,
                |context, request| async move {
                    let id = SessionId::parse(&request.id)?;
                    self.sessions
                        .write(&context, &id, &request.path, request.content)
                        .await?;
                    Ok(WriteFileResponse {})
                },
            )
            .await
    }

    async fn read_file(&self, request: Request<ReadFileRequest>) -> Answer<ReadFileResponse> {
        self.shared
            .answer(&method::READ_FILE, request, |context, request| async move {
                let id = SessionId::parse(&request.id)?;
                let content = self.sessions.read(&context, &id, &request.path).await?;
                Ok(ReadFileResponse { content })
            })
            .await
    }

    async fn list_files(&self, request: Request<ListFilesRequest>) -> Answer<ListFilesResponse> {
        self.shared
            .answer(
                &method::LIST_FILES,
                request,
                |context, request| async move {
                    let id = SessionId::parse(&request.id)?;
                    let listing = self.sessions.list(&context, &id, &request.path).await?;
                    Ok(listing_to(listing))
                },
            )
            .await
    }

    async fn stop(&self, request: Request<StopRequest>) -> Answer<StopResponse> {
        self.shared
            .answer(&method::STOP, request, |context, request| async move {
                let id = SessionId::parse(&request.id)?;
                self.sessions.stop(&context, &id).await?;
                Ok(StopResponse {})
            })
            .await
    }

    async fn list(&self, request: Request<ListRequest>) -> Answer<ListResponse> {
        self.shared
            .answer(&method::LIST, request, |context, _| async move {
                let sessions = self.sessions.sessions(&context).await?;
                Ok(ListResponse {
                    sessions: sessions.into_iter().map(info_to).collect(),
                })
            })
            .await
    }
}
