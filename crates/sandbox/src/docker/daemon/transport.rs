//! One connection to the daemon for each request, so that a request's bytes can be counted and its
//! end is the end of a socket. Bollard's own transports offer neither a bound on the answer, nor the
//! version in the path, nor TLS that trusts `ca.pem` alone.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::errors::Error as BollardError;
use bytes::Bytes;
use http::header::{HOST, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::address::Address;

/// How long a connection may take to be there, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// Most bytes of one answer: the list of some ten thousand containers.
const ANSWER: u64 = 16 << 20;
/// Most bytes of the progress of one pull.
const PROGRESS: u64 = 64 << 20;

/// How requests get to the daemon.
#[derive(Debug)]
pub(super) struct Transport {
    address: Address,
    /// Major and minor version in 16 bits each; 0 until it is negotiated.
    version: AtomicU32,
    connections: TaskTracker,
}

impl Transport {
    pub(super) fn new(address: Address) -> Self {
        Self {
            address,
            version: AtomicU32::new(0),
            connections: TaskTracker::new(),
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// The API version that every request names from now on.
    pub(super) fn speak(&self, major: u16, minor: u16) {
        let both = (u32::from(major) << 16) | u32::from(minor);
        self.version.store(both, Ordering::Release);
    }

    /// The API version; 0.0 before it is negotiated.
    pub(super) fn version(&self) -> (u16, u16) {
        let both = self.version.load(Ordering::Acquire);
        ((both >> 16) as u16, (both & 0xffff) as u16)
    }

    /// Sends one request on a connection of its own. The answer's body can be read until its bound;
    /// an attached stream has none.
    pub(super) async fn send<B>(
        &self,
        request: Request<B>,
    ) -> Result<Response<Incoming>, BollardError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (mut head, body) = request.into_parts();
        let bound = match head.uri.path() {
            path if path.ends_with("/attach") => u64::MAX,
            "/images/create" => PROGRESS,
            _ => ANSWER,
        };
        head.uri = self.versioned(&head.uri)?;
        let authority = HeaderValue::from_str(&self.address.authority())
            .map_err(|error| BollardError::from(http::Error::from(error)))?;
        head.headers.insert(HOST, authority);
        head.headers
            .insert(USER_AGENT, HeaderValue::from_static("dynamic-mcp"));
        let stream = match timeout(CONNECT, self.connect()).await {
            Ok(connected) => connected.map_err(unconnected)?,
            Err(_) => return Err(unconnected(io::ErrorKind::TimedOut.into())),
        };
        let counted = Counted {
            stream,
            left: bound,
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(counted)).await?;
        self.connections.spawn(async move {
            // What goes wrong here is an error of the request or of the stream, and told there.
            if let Err(error) = connection.with_upgrades().await {
                tracing::trace!(%error, "a connection to the Docker daemon ended");
            }
        });
        Ok(sender.send_request(Request::from_parts(head, body)).await?)
    }

    fn versioned(&self, uri: &Uri) -> Result<Uri, BollardError> {
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let path = match self.version() {
            (0, 0) => path.to_owned(),
            (major, minor) => format!("/v{major}.{minor}{path}"),
        };
        path.parse().map_err(BollardError::from)
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let tcp = async |host: &str, port: u16| {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            io::Result::Ok(stream)
        };
        Ok(match &self.address {
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Address::Tcp { host, port } => Box::new(tcp(host, *port).await?),
            Address::Tls {
                host,
                port,
                name,
                connector,
            } => Box::new(
                connector
                    .connect(name.clone(), tcp(host, *port).await?)
                    .await?,
            ),
        })
    }
}

/// Marks an error as one of connecting: the daemon has not seen the request.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unconnected(io::Error);

fn unconnected(error: io::Error) -> BollardError {
    io::Error::new(error.kind(), Unconnected(error)).into()
}

/// The sentence of an error that came up while connecting.
pub(super) fn connect_error(error: &BollardError) -> Option<String> {
    let BollardError::IOError { err } = error else {
        return None;
    };
    let inner = err.get_ref()?.downcast_ref::<Unconnected>()?;
    Some(inner.to_string())
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream that fails when more comes than was agreed.
struct Counted {
    stream: Box<dyn Stream>,
    left: u64,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = (buf.filled().len() - before) as u64;
        match self.left.checked_sub(read) {
            Some(left) => self.left = left,
            None => {
                return Poll::Ready(Err(io::Error::other("the answer is longer than its bound")));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
