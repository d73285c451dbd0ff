//! The port `Runner` as a service.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use domain::{CallContext, Error, ErrorCode, Outcome, Result, RunEvent, RunStream, Runner};
use futures::Stream;
use futures::future::{Either, select};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument as _, Span};

use super::answer::{Shared, Timer, check_tenant, context};
use crate::convert::{call_from, event_to, locked_to, required, resolve_from};
use crate::method::Method;
use crate::pb::run_request::Message;
use crate::pb::runner_server::Runner as Service;
use crate::pb::{ResolveRequest, ResolveResponse, RunRequest, RunResponse};
use crate::{method, status};

pub(crate) struct RunnerService {
    pub(crate) runner: Arc<dyn Runner>,
    pub(crate) shared: Shared,
}

#[tonic::async_trait]
impl Service for RunnerService {
    type RunStream = Running<RunRequest>;

    async fn run(
        &self,
        request: Request<Streaming<RunRequest>>,
    ) -> Result<Response<Self::RunStream>, Status> {
        run(
            &self.shared,
            &method::RUN,
            request,
            |context, first| async move {
                let Message::Call(call) = required("message", required("message", first)?.message)?;
                check_tenant(&context, &call.tenant)?;
                self.runner.run(&context, call_from(call)?).await
            },
        )
        .await
    }

    async fn resolve(
        &self,
        request: Request<ResolveRequest>,
    ) -> Result<Response<ResolveResponse>, Status> {
        self.shared
            .answer(&method::RESOLVE, request, |context, request| async move {
                check_tenant(&context, &request.tenant)?;
                let lock = self
                    .runner
                    .resolve(&context, resolve_from(request)?)
                    .await?;
                Ok(ResolveResponse {
                    lock: Some(locked_to(&lock)),
                })
            })
            .await
    }
}

/// Answers a method whose first message is a call with the events of what `begin` starts.
pub(super) async fn run<Q, F>(
    shared: &Shared,
    method: &'static Method,
    request: Request<Streaming<Q>>,
    begin: impl FnOnce(CallContext, Option<Q>) -> F,
) -> Result<Response<Running<Q>>, Status>
where
    F: Future<Output = Result<RunStream>>,
{
    let mut timer = shared.timer(method);
    let (context, span) = match context(method, &request) {
        Ok(made) => made,
        Err(error) => return Err(timer.refused(&error)),
    };
    timer.span = span.clone();
    let deadline = Instant::now() + context.budget;
    let mut requests = request.into_inner();
    let started = start(context, &mut requests, deadline, begin)
        .instrument(span.clone())
        .await;
    match started {
        Ok(events) => Ok(Response::new(Running {
            events: Some(events),
            requests,
            deadline: Box::pin(sleep_until(deadline)),
            timer: Some(timer),
            span,
        })),
        Err(error) => Err(span.in_scope(|| timer.refused(&error))),
    }
}

async fn start<Q, F>(
    context: CallContext,
    requests: &mut Streaming<Q>,
    deadline: Instant,
    begin: impl FnOnce(CallContext, Option<Q>) -> F,
) -> Result<RunStream>
where
    F: Future<Output = Result<RunStream>>,
{
    let first = requests
        .message()
        .await
        .map_err(|_| Error::new(ErrorCode::InvalidArgument, "the call cannot be read"))?;
    let run = pin!(begin(context, first));
    let more = pin!(requests.message());
    // The caller may give up while the call waits for a slot.
    match tokio::time::timeout_at(deadline, select(run, more)).await {
        Ok(Either::Left((started, _))) => started,
        Ok(Either::Right((Ok(Some(_)), _))) => Err(unexpected()),
        Ok(Either::Right((Ok(None) | Err(_), _))) => Err(Error::new(
            ErrorCode::Cancelled,
            "the caller gave the call up",
        )),
        Err(_) => Err(Error::new(
            ErrorCode::Timeout,
            "no slot came free within the time",
        )),
    }
}

fn unexpected() -> Error {
    Error::invalid("message", "nothing is expected after the call")
}

/// A call that runs: its events, until it finishes, its time is up, or the caller ends or resets
/// its stream. Dropping it stops the call.
pub(crate) struct Running<Q> {
    /// `None` once the answer is complete.
    events: Option<RunStream>,
    requests: Streaming<Q>,
    deadline: Pin<Box<Sleep>>,
    timer: Option<Timer>,
    span: Span,
}

impl<Q> Stream for Running<Q> {
    type Item = Result<RunResponse, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<RunResponse, Status>>> {
        let this = &mut *self;
        let _entered = this.span.enter();
        let Some(events) = &mut this.events else {
            return Poll::Ready(None);
        };
        let end = match events.as_mut().poll_next(task) {
            Poll::Ready(Some(RunEvent::Finished(outcome))) => Ok(outcome),
            Poll::Ready(Some(event)) => return Poll::Ready(Some(Ok(event_to(event)))),
            Poll::Ready(None) => Err(Error::internal("the run ended without an outcome")),
            Poll::Pending => match Pin::new(&mut this.requests).poll_next(task) {
                Poll::Ready(Some(Ok(_))) => Err(unexpected()),
                Poll::Ready(Some(Err(_)) | None) => Err(Error::new(
                    ErrorCode::Cancelled,
                    "the caller gave the call up",
                )),
                Poll::Pending => match this.deadline.as_mut().poll(task) {
                    Poll::Ready(()) => Ok(out_of_time()),
                    Poll::Pending => return Poll::Pending,
                },
            },
        };
        this.events = None;
        if let Some(timer) = this.timer.take() {
            timer.stop(end.as_ref().map(|_| ()).map_err(Error::code));
        }
        Poll::Ready(Some(match end {
            Ok(outcome) => Ok(event_to(RunEvent::Finished(outcome))),
            Err(error) => Err(status::from_error(&error)),
        }))
    }
}

impl<Q> Drop for Running<Q> {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.stop(Err(ErrorCode::Cancelled));
        }
    }
}

fn out_of_time() -> Outcome {
    let mut outcome = Outcome::failed(
        ErrorCode::Timeout,
        "the call did not finish within its time",
    );
    if let Err(failure) = &mut outcome.result {
        failure.may_have_run = true;
    }
    outcome
}

impl Timer {
    fn refused(self, error: &Error) -> Status {
        self.stop(Err(error.code()));
        status::from_error(error)
    }
}
