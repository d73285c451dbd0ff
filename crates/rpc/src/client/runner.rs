//! The port `Runner` as a client.

use async_trait::async_trait;
use domain::runner::Failure;
use domain::{
    Call, CallContext, Error, ErrorCode, Lockfile, Outcome, Resolve, Result, RunEvent, RunStream,
    Runner,
};
use futures::channel::oneshot;
use futures::stream::unfold;
use futures::{FutureExt as _, StreamExt as _};
use prost::Message;
use tokio::time::Instant;
use tonic::Streaming;
use tracing::Instrument as _;

use super::link::{GRACE, Link, Timer};
use crate::convert::{call_to, event_from, locked_from, required, resolve_to};
use crate::method::Method;
use crate::{method, pb, status};

/// An executor over gRPC.
#[derive(Debug, Clone)]
pub struct RunnerClient(Link);

impl RunnerClient {
    /// A client on a link to one executor.
    #[must_use]
    pub fn new(link: Link) -> Self {
        Self(link)
    }
}

#[async_trait]
impl Runner for RunnerClient {
    async fn run(&self, context: &CallContext, call: Call) -> Result<RunStream> {
        let message = pb::RunRequest {
            message: Some(pb::run_request::Message::Call(call_to(
                &context.principal.tenant,
                call,
            ))),
        };
        run(&self.0, context, &method::RUN, message, event_from).await
    }

    async fn resolve(&self, context: &CallContext, request: Resolve) -> Result<Lockfile> {
        let request = resolve_to(&context.principal.tenant, request);
        let answer: pb::ResolveResponse = self.0.unary(context, &method::RESOLVE, request).await?;
        locked_from(required("lock", answer.lock)?)
    }
}

/// Reads an event from a message.
type Read<A> = fn(A) -> Result<RunEvent>;

/// Starts a method whose first message is a call and whose answer is its events.
pub(super) async fn run<A: Message + Default + 'static>(
    link: &Link,
    context: &CallContext,
    method: &'static Method,
    message: impl Message,
    read: Read<A>,
) -> Result<RunStream> {
    let timer = link.timer(method);
    let span = timer.span.clone();
    let mut timer = Some(timer);
    let started = start(link, context, method, message, read, &mut timer)
        .instrument(span)
        .await;
    if let (Err(error), Some(timer)) = (&started, timer) {
        timer.stop(Err(error.code()));
    }
    started
}

async fn start<A: Message + Default + 'static>(
    link: &Link,
    context: &CallContext,
    method: &'static Method,
    message: impl Message,
    read: Read<A>,
    timer: &mut Option<Timer>,
) -> Result<RunStream> {
    let deadline = Instant::now() + context.budget + GRACE;
    let backend = link.backend();
    // Dropping `hold` ends the request stream, which cancels the call at the executor.
    let (hold, held) = oneshot::channel::<()>();
    let open = held.into_stream().filter_map(|_| std::future::ready(None));
    let first = async {
        let mut events = link.streaming::<A>(context, method, message, open).await?;
        let first = match events.message().await {
            Ok(Some(first)) => read(first)?,
            Ok(None) => return Err(status::broken(backend)),
            Err(status) => return Err(status::to_error(status, backend, method)),
        };
        Ok((first, events))
    };
    let (first, events) = match tokio::time::timeout_at(deadline, first).await {
        Ok(first) => first?,
        Err(_) => {
            return Err(Error::new(
                ErrorCode::Timeout,
                format!("the {backend} did not take the call within its time"),
            )
            .with_may_have_run(true));
        }
    };
    let running = Running {
        first: Some(first),
        events,
        read,
        deadline,
        backend,
        method,
        timer: timer.take(),
        _hold: hold,
    };
    Ok(Box::pin(unfold(Some(running), |running| async move {
        let mut running = running?;
        let event = running.next().await;
        let left = match &event {
            RunEvent::Finished(outcome) => {
                running.finished(outcome);
                None
            }
            _ => Some(running),
        };
        Some((event, left))
    })))
}

/// A call that an executor has taken.
struct Running<A> {
    first: Option<RunEvent>,
    events: Streaming<A>,
    read: Read<A>,
    deadline: Instant,
    backend: &'static str,
    method: &'static Method,
    timer: Option<Timer>,
    _hold: oneshot::Sender<()>,
}

impl<A> Running<A> {
    async fn next(&mut self) -> RunEvent {
        if let Some(first) = self.first.take() {
            return first;
        }
        let error = match tokio::time::timeout_at(self.deadline, self.events.message()).await {
            Ok(Ok(Some(message))) => match (self.read)(message) {
                Ok(event) => return event,
                Err(error) => Error::internal(error),
            },
            Ok(Ok(None)) => status::broken(self.backend),
            Ok(Err(status)) => status::to_error(status, self.backend, self.method),
            Err(_) => Error::new(
                ErrorCode::Timeout,
                "the call did not finish within its time",
            ),
        };
        if let Some(cause) = error.cause() {
            tracing::warn!(code = %error.code(), %cause, "a running call was lost");
        }
        let mut outcome = Outcome::failed(error.code(), error.message());
        outcome.result = Err(Failure {
            code: error.code(),
            message: error.message().to_owned(),
            may_have_run: true,
        });
        RunEvent::Finished(outcome)
    }

    fn finished(&mut self, outcome: &Outcome) {
        if let Some(timer) = self.timer.take() {
            let carried = match &outcome.result {
                // The request was answered, whatever the tool did.
                Ok(_)
                | Err(Failure {
                    may_have_run: false,
                    ..
                }) => Ok(()),
                Err(failure) => Err(failure.code),
            };
            timer.stop(carried);
        }
    }
}
