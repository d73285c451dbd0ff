//! Which path needs what.

use std::sync::Arc;

use auth::internal::{Access, Policy};
use domain::{Error, Result};
use http::{Extensions, Response};
use tonic::body::Body;

use super::answer::Shared;
use super::callers;
use super::connection::Peer;
use crate::{method, status};

/// Largest message to a path that we do not know; it is refused after that.
const UNKNOWN_MESSAGE_BYTES: usize = 64 * 1024;

#[derive(Clone)]
pub(crate) struct Rules(pub(crate) Shared);

impl Policy for Rules {
    type Body = Body;

    fn access(&self, path: &str) -> Access {
        if matches!(
            path,
            "/grpc.health.v1.Health/Check" | "/grpc.health.v1.Health/Watch"
        ) {
            return Access::Open;
        }
        match method::at(path) {
            Some(method) => Access::Signed {
                max_message_bytes: method.max_request_bytes,
                once: method.has_effects,
            },
            None => Access::Signed {
                max_message_bytes: UNKNOWN_MESSAGE_BYTES,
                once: true,
            },
        }
    }

    fn service(
        &self,
        path: &str,
        extensions: &Extensions,
        issuer: Option<&str>,
    ) -> Result<Option<Arc<str>>> {
        let peer = extensions.get::<Peer>().unwrap_or(&Peer::Unnamed);
        callers::admit(path, peer, issuer)
    }

    fn refuse(&self, path: &str, error: &Error) -> Response<Body> {
        if let Some(method) = method::at(path) {
            self.0.timer(method).stop(Err(error.code()));
        }
        status::from_error(error).into_http()
    }
}
