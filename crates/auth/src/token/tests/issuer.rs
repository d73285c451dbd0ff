//! An issuer's key endpoint that does what a test says, and counts.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;

pub(super) struct TestIssuer {
    address: std::net::SocketAddr,
    state: Arc<State>,
    _serving: JoinSet<()>,
}

struct State {
    /// The whole answer; `None`: the connection stays open and silent.
    answer: Mutex<Option<Vec<u8>>>,
    asked: AtomicUsize,
}

impl TestIssuer {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            answer: Mutex::new(None),
            asked: AtomicUsize::new(0),
        });
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, Arc::clone(&state)));
        Self {
            address,
            state,
            _serving: serving,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/jwks", self.address)
    }

    /// How often it was asked.
    pub(super) fn asked(&self) -> usize {
        self.state.asked.load(Ordering::SeqCst)
    }

    pub(super) fn publish(&self, keys: &[Value]) {
        self.answer(
            200,
            "cache-control: public",
            &json!({"keys": keys}).to_string(),
        );
    }

    pub(super) fn answer(&self, status: u16, header: &str, body: &str) {
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status} X\r\n{header}\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{body}"
        );
        *self.state.answer.lock() = Some(text.into_bytes());
    }

    pub(super) fn hang(&self) {
        *self.state.answer.lock() = None;
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(answer(stream, Arc::clone(&state)));
    }
}

async fn answer(mut stream: TcpStream, state: Arc<State>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    state.asked.fetch_add(1, Ordering::SeqCst);
    let answer = state.answer.lock().clone();
    match answer {
        Some(answer) => {
            // The client may have heard enough before the end.
            stream.write_all(&answer).await.ok();
        }
        None => std::future::pending().await,
    }
}
