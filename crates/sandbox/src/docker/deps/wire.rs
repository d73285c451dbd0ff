//! The frames between us and the installer: a type, a channel, a length, the bytes.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Length of what comes before the bytes.
const HEAD: usize = 9;
/// Largest frame of the installer: its last one holds a lockfile as npm writes it.
const MAX: usize = 16 << 20;

/// The task, and its end. Channel 0.
pub(super) const TASK: u8 = b'T';
pub(super) const FINISHED: u8 = b'F';
/// Hosts that the index keeps its files on, and that they were heard. Channel 0.
pub(super) const HOSTS: u8 = b'H';
pub(super) const GO: u8 = b'G';
/// A connection is asked for, and made; refused, with the reason.
pub(super) const OPEN: u8 = b'O';
pub(super) const REFUSED: u8 = b'X';
/// Bytes of a connection; no more of them; the end of it.
pub(super) const DATA: u8 = b'D';
pub(super) const END: u8 = b'E';
pub(super) const RESET: u8 = b'R';
/// So many bytes of a connection were taken, and as many more may come.
pub(super) const CREDIT: u8 = b'W';

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) channel: u32,
    pub(super) body: Bytes,
}

impl Frame {
    pub(super) fn new(kind: u8, channel: u32, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self {
            kind,
            channel,
            body,
        }
    }

    /// As it is sent.
    pub(super) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEAD + self.body.len());
        bytes.put_u8(self.kind);
        bytes.put_u32(self.channel);
        bytes.put_u32(u32::try_from(self.body.len()).unwrap_or(u32::MAX));
        bytes.put_slice(&self.body);
        bytes.freeze()
    }
}

/// Puts frames together from pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Reader(BytesMut);

impl Reader {
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// What comes is no frame, or too large: nothing more can be read.
    pub(super) fn next(&mut self) -> io::Result<Option<Frame>> {
        if self.0.len() < HEAD {
            return Ok(None);
        }
        let mut head = &self.0[..HEAD];
        let (kind, channel, length) = (head.get_u8(), head.get_u32(), head.get_u32() as usize);
        if length > MAX {
            return Err(io::Error::other("a frame of the installer is too large"));
        }
        if self.0.len() < HEAD + length {
            return Ok(None);
        }
        self.0.advance(HEAD);
        let body = self.0.split_to(length).freeze();
        Ok(Some(Frame {
            kind,
            channel,
            body,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_the_same_however_they_are_cut() {
        let frames = [
            Frame::new(TASK, 0, "{}"),
            Frame::new(DATA, 7, vec![1; 300]),
            Frame::new(END, u32::MAX, ""),
        ];
        let wire: Vec<u8> = frames.iter().flat_map(|frame| frame.encode()).collect();
        for cut in [1, 2, 8, 9, 10, 100, wire.len()] {
            let (mut reader, mut read) = (Reader::default(), Vec::new());
            for piece in wire.chunks(cut) {
                reader.push(piece);
                while let Some(frame) = reader.next().unwrap() {
                    read.push(frame);
                }
            }
            assert_eq!(read, frames);
        }
        let mut reader = Reader::default();
        reader.push(&[b'D', 0, 0, 0, 1, 255, 255, 255, 255]);
        assert!(reader.next().is_err());
    }
}
