//! The one table between our errors and gRPC statuses, and the one place where a status is made.
//!
//! An error travels as a status with `google.rpc.ErrorInfo` (`reason` is the code of the contract,
//! `metadata` the parts of the error) and, where it has one, `google.rpc.RetryInfo`. Its internal
//! cause stays here and is logged. A status without our `ErrorInfo` was not made by our code but by
//! the transport.

#![allow(
    clippy::disallowed_methods,
    reason = "this is the one place where statuses are made"
)]

use std::collections::HashMap;
use std::error::Error as StdError;

use domain::{Error, ErrorCode};
use tonic::{Code, ConnectError, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::method::Method;

/// `ErrorInfo.domain` of our errors.
const DOMAIN: &str = "dynamic-mcp";
/// Longest text of an error that crosses, in bytes: headers are bounded.
const MAX_TEXT_BYTES: usize = 4096;

/// The gRPC code of each error code, and its name for metrics.
const fn grpc(code: ErrorCode) -> (Code, &'static str) {
    match code {
        ErrorCode::InvalidArgument => (Code::InvalidArgument, "INVALID_ARGUMENT"),
        ErrorCode::NotFound => (Code::NotFound, "NOT_FOUND"),
        ErrorCode::AlreadyExists => (Code::AlreadyExists, "ALREADY_EXISTS"),
        ErrorCode::RevisionConflict => (Code::Aborted, "ABORTED"),
        ErrorCode::PolicyDenied | ErrorCode::DependencyInstallFailed => {
            (Code::FailedPrecondition, "FAILED_PRECONDITION")
        }
        ErrorCode::Unauthenticated => (Code::Unauthenticated, "UNAUTHENTICATED"),
        ErrorCode::PermissionDenied => (Code::PermissionDenied, "PERMISSION_DENIED"),
        ErrorCode::LimitExceeded
        | ErrorCode::RateLimited
        | ErrorCode::Overloaded
        | ErrorCode::OutOfMemory => (Code::ResourceExhausted, "RESOURCE_EXHAUSTED"),
        ErrorCode::ToolFailed => (Code::Unknown, "UNKNOWN"),
        ErrorCode::Timeout => (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
        ErrorCode::OutputTooLarge => (Code::OutOfRange, "OUT_OF_RANGE"),
        ErrorCode::Cancelled => (Code::Cancelled, "CANCELLED"),
        ErrorCode::Unavailable => (Code::Unavailable, "UNAVAILABLE"),
        ErrorCode::Internal => (Code::Internal, "INTERNAL"),
    }
}

/// The value of the label `code` in metrics.
pub(crate) fn label(outcome: Result<(), ErrorCode>) -> &'static str {
    match outcome {
        Ok(()) => "OK",
        Err(code) => grpc(code).1,
    }
}

/// Makes the status of an error and logs its cause.
pub(crate) fn from_error(error: &Error) -> Status {
    match (error.cause(), error.code()) {
        (Some(cause), ErrorCode::Internal) => {
            let at = error.origin().map(tracing::field::display);
            tracing::error!(fault = "internal", at, cause = %chain(cause), "internal error");
        }
        (Some(cause), code) => tracing::debug!(%code, cause = %chain(cause), "request failed"),
        (None, _) => {}
    }
    let parts = [
        ("field", error.field()),
        ("limit", error.limit()),
        ("fix", error.fix()),
        ("may_have_run", error.may_have_run().then_some("true")),
    ];
    let metadata: HashMap<String, String> = parts
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), cut(value?).to_owned())))
        .collect();
    let code = error.code();
    let mut details = ErrorDetails::with_error_info(code.as_str(), DOMAIN, metadata);
    if let Some(after) = error.retry_after() {
        details.set_retry_info(Some(after));
    }
    Status::with_error_details(grpc(code).0, cut(error.message()), details)
}

/// Reads a status that came from `backend` in answer to `method`.
pub(crate) fn to_error(status: Status, backend: &str, method: &Method) -> Error {
    match ours(&status) {
        Some(error) => error,
        None => of_transport(status, backend, method),
    }
}

fn ours(status: &Status) -> Option<Error> {
    let info = status
        .get_details_error_info()
        .filter(|info| info.domain == DOMAIN)?;
    let code: ErrorCode = info.reason.parse().ok()?;
    let part = |name: &str| info.metadata.get(name).cloned();
    let mut error = Error::new(code, status.message())
        .with_may_have_run(info.metadata.contains_key("may_have_run"));
    if let Some(field) = part("field") {
        error = error.with_field(field);
    }
    if let Some(limit) = part("limit") {
        error = error.with_limit(limit);
    }
    if let Some(fix) = part("fix") {
        error = error.with_fix(fix);
    }
    if let Some(after) = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay)
    {
        error = error.with_retry_after(after);
    }
    Some(error)
}

/// A status that the transport made: the connection failed, broke, or does not speak our protocol.
fn of_transport(status: Status, backend: &str, method: &Method) -> Error {
    let not_started = !method.has_effects || never_sent(&status);
    match status.code() {
        Code::OutOfRange => Error::new(
            ErrorCode::OutputTooLarge,
            format!("the answer of the {backend} is too large"),
        )
        .with_limit(format!("at most {} bytes", method.max_response_bytes))
        .with_may_have_run(method.has_effects),
        Code::Unimplemented => Error::new(
            ErrorCode::Unavailable,
            format!("the {backend} does not offer what this service needs"),
        )
        .with_fix(format!(
            "run the same version of this service and the {backend}"
        ))
        .with_cause(status),
        _ if not_started => Error::unavailable(backend).with_cause(status),
        _ => broken(backend).with_cause(status),
    }
}

/// The connection broke after the request was sent: nobody knows what was done.
pub(crate) fn broken(backend: &str) -> Error {
    Error::new(
        ErrorCode::Unavailable,
        format!("the connection to the {backend} broke; the request may have been carried out"),
    )
    .with_fix("look at the state before trying again")
    .with_may_have_run(true)
}

/// Whether the service provably has not begun with the request: there was no connection to send it on,
/// the connection ended while it waited to be sent, or the service said in its farewell, or of this
/// request alone, that it did not look at it (RFC 9113, 8.7).
pub(crate) fn never_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        let refused = error.downcast_ref::<h2::Error>().is_some_and(|error| {
            let reason = if error.is_go_away() {
                h2::Reason::NO_ERROR
            } else {
                h2::Reason::REFUSED_STREAM
            };
            error.is_remote() && error.reason() == Some(reason)
        });
        let unsent = error.downcast_ref::<hyper::Error>();
        if refused || error.is::<ConnectError>() || unsent.is_some_and(hyper::Error::is_canceled) {
            return true;
        }
        source = error.source();
    }
    false
}

fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::method;

    fn cross(error: &Error) -> Error {
        let response: http::Response<()> = from_error(error).into_http();
        let status = Status::from_header_map(response.headers()).unwrap();
        to_error(status, "registry", &method::CREATE)
    }

    #[test]
    fn every_error_crosses_whole_but_for_its_cause() {
        for code in ErrorCode::ALL {
            let sent = Error::new(*code, "a sentence, ü, 100 %\nand a line")
                .with_field("/spec/timeoutMs")
                .with_limit("1,000-120,000")
                .with_fix("wähle weniger")
                .with_retry_after(Duration::from_millis(1500))
                .with_may_have_run(true)
                .with_cause("secret cause");
            let got = cross(&sent);
            assert_eq!(got.code(), *code);
            assert_eq!(got.to_string(), sent.to_string());
            assert_eq!(
                (got.field(), got.limit(), got.fix()),
                (sent.field(), sent.limit(), sent.fix())
            );
            assert_eq!(got.retry_after(), sent.retry_after());
            assert!(got.may_have_run());
            assert!(got.cause().is_none());
            let bare = cross(&Error::new(*code, "x"));
            assert_eq!(
                (bare.field(), bare.retry_after(), bare.may_have_run()),
                (None, None, false)
            );
            let wire = format!("{:?}", from_error(&sent));
            assert!(!wire.contains("secret cause"), "{wire}");
        }
    }

    #[test]
    fn an_endless_text_is_cut_at_a_character() {
        let got =
            cross(&Error::new(ErrorCode::Internal, "ü".repeat(10_000)).with_fix("€".repeat(9_999)));
        assert_eq!(got.message().len(), 4096);
        assert_eq!(got.fix().unwrap().len(), 4095);
    }

    #[test]
    fn what_the_transport_says_is_unavailable_and_names_the_backend() {
        for code in [
            Code::Unknown,
            Code::Internal,
            Code::Cancelled,
            Code::Unavailable,
        ] {
            let error = to_error(Status::new(code, "h2"), "registry", &method::CREATE);
            assert_eq!(error.code(), ErrorCode::Unavailable);
            assert!(error.may_have_run(), "{code}");
            assert!(error.message().contains("registry"));
            let read = to_error(Status::new(code, "h2"), "registry", &method::GET);
            assert!(!read.may_have_run(), "nothing can have been changed");
        }
    }
}
