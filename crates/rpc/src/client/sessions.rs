//! The port `Sessions` as a client.

use async_trait::async_trait;
use domain::session::{CommandResult, Exec, Listing, SessionInfo, SessionSpec};
use domain::{Call, CallContext, Result, RunStream, SessionId, Sessions};

use super::link::Link;
use super::runner;
use crate::convert::{
    call_to, event_from, exec_to, info_from, listing_from, open_to, required, result_from,
};
use crate::{method, pb};

/// The sandbox sessions of an executor over gRPC.
#[derive(Debug, Clone)]
pub struct SessionsClient(Link);

impl SessionsClient {
    /// A client on a link to one executor.
    #[must_use]
    pub fn new(link: Link) -> Self {
        Self(link)
    }
}

#[async_trait]
impl Sessions for SessionsClient {
    async fn open(&self, context: &CallContext, spec: SessionSpec) -> Result<SessionInfo> {
        let request = open_to(&context.principal.tenant, spec);
        let answer: pb::OpenResponse = self.0.unary(context, &method::OPEN, request).await?;
        info_from(required("session", answer.session)?)
    }

    async fn exec(
        &self,
        context: &CallContext,
        id: &SessionId,
        exec: Exec,
    ) -> Result<Vec<CommandResult>> {
        let request = exec_to(id, exec);
        let answer: pb::ExecResponse = self.0.unary(context, &method::EXEC, request).await?;
        Ok(answer.results.into_iter().map(result_from).collect())
    }

    async fn run(&self, context: &CallContext, id: &SessionId, call: Call) -> Result<RunStream> {
        let run = pb::RunIn {
            id: id.as_str().to_owned(),
            call: Some(call_to(&context.principal.tenant, call)),
        };
        let message = pb::RunInRequest {
            message: Some(pb::run_in_request::Message::Run(run)),
        };
        let read = |message: pb::RunInResponse| event_from(required("event", message.event)?);
        runner::run(&self.0, context, &method::RUN_IN, message, read).await
    }

    async fn write(
        &self,
        context: &CallContext,
        id: &SessionId,
        path: &str,
        content: Vec<u8>,
    ) -> Result<()> {
        let request = pb::WriteFileRequest {
            id: id.as_str().to_owned(),
            path: path.to_owned(),
            content,
        };
        let _: pb::WriteFileResponse = self.0.unary(context, &method::WRITE_FILE, request).await?;
        Ok(())
    }

    async fn read(&self, context: &CallContext, id: &SessionId, path: &str) -> Result<Vec<u8>> {
        let request = pb::ReadFileRequest {
            id: id.as_str().to_owned(),
            path: path.to_owned(),
        };
        let answer: pb::ReadFileResponse =
            self.0.unary(context, &method::READ_FILE, request).await?;
        Ok(answer.content)
    }

    async fn list(&self, context: &CallContext, id: &SessionId, path: &str) -> Result<Listing> {
        let request = pb::ListFilesRequest {
            id: id.as_str().to_owned(),
            path: path.to_owned(),
        };
        let answer: pb::ListFilesResponse =
            self.0.unary(context, &method::LIST_FILES, request).await?;
        listing_from(answer)
    }

    async fn stop(&self, context: &CallContext, id: &SessionId) -> Result<()> {
        let request = pb::StopRequest {
            id: id.as_str().to_owned(),
        };
        let _: pb::StopResponse = self.0.unary(context, &method::STOP, request).await?;
        Ok(())
    }

    async fn sessions(&self, context: &CallContext) -> Result<Vec<SessionInfo>> {
        let request = pb::ListRequest {};
        let answer: pb::ListResponse = self.0.unary(context, &method::LIST, request).await?;
        answer.sessions.into_iter().map(info_from).collect()
    }
}
