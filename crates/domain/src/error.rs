//! The closed list of error codes, and the one error type that crosses every port.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Result of everything that can fail in the domain and behind its ports.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal),+ $(,)?) => {
        /// The closed list of contract section 4. The same word is used in MCP results, gRPC
        /// status details, logs, metrics and `docs/errors/<code>.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ #[serde(rename = $code)] $variant,)+
        }

        impl ErrorCode {
            /// Every code, in the order of the contract.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant),+];

            /// The code as it is written everywhere, for example `revision_conflict`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$variant => $code),+ }
            }

            /// What the code means in one sentence: the first line of its page.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(ErrorCode::$variant => concat!($($doc),+).trim()),+ }
            }
        }

        impl std::str::FromStr for ErrorCode {
            type Err = UnknownCode;
            fn from_str(text: &str) -> std::result::Result<Self, UnknownCode> {
                match text { $($code => Ok(ErrorCode::$variant),)+ _ => Err(UnknownCode) }
            }
        }
    };
}

/// A text that is not one of the [`ErrorCode`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a known error code")]
pub struct UnknownCode;

error_codes! {
    /// The request is malformed or breaks a limit; the field, the limit and the fix are named.
    InvalidArgument = "invalid_argument",
    /// The thing that was named does not exist, or not for this caller.
    NotFound = "not_found",
    /// Something with this name exists already.
    AlreadyExists = "already_exists",
    /// The record has another revision than the caller expected.
    RevisionConflict = "revision_conflict",
    /// A quota, such as the number of tools, is used up.
    LimitExceeded = "limit_exceeded",
    /// Policy forbids it: an image, a package, a name, a setting, or read-only mode.
    PolicyDenied = "policy_denied",
    /// No valid credential was presented.
    Unauthenticated = "unauthenticated",
    /// The caller is known but may not do this.
    PermissionDenied = "permission_denied",
    /// Too many calls in the window; `retryAfterMs` says when to come back.
    RateLimited = "rate_limited",
    /// Too many calls at once; `retryAfterMs` says when to come back.
    Overloaded = "overloaded",
    /// The tool's own code failed.
    ToolFailed = "tool_failed",
    /// The call did not finish within its time.
    Timeout = "timeout",
    /// The code used more memory than its limit.
    OutOfMemory = "out_of_memory",
    /// The code produced more output than its limit.
    OutputTooLarge = "output_too_large",
    /// The caller cancelled the call or went away.
    Cancelled = "cancelled",
    /// The tool's dependencies could not be installed.
    DependencyInstallFailed = "dependency_install_failed",
    /// A backend cannot be reached; the message says which, and whether the tool may have run.
    Unavailable = "unavailable",
    /// A fault of ours; the message holds an id to look up in the log and nothing else.
    Internal = "internal",
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// An error whose user text and internal cause are different fields.
///
/// `Display` shows the user's half only: code-free, one sentence, safe for any client. The cause is
/// for the log and is never sent anywhere.
#[derive(Clone)]
pub struct Error(Box<Parts>);

#[derive(Clone)]
struct Parts {
    code: ErrorCode,
    message: String,
    field: Option<String>,
    limit: Option<String>,
    fix: Option<String>,
    retry_after: Option<Duration>,
    may_have_run: bool,
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
    /// Where a fault of ours was noticed.
    origin: Option<&'static Location<'static>>,
}

impl Error {
    /// An error with a sentence for the caller.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            code,
            message: message.into(),
            field: None,
            limit: None,
            fix: None,
            retry_after: None,
            may_have_run: false,
            cause: None,
            origin: None,
        }))
    }

    /// `invalid_argument` about one field, given as a JSON pointer or a plain name.
    #[must_use]
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidArgument, message).with_field(field)
    }

    /// `not_found` with a sentence that names what was looked for.
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// `unavailable`: `backend` names what cannot be reached.
    #[must_use]
    pub fn unavailable(backend: &str) -> Self {
        Self::new(
            ErrorCode::Unavailable,
            format!("the {backend} cannot be reached now; nothing was done"),
        )
        .with_fix("try again in a few seconds")
    }

    /// `internal`: the cause goes to the log under the request's id, the caller learns nothing of it.
    #[must_use]
    #[track_caller]
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let mut error = Self::new(
            ErrorCode::Internal,
            "internal error; look the request id up in the log",
        )
        .with_cause(cause);
        error.0.origin = Some(Location::caller());
        error
    }

    /// Names the field at fault: a JSON pointer into the arguments or a plain name.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// States the limit that was broken, for example `1-120 characters`.
    #[must_use]
    pub fn with_limit(mut self, limit: impl Into<String>) -> Self {
        self.0.limit = Some(limit.into());
        self
    }

    /// Says what the caller can do about it.
    #[must_use]
    pub fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.0.fix = Some(fix.into());
        self
    }

    /// Says after what time a retry can succeed.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Marks that the tool may have run, so that a blind retry may run it twice.
    #[must_use]
    pub fn with_may_have_run(mut self, may: bool) -> Self {
        self.0.may_have_run = may;
        self
    }

    /// Attaches the internal cause, for the log only.
    #[must_use]
    pub fn with_cause(
        mut self,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.0.cause = Some(Arc::from(cause.into()));
        self
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The sentence for the caller.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The field at fault, if one is.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// The limit that was broken, if one was.
    #[must_use]
    pub fn limit(&self) -> Option<&str> {
        self.0.limit.as_deref()
    }

    /// What the caller can do.
    #[must_use]
    pub fn fix(&self) -> Option<&str> {
        self.0.fix.as_deref()
    }

    /// After what time a retry can succeed.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the tool may have run before the failure.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        self.0.may_have_run
    }

    /// Takes the cause out, for whoever has written it to the log: nobody after them does.
    #[must_use]
    pub fn logged(mut self) -> Self {
        self.0.cause = None;
        self
    }

    /// Where in the source an internal error was noticed, for the log and for reports.
    #[must_use]
    pub fn origin(&self) -> Option<&'static Location<'static>> {
        self.0.origin
    }

    /// The internal cause, for the log only.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.0.cause.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts {
            message,
            field,
            limit,
            fix,
            ..
        } = &*self.0;
        match field {
            Some(field) => write!(out, "{field}: {message}")?,
            None => out.write_str(message)?,
        }
        if let Some(limit) = limit {
            write!(out, " (allowed: {limit})")?;
        }
        if let Some(fix) = fix {
            // Some sentences of the Node server, which clients may look for, end with a full stop.
            let joint = if message.ends_with('.') { " " } else { "; " };
            write!(out, "{joint}{fix}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut dump = out.debug_struct("Error");
        dump.field("code", &self.0.code)
            .field("text", &self.to_string());
        if let Some(cause) = &self.0.cause {
            dump.field("cause", cause);
        }
        dump.finish()
    }
}

impl std::error::Error for Error {}
