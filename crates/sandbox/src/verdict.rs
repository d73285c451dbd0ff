//! Failures that every engine tells in the same words.

use std::time::Duration;

use domain::error::ErrorCode;
use domain::runner::Failure;

use crate::wire::{Cause, Thrown};

/// A failure after which nothing is left open.
pub(crate) fn failure(code: ErrorCode, message: impl Into<String>) -> Failure {
    Failure {
        code,
        message: message.into(),
        may_have_run: false,
    }
}

/// The code's own failure, as the child reported it.
pub(crate) fn of_thrown(thrown: Thrown) -> Failure {
    let code = match thrown.cause {
        Cause::Threw => ErrorCode::ToolFailed,
        Cause::OutOfMemory => ErrorCode::OutOfMemory,
        Cause::TooLarge => ErrorCode::OutputTooLarge,
    };
    failure(code, thrown.message)
}

/// The kill at the end of the call's time.
pub(crate) fn of_deadline(timeout: Duration) -> Failure {
    let millis = timeout.as_millis();
    failure(
        ErrorCode::Timeout,
        format!("the code ran longer than its {millis} ms and was stopped"),
    )
}
