//! A load generator that costs little itself: pre-built HTTP/1.1 requests over kept connections, one
//! thread, answers read only as far as their length.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// What a run of requests showed.
pub(crate) struct Figures {
    latencies: Vec<Duration>,
    took: Duration,
}

impl Figures {
    /// Of latencies, shortest first, that took so long together.
    pub(crate) fn new(latencies: Vec<Duration>, took: Duration) -> Self {
        Self { latencies, took }
    }

    /// The latency below which this share (0-1) of the requests stayed, in milliseconds.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let at = ((self.latencies.len() - 1) as f64 * share).round() as usize;
        self.latencies[at].as_secs_f64() * 1e3
    }

    /// Requests a second.
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }
}

/// A POST as it goes over the wire.
pub(crate) fn post(path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let more: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\n{more}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// One kept connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address)
            .await
            .expect("the server listens");
        stream.set_nodelay(true).expect("nodelay");
        Self {
            stream,
            buffer: Vec::with_capacity(64 * 1024),
        }
    }

    /// Sends one request and returns the body of its answer; the status has to be 200.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> &[u8] {
        let (status, body) = self.attempt(request).await;
        assert!(status == 200, "{status}: {}", String::from_utf8_lossy(body));
        body
    }

    /// Sends one request and returns status and body of its answer.
    pub(crate) async fn attempt(&mut self, request: &[u8]) -> (u16, &[u8]) {
        self.stream
            .write_all(request)
            .await
            .expect("the request is taken");
        self.buffer.clear();
        loop {
            if let Some((start, end)) = complete(&self.buffer) {
                return (status(&self.buffer), &self.buffer[start..end]);
            }
            let read = self
                .stream
                .read_buf(&mut self.buffer)
                .await
                .expect("an answer");
            assert!(
                read > 0,
                "closed early: {}",
                String::from_utf8_lossy(&self.buffer)
            );
        }
    }
}

/// Of `HTTP/1.1 200 OK`.
fn status(answer: &[u8]) -> u16 {
    let digits = answer
        .get(9..12)
        .and_then(|of| std::str::from_utf8(of).ok());
    digits.and_then(|of| of.parse().ok()).expect("a status")
}

/// Where the body starts and ends, once all of it is there (by length or in chunks).
fn complete(buffer: &[u8]) -> Option<(usize, usize)> {
    let head = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..head]).expect("headers are ASCII");
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    match length {
        Some(length) => (buffer.len() >= head + length).then_some((head, head + length)),
        None => buffer
            .ends_with(b"\r\n0\r\n\r\n")
            .then_some((head, buffer.len())),
    }
}

/// `connections` clients send `request` again and again, `total` times in all, after a warm-up of
/// a tenth of that. `check` looks at every hundredth answer.
pub(crate) async fn run(
    address: &str,
    request: &[u8],
    connections: usize,
    total: usize,
    check: fn(&[u8]) -> bool,
) -> Figures {
    let each = total / connections;
    let clients = (0..connections).map(|_| async move {
        let mut connection = Connection::open(address).await;
        for _ in 0..each / 10 + 1 {
            connection.exchange(request).await;
        }
        let mut latencies = Vec::with_capacity(each);
        let begun = Instant::now();
        for at in 0..each {
            let sent = Instant::now();
            let body = connection.exchange(request).await;
            latencies.push(sent.elapsed());
            assert!(
                at % 100 != 0 || check(body),
                "{}",
                String::from_utf8_lossy(body)
            );
        }
        (begun, Instant::now(), latencies)
    });
    let results = futures::future::join_all(clients).await;
    let begun = results
        .iter()
        .map(|(begun, ..)| *begun)
        .min()
        .expect("one client");
    let ended = results
        .iter()
        .map(|(_, ended, _)| *ended)
        .max()
        .expect("one client");
    let mut latencies: Vec<_> = results
        .into_iter()
        .flat_map(|(.., latencies)| latencies)
        .collect();
    latencies.sort_unstable();
    Figures {
        latencies,
        took: ended - begun,
    }
}
