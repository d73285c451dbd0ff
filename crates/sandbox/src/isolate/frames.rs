//! Reading the child's frames: bounded, and safe to give up in the middle.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::wire::{FRAME_HEAD, FromChild, NO_CALL, Nonce};

/// What is read at once, in bytes.
const CHUNK: usize = 16_384;

/// The frames that come from a child.
#[derive(Debug)]
pub(super) struct Frames<R> {
    input: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            buffer: BytesMut::new(),
        }
    }

    /// The next frame, or `None` at the end of the stream. Giving up the future loses nothing.
    ///
    /// # Errors
    /// `InvalidData` for a frame that is too large, has another nonce or an unknown kind; what the
    /// stream fails with. The child is not to be believed after either.
    pub(super) async fn next(
        &mut self,
        nonce: &Nonce,
        max_payload: usize,
    ) -> io::Result<Option<(FromChild, Bytes)>> {
        loop {
            if let Some(frame) = self.take(nonce, max_payload)? {
                return Ok(Some(frame));
            }
            self.buffer.reserve(CHUNK);
            if self.input.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn take(&mut self, nonce: &Nonce, max: usize) -> io::Result<Option<(FromChild, Bytes)>> {
        let bad = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
        let Some(length) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(io::Error::other)?;
        if length < FRAME_HEAD || length - FRAME_HEAD > max {
            return Err(bad("a frame is larger than the call's bound"));
        }
        if self.buffer.len() < 4 + length {
            // No more than the frame that was announced, whose length was just checked.
            self.buffer.reserve(4 + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(4);
        let mut frame = self.buffer.split_to(length).freeze();
        let kind = FromChild::from_byte(frame.get_u8()).ok_or_else(|| bad("an unknown frame"))?;
        let theirs = frame.split_to(NO_CALL.len());
        if theirs[..] != nonce[..] {
            return Err(bad("a frame does not belong to the call"));
        }
        Ok(Some((kind, frame)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::head_from_child;

    const NONCE: Nonce = [7; 16];

    fn frame(kind: FromChild, nonce: &Nonce, payload: &[u8]) -> Vec<u8> {
        [
            &head_from_child(kind, nonce, payload.len()).unwrap()[..],
            payload,
        ]
        .concat()
    }

    #[tokio::test]
    async fn frames_come_out_whole_however_they_went_in() {
        let bytes = [
            frame(FromChild::Print, &NONCE, b"\x01one"),
            frame(FromChild::Value, &NONCE, b""),
        ]
        .concat();
        for cut in 0..bytes.len() {
            let input = AsyncReadExt::chain(&bytes[..cut], &bytes[cut..]);
            let mut frames = Frames::new(input);
            let (kind, payload) = frames.next(&NONCE, 100).await.unwrap().unwrap();
            assert_eq!((kind, &payload[..]), (FromChild::Print, &b"\x01one"[..]));
            let (kind, payload) = frames.next(&NONCE, 100).await.unwrap().unwrap();
            assert_eq!((kind, payload.len()), (FromChild::Value, 0));
            assert!(frames.next(&NONCE, 100).await.unwrap().is_none());
        }
    }

    /// Faults 9 and 69: no memory for a frame that is too large, no belief in one of another call.
    #[tokio::test]
    async fn fault_09_69_what_is_too_large_forged_or_unknown_is_refused() {
        let huge = frame(FromChild::Value, &NONCE, &[b'1'; 101]);
        let forged = frame(FromChild::Value, &[8; 16], b"1");
        let mut unknown = frame(FromChild::Value, &NONCE, b"1");
        unknown[4] = 99;
        let short = [3_u8, 0, 0, 0, 6, 0, 0].to_vec();
        let endless = [&u32::MAX.to_le_bytes()[..], &[6; 40]].concat();
        for bytes in [huge, forged, unknown, short, endless] {
            let mut frames = Frames::new(&bytes[..]);
            let error = frames.next(&NONCE, 100).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(frames.buffer.capacity() <= 2 * CHUNK);
        }
    }
}
