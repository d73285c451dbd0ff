//! Wrong admin tokens in the arguments of calls. Those of the header `x-mcp-admin-token` end before
//! the core, and count for their address there.

use domain::{CallContext, Error, ErrorCode};

use crate::limits::{CallLimits, Counted};

/// Most callers whose guesses are told apart.
const MAX_CALLERS: usize = 8_192;

/// Who has guessed how often.
#[derive(Debug)]
pub(crate) struct AdminGuesses(Option<Counted>);

impl AdminGuesses {
    pub(crate) fn new(limits: &CallLimits) -> Self {
        let rate = limits.admin_guesses;
        Self(rate.map(|rate| Counted::new(rate, MAX_CALLERS)))
    }

    /// Lets a token of this caller be looked at, unless there were too many wrong ones.
    ///
    /// # Errors
    /// `rate_limited`.
    pub(crate) fn check(&self, context: &CallContext) -> Result<(), Error> {
        let Some(guesses) = &self.0 else {
            return Ok(());
        };
        guesses.check(who(context)).map_err(|wait| {
            let message = "Too many wrong admin tokens.";
            Error::new(ErrorCode::RateLimited, message)
                .with_retry_after(wait)
                .with_fix("try again later, with the right token or without one")
        })
    }

    /// A wrong token.
    pub(crate) fn wrong(&self, context: &CallContext) {
        if let Some(guesses) = &self.0
            && !guesses.count(who(context))
        {
            tracing::warn!("more callers guess the admin token than can be told apart");
        }
    }
}

/// A caller at an address: where nobody is asked who it is, addresses are all that tells them apart.
fn who(context: &CallContext) -> (&str, &str, Option<std::net::IpAddr>) {
    let principal = &context.principal;
    (
        principal.tenant.as_str(),
        &principal.subject,
        context.source,
    )
}
