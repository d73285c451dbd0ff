//! MCP over stdin and stdout, or any other pair of pipes: one client, both eras, one caller.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use domain::principal::Principal;
use rmcp::service::{QuitReason, ServerInitializeError, ServiceExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::mcp::{Handler, Operations, Wire};

/// Settings of a connection over pipes.
#[derive(Debug, Clone)]
pub struct StdioSettings {
    /// Who calls: the person who started the process.
    pub principal: Arc<Principal>,
    /// The absolute end of every request but a subscription.
    pub request_timeout: Duration,
}

/// Serves this process' own stdin and stdout until the client closes them or `shutdown`. Nothing
/// else may write to stdout.
///
/// # Errors
/// When the first message is no opening of MCP, or the pipes break before one has come.
pub async fn serve_stdio(
    operations: Arc<dyn Operations>,
    settings: StdioSettings,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let (input, output) = rmcp::transport::stdio_pipes();
    serve_pipes(input, output, operations, settings, shutdown).await
}

/// Serves a pair of pipes. When the client closes its end, the calls in flight are cancelled.
///
/// # Errors
/// As for [`serve_stdio`].
pub async fn serve_pipes(
    input: impl AsyncRead + Send + Unpin + 'static,
    output: impl AsyncWrite + Send + Unpin + 'static,
    operations: Arc<dyn Operations>,
    settings: StdioSettings,
    shutdown: CancellationToken,
) -> io::Result<()> {
    // Ends the tasks that tell the client of changes, whichever way this function is left.
    let closing = shutdown.child_token();
    let _closing = closing.clone().drop_guard();
    let wire = Wire::Stdio {
        principal: settings.principal,
        timeout: settings.request_timeout,
    };
    let handler = Handler::new(operations, wire, closing.clone());
    let service = match handler.serve_with_ct((input, output), closing).await {
        Ok(service) => service,
        // A client that leaves before it has said anything wanted nothing.
        Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => {
            return Ok(());
        }
        Err(error) => return Err(io::Error::other(error.to_string())),
    };
    match service.waiting().await {
        Ok(QuitReason::JoinError(error)) | Err(error) => Err(io::Error::other(error)),
        Ok(reason) => {
            tracing::debug!(?reason, "the client is gone");
            Ok(())
        }
    }
}
