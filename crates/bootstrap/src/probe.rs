//! `health`: asks the running program for its readiness, for containers without a shell.

mod pinned;

use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::address::{ListenAddress, authority};
use crate::connection::Connection;

/// Longest wait for the answer.
const DEADLINE: Duration = Duration::from_secs(3);
/// Largest answer that is read.
const MAX_ANSWER: usize = 64 * 1024;

/// The text of `/readyz`, and whether it was 200. `certificate`: the one that it is served with, where
/// that is over TLS. The error says why there was no answer.
pub(crate) async fn ask(
    address: &ListenAddress,
    certificate: Option<&Path>,
) -> Result<(bool, String), String> {
    match timeout(DEADLINE, get_readyz(address, certificate)).await {
        Ok(answer) => answer.map_err(|why| format!("no answer from {address}: {why}")),
        Err(_) => Err(format!(
            "no answer from {address} within {} s",
            DEADLINE.as_secs()
        )),
    }
}

async fn get_readyz(
    address: &ListenAddress,
    certificate: Option<&Path>,
) -> Result<(bool, String), Box<dyn std::error::Error + Send + Sync>> {
    let (stream, host) = match address {
        ListenAddress::Unix(path) => (
            Connection::Unix(UnixStream::connect(path).await?),
            String::from("localhost"),
        ),
        ListenAddress::Tcp { host, port } => {
            // What listens on every address is asked on loopback.
            let host = match host.as_str() {
                "0.0.0.0" => "127.0.0.1",
                "::" => "::1",
                other => other,
            };
            let target = authority(host, *port);
            (Connection::Tcp(TcpStream::connect(&target).await?), target)
        }
    };
    match certificate {
        Some(certificate) => exchange(pinned::connect(stream, certificate).await?, host).await,
        None => exchange(stream, host).await,
    }
}

async fn exchange<S>(
    stream: S,
    host: String,
) -> Result<(bool, String), Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/readyz")
        .header("host", host)
        .body(Body::empty())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let ready = response.status() == StatusCode::OK;
        let body = axum::body::to_bytes(Body::new(response.into_body()), MAX_ANSWER).await?;
        Ok((ready, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::pin!(exchange);
    // The connection must be polled for the exchange to move.
    tokio::select! {
        answer = &mut exchange => answer,
        ended = connection => {
            ended?;
            exchange.await
        }
    }
}
