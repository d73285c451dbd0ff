//! Event streams: a task feeds a bounded channel, the response's body drains it. When the client
//! goes away the body is dropped, and the task, with the call in it, is aborted.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::Response;
use http_body::Frame;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::validity::Validity;
use super::{reply, write};

/// Events that wait for the client.
const QUEUED_EVENTS: usize = 16;

/// How long a client may leave its events unread.
const STALL: Duration = Duration::from_secs(30);

/// The sending half of a stream.
#[derive(Debug)]
pub(crate) struct Events(mpsc::Sender<Bytes>);

impl Events {
    /// Sends one piece. False when the client is gone or has stopped reading.
    pub(crate) async fn send(&self, bytes: impl Into<Bytes>) -> bool {
        matches!(timeout(STALL, self.0.send(bytes.into())).await, Ok(Ok(())))
    }
}

/// The response whose events `feed` sends.
pub(crate) fn respond<F>(
    tasks: &TaskTracker,
    keep_alive: Duration,
    feed: impl FnOnce(Events) -> F,
) -> Response<Body>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, events) = mpsc::channel(QUEUED_EVENTS);
    let task = AbortOnDropHandle::new(tasks.spawn(feed(Events(sender))));
    let events = ReceiverStream::new(events);
    reply::event_stream(body(events, keep_alive, false, task))
}

/// Keeps a stream of somebody else alive, and `held` until its end.
pub(crate) fn keep<T>(stream: Body, keep_alive: Duration, held: T) -> Body
where
    T: Send + Unpin + 'static,
{
    let pieces = stream
        .into_data_stream()
        .scan((), |(), piece| std::future::ready(piece.ok()));
    body(pieces, keep_alive, true, held)
}

/// What ends a late response that nobody may have any more.
#[derive(Debug)]
pub(crate) struct Credential {
    pub(crate) validity: Validity,
    /// The error that says so, as JSON.
    pub(crate) last_word: Vec<u8>,
}

/// Feeds a stream from a response that comes late: what it holds becomes the stream's events.
pub(crate) async fn late<F>(response: F, events: Events, credential: Credential)
where
    F: Future<Output = Response<Body>>,
{
    let response = tokio::select! {
        response = response => response,
        () = credential.validity.over() => {
            events.send(write::event(credential.last_word)).await;
            return;
        }
    };
    if !reply::is_event_stream(&response) {
        if let Some(body) = reply::collect(response).await
            && !body.is_empty()
        {
            events.send(write::event(body.into())).await;
        }
        return;
    }
    let mut pieces = response.into_body().into_data_stream();
    while let Some(Ok(piece)) = pieces.next().await {
        if !events.send(piece).await {
            return;
        }
    }
}

/// `opened`: the first event is there already, so that no comment has to open the body.
fn body<S, T>(events: S, keep_alive: Duration, opened: bool, held: T) -> Body
where
    S: Stream<Item = Bytes> + Send + Unpin + 'static,
    T: Send + Unpin + 'static,
{
    let mut ticks = interval_at(Instant::now() + keep_alive, keep_alive);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Body::new(StreamBody {
        events,
        ticks,
        opened,
        _held: held,
    })
}

struct StreamBody<S, T> {
    events: S,
    ticks: Interval,
    opened: bool,
    _held: T,
}

impl<S, T> http_body::Body for StreamBody<S, T>
where
    S: Stream<Item = Bytes> + Unpin,
    T: Unpin,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.events.poll_next_unpin(context) {
            Poll::Ready(Some(event)) => {
                self.opened = true;
                self.ticks.reset();
                return Poll::Ready(Some(Ok(Frame::data(event))));
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        if self.opened {
            ready!(self.ticks.poll_tick(context));
        }
        // The head alone may wait in a proxy for the first byte of the body.
        self.opened = true;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(write::KEEP_ALIVE)))))
    }
}
