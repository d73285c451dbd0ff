//! A plain HTTP/1.1 exchange, for tests that have to see every byte of the answer.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for a whole answer.
const LIMIT: Duration = Duration::from_secs(150);

/// An answer as it came.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers by lower-case name; the last of several wins.
    pub headers: BTreeMap<String, String>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The JSON messages of the body: one, or those of an event stream.
    ///
    /// # Panics
    /// When the body is neither.
    #[must_use]
    pub fn messages(&self) -> Vec<Value> {
        let kind = self.headers.get("content-type").map_or("", String::as_str);
        if !kind.starts_with("text/event-stream") {
            return vec![self.json()];
        }
        let text = self.text();
        let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
        data.map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }
}

/// Sends one request on a connection of its own and reads the whole answer.
///
/// # Panics
/// When the server cannot be reached, closes early or takes longer than 60 seconds.
pub async fn exchange(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    raw(address, &request(address, method, path, headers, body)).await
}

/// As [`exchange`], of a server that may end at any moment.
///
/// # Errors
/// When there is no whole answer.
pub async fn attempt(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let work = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = request(address, method, path, headers, body);
        stream.write_all(&request).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        io::Result::Ok(bytes)
    };
    let bytes = tokio::time::timeout(LIMIT, work)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let answer = parse(&bytes);
    let whole = match answer.headers.get("content-length") {
        Some(length) => length.parse() == Ok(answer.body.len()),
        None => bytes.len() > end + 4 && bytes.ends_with(b"0\r\n\r\n"),
    };
    if whole {
        Ok(answer)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        head.push_str(&format!("host: {address}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let has_length = headers.iter().any(|(name, _)| {
        name.eq_ignore_ascii_case("content-length")
            || name.eq_ignore_ascii_case("transfer-encoding")
    });
    if !has_length {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("connection: close\r\n\r\n");
    let mut request = head.into_bytes();
    request.extend_from_slice(body);
    request
}

/// Sends bytes as they are and reads the answer until the server closes.
///
/// # Panics
/// As [`exchange`].
pub async fn raw(address: &str, request: &[u8]) -> Answer {
    let work = async {
        let mut stream = TcpStream::connect(address)
            .await
            .unwrap_or_else(|e| panic!("{address}: {e}"));
        // A server that refuses early may close while we still send: its answer counts.
        if let Err(error) = stream.write_all(request).await {
            assert!(
                error.kind() == std::io::ErrorKind::BrokenPipe
                    || error.kind() == std::io::ErrorKind::ConnectionReset,
                "{error}"
            );
        }
        let mut bytes = Vec::new();
        if let Err(error) = stream.read_to_end(&mut bytes).await {
            assert!(!bytes.is_empty(), "no answer: {error}");
        }
        parse(&bytes)
    };
    tokio::time::timeout(LIMIT, work)
        .await
        .unwrap_or_else(|_| panic!("no whole answer within {LIMIT:?}"))
}

fn parse(bytes: &[u8]) -> Answer {
    let split = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let split = split.unwrap_or_else(|| panic!("no headers: {}", String::from_utf8_lossy(bytes)));
    let head = String::from_utf8_lossy(&bytes[..split]).into_owned();
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let rest = &bytes[split + 4..];
    let chunked = headers
        .get("transfer-encoding")
        .is_some_and(|how| how.contains("chunked"));
    Answer {
        status: status.unwrap_or_else(|| panic!("no status: {head}")),
        body: if chunked {
            unchunk(rest)
        } else {
            rest.to_vec()
        },
        headers,
    }
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|text| {
            usize::from_str_radix(text.split(';').next().unwrap_or_default().trim(), 16).ok()
        });
        let Some(size) = size.filter(|size| *size > 0) else {
            break;
        };
        let chunk = &rest[end + 2..];
        body.extend_from_slice(&chunk[..size.min(chunk.len())]);
        rest = chunk.get(size + 2..).unwrap_or_default();
    }
    body
}
