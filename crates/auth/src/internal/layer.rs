//! The one layer that lets no request in without a valid identity. It works on tonic and on axum
//! alike: which paths need what, and how a refusal looks, is a [`Policy`].

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use domain::{Error, ErrorCode, Result};
use futures::future::BoxFuture;
use http::{Extensions, Request, Response};
use http_body::Body;
use tower::{Layer, Service};

use super::{Caller, Replayed, Verifier};

/// How long a caller may take to send its first message.
const FIRST_MESSAGE_WITHIN: Duration = Duration::from_secs(10);

/// How much of a refused path is logged, in bytes; a path is ASCII.
const MAX_SHOWN_PATH: usize = 128;

/// What a path asks of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: health checks.
    Open,
    /// A valid identity for exactly this request.
    Signed {
        /// Largest first message, in bytes.
        max_message_bytes: usize,
        /// Whether the token is accepted once only.
        once: bool,
    },
}

/// What differs between the servers that the layer stands in front of.
pub trait Policy: Clone + Send + Sync + 'static {
    /// Body of the answers.
    type Body;

    /// What a request to `path` needs.
    fn access(&self, path: &str) -> Access;

    /// The service that a request comes from, by what the connection says in the request's extensions and
    /// by the `issuer` that its key is listed with.
    ///
    /// # Errors
    /// `permission_denied` for a service that may not make requests to `path`.
    fn service(
        &self,
        path: &str,
        extensions: &Extensions,
        issuer: Option<&str>,
    ) -> Result<Option<Arc<str>>>;

    /// The answer to a refused request.
    fn refuse(&self, path: &str, error: &Error) -> Response<Self::Body>;
}

/// Puts [`IdentityService`] in front of a service.
#[derive(Debug, Clone)]
pub struct IdentityLayer<P> {
    verifier: Arc<Verifier>,
    policy: P,
}

impl<P> IdentityLayer<P> {
    /// A layer that checks by `verifier` and `policy`.
    #[must_use]
    pub fn new(verifier: Arc<Verifier>, policy: P) -> Self {
        Self { verifier, policy }
    }
}

impl<P: Clone, S> Layer<S> for IdentityLayer<P> {
    type Service = IdentityService<P, S>;

    fn layer(&self, inner: S) -> Self::Service {
        IdentityService {
            verifier: Arc::clone(&self.verifier),
            policy: self.policy.clone(),
            inner,
        }
    }
}

/// Checks the identity of each request and puts the [`Caller`] into its extensions.
#[derive(Debug, Clone)]
pub struct IdentityService<P, S> {
    verifier: Arc<Verifier>,
    policy: P,
    inner: S,
}

impl<P, S, B> Service<Request<B>> for IdentityService<P, S>
where
    P: Policy,
    P::Body: Send,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Send,
    S: Service<Request<Replayed<B>>, Response = Response<P::Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<P::Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, std::result::Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<std::result::Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The clone that stays takes the next request; the one that was found ready takes this.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let (verifier, policy) = (Arc::clone(&self.verifier), self.policy.clone());
        Box::pin(async move {
            let mut request = request.map(Replayed::untouched);
            // Nobody but this layer says who calls.
            request.extensions_mut().remove::<Caller>();
            match identify(&verifier, &policy, &mut request).await {
                Ok(()) => inner.call(request).await,
                Err(error) => {
                    let path = request.uri().path();
                    // Whoever is refused decides how long a path is, and how often it is logged.
                    let shown = path.get(..MAX_SHOWN_PATH).unwrap_or(path);
                    tracing::warn!(path = %shown, code = %error.code(), reason = %error, "request refused");
                    Ok(policy.refuse(path, &error))
                }
            }
        })
    }
}

async fn identify<P: Policy, B>(
    verifier: &Verifier,
    policy: &P,
    request: &mut Request<Replayed<B>>,
) -> Result<()>
where
    B: Body<Data = Bytes> + Unpin,
{
    let path = request.uri().path();
    let Access::Signed {
        max_message_bytes,
        once,
    } = policy.access(path)
    else {
        return Ok(());
    };
    let identified = verifier.check_headers(request.headers(), path)?;
    let service = policy.service(path, request.extensions(), identified.issuer())?;
    let reading = request.body_mut().read_first_message(max_message_bytes);
    let digest = tokio::time::timeout(FIRST_MESSAGE_WITHIN, reading)
        .await
        .map_err(|_| Error::new(ErrorCode::Timeout, "the request's message did not come"))??;
    let mut caller = verifier.check_message(identified, &digest, once)?;
    caller.service = service;
    request.extensions_mut().insert(caller);
    Ok(())
}

#[cfg(test)]
mod tests;
