//! Telling the agent's frames from the tool's own output, on a stream that both write to.
//!
//! ```text
//! 16 nonce | u32 length of the payload (little endian) | u8 kind | payload
//! ```
//!
//! Whatever does not begin with the call's nonce is text that the tool printed.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt};

use super::daemon::Printed;
use crate::output::broken;
use crate::wire::{FromChild, Nonce};

/// Bytes of a frame before its payload.
const HEAD: usize = 21;

/// What comes out of a container.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// The agent said this.
    Frame(FromChild, Bytes),
    /// The tool wrote this, cut anywhere.
    Text(Printed, Bytes),
}

/// What comes out of one container. Holds no more than one frame of the announced size.
#[derive(Debug)]
pub(super) struct Frames<S> {
    stream: S,
    /// What came on stdout and is not told apart yet.
    buffer: BytesMut,
    ended: bool,
}

impl<S> Frames<S>
where
    S: Stream<Item = io::Result<(Printed, Bytes)>> + Unpin,
{
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            ended: false,
        }
    }

    /// The next piece, or `None` at the end of the stream. Giving up the future loses nothing.
    ///
    /// # Errors
    /// `InvalidData` for a frame that is too large or of an unknown kind: the agent is not to be
    /// believed any more. What the stream fails with.
    pub(super) async fn next(
        &mut self,
        nonce: &Nonce,
        max_payload: usize,
    ) -> io::Result<Option<Piece>> {
        loop {
            if let Some(piece) = self.take(nonce, max_payload)? {
                return Ok(Some(piece));
            }
            if self.ended {
                return Ok(self.rest(nonce));
            }
            match self.stream.next().await {
                Some(Ok((Printed::Out, bytes))) => self.add(bytes),
                Some(Ok((Printed::Err, bytes))) => {
                    return Ok(Some(Piece::Text(Printed::Err, bytes)));
                }
                Some(Err(error)) => return Err(error),
                None => self.ended = true,
            }
        }
    }

    fn add(&mut self, bytes: Bytes) {
        // Most pieces are whole frames: then nothing is copied.
        if self.buffer.is_empty() {
            self.buffer = BytesMut::from(bytes);
        } else {
            self.buffer.extend_from_slice(&bytes);
        }
    }

    fn take(&mut self, nonce: &Nonce, max: usize) -> io::Result<Option<Piece>> {
        if !self.buffer.starts_with(nonce) {
            return Ok(self.text_before(nonce));
        }
        let Some(head) = self.buffer.first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let [.., l0, l1, l2, l3, kind] = *head;
        let length =
            usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).map_err(io::Error::other)?;
        if length > max {
            return Err(broken("a frame is larger than the call's bound"));
        }
        let kind = FromChild::from_byte(kind).ok_or_else(|| broken("an unknown frame"))?;
        if self.buffer.len() < HEAD + length {
            // No more than the frame that was announced, whose length was just checked.
            self.buffer.reserve(HEAD + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        let payload = self.buffer.split_to(length).freeze();
        Ok(Some(Piece::Frame(kind, payload)))
    }

    /// Everything up to what is or may become a nonce. Each byte is looked at a bounded number of
    /// times, however the stream is cut.
    fn text_before(&mut self, nonce: &Nonce) -> Option<Piece> {
        let first = nonce[0];
        let found = self
            .buffer
            .windows(nonce.len())
            .position(|window| window[0] == first && window == nonce);
        let text = found.unwrap_or_else(|| {
            let length = self.buffer.len();
            let tail = length.min(nonce.len() - 1);
            let begun = (1..=tail).rev();
            let begun = begun
                .into_iter()
                .find(|&it| self.buffer.ends_with(&nonce[..it]));
            length - begun.unwrap_or(0)
        });
        (text > 0).then(|| Piece::Text(Printed::Out, self.buffer.split_to(text).freeze()))
    }

    /// What is left once nothing more comes: half a frame is no text.
    fn rest(&mut self, nonce: &Nonce) -> Option<Piece> {
        let rest = std::mem::take(&mut self.buffer).freeze();
        let is_text = !rest.is_empty() && !rest.starts_with(nonce);
        is_text.then_some(Piece::Text(Printed::Out, rest))
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    const NONCE: Nonce = *b"nnnnnnnnnnnnnnnX";

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        [&NONCE[..], &length, &[kind], payload].concat()
    }

    async fn all(input: &[u8], cut: usize) -> io::Result<Vec<Piece>> {
        let chunks = input.chunks(cut).map(|chunk| {
            let bytes = Bytes::copy_from_slice(chunk);
            Ok((Printed::Out, bytes))
        });
        let mut pieces = Frames::new(stream::iter(chunks));
        let mut all: Vec<Piece> = Vec::new();
        while let Some(piece) = pieces.next(&NONCE, 100).await? {
            match (all.last_mut(), piece) {
                (Some(Piece::Text(_, old)), Piece::Text(_, new)) => {
                    *old = [&old[..], &new[..]].concat().into();
                }
                (_, piece) => all.push(piece),
            }
        }
        Ok(all)
    }

    fn text(bytes: &[u8]) -> Piece {
        Piece::Text(Printed::Out, Bytes::copy_from_slice(bytes))
    }

    #[tokio::test]
    async fn frames_and_text_come_apart_however_the_stream_is_cut() {
        let input = [
            b"before nnnn\xff".to_vec(),
            frame(5, b"\x01printed"),
            b"nnnnnnnnnnnnnnnnnnnnnnnnn".to_vec(),
            frame(6, b"{}"),
            frame(8, b""),
            b"after nnnnnnnnnnnnnnn".to_vec(),
        ]
        .concat();
        let wanted = [
            text(b"before nnnn\xff"),
            Piece::Frame(FromChild::Print, Bytes::from_static(b"\x01printed")),
            text(b"nnnnnnnnnnnnnnnnnnnnnnnnn"),
            Piece::Frame(FromChild::Value, Bytes::from_static(b"{}")),
            Piece::Frame(FromChild::Spent, Bytes::new()),
            text(b"after nnnnnnnnnnnnnnn"),
        ];
        for cut in 1..=input.len() {
            assert_eq!(all(&input, cut).await.unwrap(), wanted, "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn large_unknown_and_unfinished_frames_are_none() {
        for bad in [frame(6, &[b'x'; 101]), frame(0, b""), frame(99, b"")] {
            let error = all(&bad, 7).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        let huge = [&NONCE[..], &[255, 255, 255, 255, 6]].concat();
        assert!(all(&huge, 64).await.is_err());
        let half = &frame(6, b"{\"a\":1}")[..25];
        assert_eq!(all(half, 64).await.unwrap(), []);
        assert_eq!(all(&frame(6, &[b'x'; 100]), 9).await.unwrap().len(), 1);
    }

    /// 9: no memory for what nobody announced, and no byte looked at again and again.
    #[tokio::test]
    async fn fault_09_a_gigabyte_without_an_end_is_never_held() {
        let chunk = Bytes::from(vec![b'n'; 1 << 16]);
        let chunks = stream::repeat(chunk)
            .take(1 << 10)
            .map(|it| Ok((Printed::Out, it)));
        let mut pieces = Frames::new(Box::pin(chunks));
        let mut bytes = 0;
        while let Some(piece) = pieces.next(&NONCE, 100).await.unwrap() {
            let Piece::Text(_, text) = piece else {
                panic!("{piece:?}")
            };
            bytes += text.len();
            assert!(pieces.buffer.len() < NONCE.len());
        }
        assert_eq!(bytes, 1 << 26);
    }
}
