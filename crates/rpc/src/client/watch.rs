//! Feeds that never end by themselves: silence means that they are broken.

use std::pin::Pin;
use std::time::Duration;

use domain::{CallContext, Error, Result};
use futures::Stream;
use futures::stream::unfold;
use prost::Message;
use tonic::Streaming;

use super::link::Link;
use crate::method::Method;
use crate::status;

/// A feed says something at least every five seconds; three times that is silence.
const SILENCE: Duration = Duration::from_secs(15);

type Feed<T> = Pin<Box<dyn Stream<Item = Result<T>> + Send>>;

/// Starts a feed. It ends after its first error.
pub(crate) async fn follow<A, T>(
    link: &Link,
    context: &CallContext,
    method: &'static Method,
    request: impl Message,
    convert: impl Fn(A) -> Result<T> + Send + 'static,
) -> Result<Feed<T>>
where
    A: Message + Default + 'static,
    T: 'static + Send,
{
    // Asked for before the request is made: at worst this feed ends once for nothing.
    let replaced = link.open().replaced.clone();
    let timer = link.timer(method);
    let started = link.server_streaming::<A>(context, method, request).await;
    timer.stop(started.as_ref().map(|_| ()).map_err(Error::code));
    let backend = link.backend();
    Ok(Box::pin(unfold(
        (Some(started?), convert, replaced),
        move |(messages, convert, replaced)| async move {
            let mut messages: Streaming<A> = messages?;
            let next = tokio::time::timeout(SILENCE, messages.message());
            let Some(next) = replaced.run_until_cancelled(next).await else {
                // Its connection is to end; whoever follows starts anew on the next one.
                return None;
            };
            let item = match next {
                Ok(Ok(Some(message))) => convert(message),
                // The service stops; whoever follows starts anew.
                Ok(Ok(None)) => return None,
                Ok(Err(status)) => Err(status::to_error(status, backend, method)),
                Err(_) => Err(Error::unavailable(backend)),
            };
            let left = item.is_ok().then_some(messages);
            Some((item, (left, convert, replaced)))
        },
    )))
}
