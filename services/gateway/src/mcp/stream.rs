//! Event streams: a task feeds a bounded channel, the response's body drains it. When the client
//! goes away the body is dropped, and the task, with the call in it, is aborted.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt as _;
use http::Response;
use http_body::Frame;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval_at, timeout};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

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
    let mut ticks = interval_at(tokio::time::Instant::now() + keep_alive, keep_alive);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    reply::event_stream(Body::new(StreamBody {
        events,
        ticks,
        opened: false,
        _task: task,
    }))
}

/// Feeds a stream from a response that comes late: what it holds becomes the stream's events.
pub(crate) async fn late<F>(response: F, events: Events)
where
    F: Future<Output = Response<Body>>,
{
    let response = response.await;
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

/// A body that keeps `held` until its end.
pub(crate) fn hold<T: Send + Unpin + 'static>(body: Body, held: T) -> Body {
    let mut pieces = body.into_data_stream();
    Body::from_stream(futures::stream::poll_fn(move |context| {
        // Named so that the closure owns it.
        let _held = &held;
        pieces.poll_next_unpin(context)
    }))
}

struct StreamBody {
    events: mpsc::Receiver<Bytes>,
    ticks: Interval,
    opened: bool,
    _task: AbortOnDropHandle<()>,
}

impl http_body::Body for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.events.poll_recv(context) {
            Poll::Ready(Some(event)) => {
                self.opened = true;
                self.ticks.reset();
                return Poll::Ready(Some(Ok(Frame::data(event))));
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        if !self.opened {
            // The head alone may wait in a proxy for the first byte of the body.
            self.opened = true;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(write::KEEP_ALIVE)))));
        }
        ready!(self.ticks.poll_tick(context));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(write::KEEP_ALIVE)))))
    }
}
