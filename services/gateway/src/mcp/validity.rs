//! How long a caller's credential is good: what is endless must not outlive it.

use domain::ErrorCode;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::operations::ProtocolError;

/// When a credential stops being good: at its end, or earlier when it is taken back. The default is
/// good for ever.
#[derive(Debug, Clone, Default)]
pub(crate) struct Validity {
    ends: Option<Instant>,
    revoked: Option<CancellationToken>,
}

impl Validity {
    /// Good until then.
    pub(crate) fn until(ends: Option<Instant>) -> Self {
        Self {
            ends,
            revoked: None,
        }
    }

    /// Good until this is cancelled, and no longer than it was.
    #[must_use]
    pub(crate) fn revocable(self, revoked: CancellationToken) -> Self {
        Self {
            revoked: Some(revoked),
            ..self
        }
    }

    /// Completes when the credential is no longer good.
    pub(crate) async fn over(&self) {
        let ended = async {
            match self.ends {
                Some(ends) => sleep_until(ends).await,
                None => std::future::pending().await,
            }
        };
        let revoked = async {
            match &self.revoked {
                Some(revoked) => revoked.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = ended => {}
            () = revoked => {}
        }
    }
}

/// The last word on a stream that outlived its credential.
pub(crate) fn ended() -> ProtocolError {
    ProtocolError {
        code: 401,
        message: "the credential of this request is no longer good; the tool may have run"
            .to_owned(),
        data: Some(serde_json::json!({ "code": ErrorCode::Unauthenticated })),
    }
}
