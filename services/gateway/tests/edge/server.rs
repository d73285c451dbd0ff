//! An edge behind a socket, and clients that write bytes.

use std::time::Duration;

use gateway::http::{ServeSettings, serve};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::rig::Rig;

pub(crate) struct Server {
    pub(crate) rig: Rig,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

pub(crate) async fn server(settings: ServeSettings) -> Server {
    server_of(Rig::new(true), settings).await
}

pub(crate) async fn server_of(rig: Rig, settings: ServeSettings) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let metrics = std::sync::Arc::clone(&rig.metrics);
    let router = rig.router.clone();
    let serving = serve(listener, router, settings, metrics, stop.clone());
    let task = tokio::task::spawn_local(serving);
    Server {
        rig,
        address,
        stop,
        task,
    }
}

impl Server {
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// Whatever comes until the server closes, or for a while.
pub(crate) async fn read(stream: &mut TcpStream, at_most: Duration) -> String {
    let mut bytes = Vec::new();
    let _closed = timeout(at_most, stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One answer with a Content-Length, from a connection that stays open.
pub(crate) async fn answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4_096];
    loop {
        let read = timeout(Duration::from_secs(5), stream.read(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        assert!(read > 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        if body.len() >= length {
            return text;
        }
    }
}

pub(crate) fn request(extra: &str, body: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n{extra}\r\n{body}",
        body.len()
    )
}

pub(crate) fn call(tool: &str) -> String {
    let params = json!({"name": tool});
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string()
}

pub(crate) async fn local<F: Future>(work: F) -> F::Output {
    tokio::task::LocalSet::new().run_until(work).await
}
