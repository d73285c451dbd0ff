//! The first gRPC message of a body: read, hashed, and given on unchanged.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use domain::{Error, ErrorCode, Result};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use super::verifier::refused;

/// Compression flag and length (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX_BYTES: usize = 5;

/// A body whose beginning was read already and comes again.
#[derive(Debug)]
pub struct Replayed<B> {
    read: VecDeque<Bytes>,
    rest: B,
}

impl<B> Replayed<B> {
    /// A body of which nothing was read.
    pub(crate) fn untouched(rest: B) -> Self {
        Self {
            read: VecDeque::new(),
            rest,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Replayed<B> {
    /// Reads up to the end of the first message and returns the SHA-256 of its bytes. What was read
    /// is kept without a copy.
    pub(crate) async fn read_first_message(&mut self, max_bytes: usize) -> Result<[u8; 32]> {
        let mut prefix = [0_u8; PREFIX_BYTES];
        let mut prefix_read = 0;
        let mut left = None;
        let mut hash = Sha256::new();
        while left != Some(0) {
            let mut chunk = self.next_chunk().await?;
            self.read.push_back(chunk.clone());
            if left.is_none() {
                let taken = chunk.len().min(PREFIX_BYTES - prefix_read);
                chunk.copy_to_slice(&mut prefix[prefix_read..prefix_read + taken]);
                prefix_read += taken;
                if prefix_read == PREFIX_BYTES {
                    left = Some(message_length(prefix, max_bytes)?);
                }
            }
            if let Some(left) = &mut left {
                let taken = chunk.len().min(*left);
                hash.update(&chunk[..taken]);
                *left -= taken;
            }
        }
        Ok(hash.finalize().into())
    }

    async fn next_chunk(&mut self) -> Result<Bytes> {
        loop {
            let frame = match self.rest.frame().await {
                Some(Ok(frame)) => frame,
                Some(Err(_)) => {
                    return Err(Error::new(ErrorCode::Cancelled, "the caller went away"));
                }
                None => return Err(refused("the request holds no whole message")),
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Ok(data),
                Err(_) => return Err(refused("the request holds no whole message")),
            }
        }
    }
}

fn message_length(prefix: [u8; PREFIX_BYTES], max_bytes: usize) -> Result<usize> {
    let [compressed, a, b, c, d] = prefix;
    if compressed != 0 {
        return Err(Error::new(
            ErrorCode::InvalidArgument,
            "compressed messages are not accepted",
        ));
    }
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > max_bytes {
        return Err(
            Error::new(ErrorCode::InvalidArgument, "the message is too large")
                .with_limit(format!("at most {max_bytes} bytes")),
        );
    }
    Ok(length)
}

impl<B: Body<Data = Bytes> + Unpin> Body for Replayed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, B::Error>>> {
        match self.read.pop_front() {
            Some(chunk) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.read.is_empty() {
            self.rest.size_hint()
        } else {
            SizeHint::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::StreamBody;

    use super::*;

    fn message(payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap();
        [&[0], &length.to_be_bytes()[..], payload].concat()
    }

    fn body(
        bytes: &[u8],
        chunk: usize,
    ) -> Replayed<impl Body<Data = Bytes, Error = std::convert::Infallible> + Unpin> {
        let frames: Vec<_> = bytes
            .chunks(chunk)
            .map(|part| Ok(Frame::data(Bytes::copy_from_slice(part))))
            .collect();
        Replayed::untouched(StreamBody::new(stream::iter(frames)))
    }

    #[tokio::test]
    async fn the_first_message_is_hashed_however_it_is_cut_and_all_comes_again() {
        for payload in [&b""[..], b"x", b"hello world"] {
            let all = [message(payload), message(b"second")].concat();
            for chunk in 1..=all.len() {
                let mut body = body(&all, chunk);
                let digest = body.read_first_message(100).await.unwrap();
                assert_eq!(digest, <[u8; 32]>::from(Sha256::digest(payload)));
                assert_eq!(body.collect().await.unwrap().to_bytes(), all);
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_message_is_refused() {
        let code = async |bytes: &[u8]| {
            body(bytes, 3)
                .read_first_message(10)
                .await
                .unwrap_err()
                .code()
        };
        assert_eq!(code(b"").await, ErrorCode::Unauthenticated);
        assert_eq!(code(&[0, 0, 0]).await, ErrorCode::Unauthenticated);
        assert_eq!(
            code(&message(b"12345")[..8]).await,
            ErrorCode::Unauthenticated
        );
        assert_eq!(
            code(&message(b"12345678901")).await,
            ErrorCode::InvalidArgument
        );
        assert_eq!(
            code(&[0, 255, 255, 255, 255]).await,
            ErrorCode::InvalidArgument
        );
        assert_eq!(code(&[1, 0, 0, 0, 1, 7]).await, ErrorCode::InvalidArgument);
    }
}
