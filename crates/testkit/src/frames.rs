//! Raw HTTP/2: every byte of every frame is the test's to choose.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

/// What a client begins with (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113, section 6).
pub mod kind {
    /// A piece of a body.
    pub const DATA: u8 = 0;
    /// The head of a request or of an answer.
    pub const HEADERS: u8 = 1;
    /// The end of a stream before its time.
    pub const RST_STREAM: u8 = 3;
    /// Settings of the connection.
    pub const SETTINGS: u8 = 4;
    /// A sign of life.
    pub const PING: u8 = 6;
    /// The end of the connection.
    pub const GOAWAY: u8 = 7;
    /// Room for more of a body.
    pub const WINDOW_UPDATE: u8 = 8;
    /// More of a head.
    pub const CONTINUATION: u8 = 9;
}

/// The last frame of a stream, or the acknowledgement of settings and pings.
pub const END_STREAM: u8 = 1;
/// The last frame of a head.
pub const END_HEADERS: u8 = 4;

/// The bytes of one frame.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A head without compression (RFC 7541, section 6.2.2): each name and value as it is.
#[must_use]
pub fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        text(&mut bytes, name);
        text(&mut bytes, value);
    }
    bytes
}

/// A field that goes into the receiver's table (RFC 7541, section 6.2.1): `0xbe` names it again.
#[must_use]
pub fn indexed(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0x40];
    text(&mut bytes, name);
    text(&mut bytes, value);
    bytes
}

/// A text with its length as a number with a prefix of 7 bits (RFC 7541, section 5.1).
fn text(bytes: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    if length < 127 {
        bytes.push(u8::try_from(length).unwrap_or(126));
    } else {
        bytes.push(127);
        length -= 127;
        while length >= 128 {
            bytes.push(u8::try_from(length % 128).unwrap_or(0) | 128);
            length /= 128;
        }
        bytes.push(u8::try_from(length).unwrap_or(0));
    }
    bytes.extend_from_slice(text.as_bytes());
}

/// How a server took a flood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It closed the connection, after a GOAWAY or without one.
    Closed,
    /// It took everything and the connection is still open.
    AllOfIt,
    /// It neither took everything nor closed within the time.
    Stuck,
}

/// Sends pieces until there are no more or the server closes, and reads what comes meanwhile.
/// `reads`: whether what comes is taken at all, and not left in the way of more.
pub async fn flood<S>(
    stream: S,
    pieces: impl Iterator<Item = Vec<u8>>,
    reads: bool,
    limit: Duration,
) -> Taken
where
    S: AsyncRead + AsyncWrite,
{
    let (mut from, mut to) = tokio::io::split(stream);
    let reading = async {
        let mut buffer = [0; 16_384];
        if !reads {
            return std::future::pending().await;
        }
        while let Ok(1..) = from.read(&mut buffer).await {}
    };
    let sending = async {
        for piece in pieces {
            if to.write_all(&piece).await.is_err() {
                return Taken::Closed;
            }
        }
        if to.flush().await.is_err() {
            return Taken::Closed;
        }
        // Whoever closes does it soon.
        tokio::time::sleep(Duration::from_secs(2)).await;
        match to.write_all(&frame(kind::PING, 0, 0, &[0; 8])).await {
            Ok(()) => Taken::AllOfIt,
            Err(_) => Taken::Closed,
        }
    };
    let all = async {
        tokio::select! {
            () = reading => Taken::Closed,
            taken = sending => taken,
        }
    };
    timeout(limit, all).await.unwrap_or(Taken::Stuck)
}

/// What a client sends first: the preface and empty settings.
#[must_use]
pub fn hello() -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(kind::SETTINGS, 0, 0, &[]));
    bytes
}
