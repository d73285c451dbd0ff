//! The rest of a request's body when the answer is made. Who is refused by the head alone, say for
//! want of a token, is answered before the body has come, when the client sends one after the other.
//! hyper then closes the connection without saying so, under the client's next request.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::middleware::Next;
use bytes::Bytes;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Request, Response, Version};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt as _, Limited};
use parking_lot::Mutex;
use tokio::time::timeout;

/// More than this is not read for the sake of the connection.
pub(super) const MOST_BYTES: usize = 64 * 1024;
/// Nor is it waited for longer.
pub(super) const WITHIN: Duration = Duration::from_secs(1);

/// Reads what the layers inside have left of the body; the answer to a client whose connection
/// cannot be kept says so.
pub(super) async fn layer(request: Request<Body>, next: Next) -> Response<Body> {
    // HTTP/2 has a stream for each request.
    if request.version() >= Version::HTTP_2 || request.body().is_end_stream() {
        return next.run(request).await;
    }
    let waits_to_be_asked = request.headers().contains_key(EXPECT);
    let left = Arc::new(Mutex::new(None));
    let request = request.map(|body| {
        Body::new(Watched {
            body: Some(body),
            begun: false,
            left: Arc::clone(&left),
        })
    });
    let mut response = next.run(request).await;
    let rest = left.lock().take();
    let keeps = match rest {
        None => true,
        Some(Rest::Begun) => false,
        Some(Rest::Untouched(body)) => !waits_to_be_asked && read_off(body).await,
    };
    if !keeps {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// Whether the body has come to its end.
async fn read_off(body: Body) -> bool {
    if body.size_hint().lower() > MOST_BYTES as u64 {
        return false;
    }
    let mut body = Limited::new(body, MOST_BYTES);
    let to_the_end = async {
        while let Some(frame) = body.frame().await {
            if frame.is_err() {
                return false;
            }
        }
        true
    };
    timeout(WITHIN, to_the_end).await.unwrap_or(false)
}

/// A body that was dropped before its end.
enum Rest {
    /// Whoever began to read it has given up on it: it is too long, or does not come.
    Begun,
    Untouched(Body),
}

/// A body on its way through the layers.
struct Watched {
    /// `None`: nothing more comes of it.
    body: Option<Body>,
    begun: bool,
    left: Arc<Mutex<Option<Rest>>>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.begun = true;
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let next = Pin::new(body).poll_frame(context);
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.as_ref().map(Body::size_hint);
        hint.unwrap_or_else(|| SizeHint::with_exact(0))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else {
            return;
        };
        *self.left.lock() = Some(if self.begun {
            Rest::Begun
        } else {
            Rest::Untouched(body)
        });
    }
}
