//! MCP over stdin and stdout, or any other pair of pipes: one client, both eras, one caller.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use domain::principal::Principal;
use rmcp::service::{QuitReason, ServerInitializeError, ServiceExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

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
/// When the first message is no opening of MCP, or the pipes fail in another way than by the client's end.
pub async fn serve_stdio(
    operations: Arc<dyn Operations>,
    settings: StdioSettings,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let (input, output) = rmcp::transport::stdio_pipes();
    serve_pipes(input, output, operations, settings, shutdown).await
}

/// Serves a pair of pipes. When the client closes its end, the calls in flight get a few seconds to
/// answer and are cancelled then.
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
    // Ends what still runs, whichever way this function is left.
    let closing = CancellationToken::new();
    let _closing = closing.clone().drop_guard();
    let wire = Wire::Stdio {
        principal: settings.principal,
        timeout: settings.request_timeout,
    };
    let handler = Handler::new(operations, wire, closing.clone());
    let input = UntilIdle {
        input,
        shutdown: Box::pin(shutdown.cancelled_owned()),
        calls: handler.calls(),
        closing,
        end: None,
    };
    let service = match handler.serve((input, output)).await {
        Ok(service) => service,
        Err(error) => return not_opened(error),
    };
    match service.waiting().await {
        Ok(QuitReason::JoinError(error)) | Err(error) => Err(io::Error::other(error)),
        Ok(reason) => {
            tracing::debug!(?reason, "the client is gone");
            Ok(())
        }
    }
}

/// What comes of a client that has opened nothing.
fn not_opened(error: ServerInitializeError) -> io::Result<()> {
    match error {
        // One that leaves before it has said anything, or before it was answered, wants nothing.
        ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled => Ok(()),
        ServerInitializeError::TransportError { error, .. }
            if error
                .error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) =>
        {
            Ok(())
        }
        // Without the message: anything may stand in it.
        ServerInitializeError::ExpectedInitializeRequest(_) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the client's first message opens no session of MCP",
        )),
        other => Err(io::Error::other(other.to_string())),
    }
}

/// How long calls may go on after the client has closed its end or the process was told to stop.
const LAST_CALLS: Duration = Duration::from_secs(5);

/// Time for requests that were just read to become calls.
const JUST_READ: Duration = Duration::from_millis(20);

/// An input that ends with the client's end or a shutdown, but not before the calls have ended: rmcp sends no notifications after it, and
/// a call that wants to send one would wait for ever.
struct UntilIdle<R> {
    input: R,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    calls: TaskTracker,
    closing: CancellationToken,
    end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<R: AsyncRead + Unpin> AsyncRead for UntilIdle<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end.is_none() {
            if self.shutdown.as_mut().poll(context).is_pending() {
                let before = buffer.filled().len();
                ready!(Pin::new(&mut self.input).poll_read(context, buffer))?;
                if buffer.filled().len() > before {
                    return Poll::Ready(Ok(()));
                }
            }
            self.end = Some(Box::pin(last_calls(
                self.calls.clone(),
                self.closing.clone(),
            )));
        }
        match &mut self.end {
            Some(end) => end.as_mut().poll(context).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}

async fn last_calls(calls: TaskTracker, closing: CancellationToken) {
    sleep(JUST_READ).await;
    calls.close();
    if timeout(LAST_CALLS, calls.wait()).await.is_err() {
        tracing::info!(
            calls = calls.len(),
            "the client is gone: its calls are cancelled"
        );
    }
    closing.cancel();
}
