//! Feeds: they end with their first error, and when the server stops.

use std::pin::Pin;

use domain::Result;
use futures::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::status;

pub(crate) type Feed<A> = Pin<Box<dyn Stream<Item = Result<A, Status>> + Send>>;

pub(crate) fn feed<T, A>(
    items: impl Stream<Item = Result<T>> + Send + 'static,
    convert: impl Fn(T) -> A + Send + 'static,
    stopping: CancellationToken,
) -> Feed<A>
where
    T: 'static,
    A: 'static,
{
    let answers = items.map(move |item| match item {
        Ok(item) => Ok(convert(item)),
        Err(error) => Err(status::from_error(&error)),
    });
    Box::pin(answers.take_until(stopping.cancelled_owned()))
}
