//! The stream of a container: what it reads, and what it writes, told apart.
//!
//! Bollard's own reader waits for a whole frame, however long its header says it is; this one hands
//! out what has come, so that nothing is held that nobody bounded.

use std::fmt;
use std::io;
use std::pin::Pin;

use bytes::{Buf, Bytes, BytesMut};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWrite, ReadHalf};
use tokio_util::codec::{Decoder, FramedRead};

/// Bytes that are read at once.
const READ: usize = 16 << 10;
/// Length of the header before each piece: stream, three zeros, length (big endian).
const HEADER: usize = 8;

/// A container's streams. Its stdin closes with the connection (`StdinOnce`).
pub(crate) struct Attached {
    /// Its stdin; shutting it down is its end of file.
    pub(crate) input: Pin<Box<dyn AsyncWrite + Send>>,
    /// What it prints. Ends with the container, or with the connection: which of them, only the
    /// daemon can say.
    pub(crate) output: Output,
}

/// What a container prints, in pieces of any size.
pub(crate) type Output = FramedRead<ReadHalf<TokioIo<Upgraded>>, Pieces>;

/// Where a container printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Printed {
    /// On stdout.
    Out,
    /// On stderr.
    Err,
}

impl Attached {
    pub(super) fn new(upgraded: Upgraded) -> Self {
        let (output, input) = tokio::io::split(TokioIo::new(upgraded));
        Self {
            input: Box::pin(input),
            output: FramedRead::with_capacity(output, Pieces::default(), READ),
        }
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Attached")
    }
}

/// Takes the daemon's headers off.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// What is still to come of the piece that was begun.
    open: Option<(Printed, usize)>,
}

impl Decoder for Pieces {
    type Item = (Printed, Bytes);
    type Error = io::Error;

    fn decode(&mut self, source: &mut BytesMut) -> io::Result<Option<Self::Item>> {
        loop {
            if let Some((from, left)) = self.open {
                if source.is_empty() && left > 0 {
                    return Ok(None);
                }
                let now = source.len().min(left);
                self.open = (now < left).then_some((from, left - now));
                if now > 0 {
                    return Ok(Some((from, source.split_to(now).freeze())));
                }
                continue;
            }
            if source.len() < HEADER {
                return Ok(None);
            }
            let from = match source[..4] {
                [1, 0, 0, 0] => Printed::Out,
                [2, 0, 0, 0] => Printed::Err,
                _ => return Err(io::Error::other("not a piece of a container's output")),
            };
            source.advance(4);
            self.open = Some((from, source.get_u32() as usize));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(bytes: &[u8], cut: usize) -> io::Result<Vec<(Printed, Vec<u8>)>> {
        let (mut decoder, mut buffer) = (Pieces::default(), BytesMut::new());
        let mut all: Vec<(Printed, Vec<u8>)> = Vec::new();
        for part in bytes.chunks(cut) {
            buffer.extend_from_slice(part);
            while let Some((from, piece)) = decoder.decode(&mut buffer)? {
                match all.last_mut() {
                    Some((last, text)) if *last == from => text.extend_from_slice(&piece),
                    _ => all.push((from, piece.to_vec())),
                }
            }
        }
        Ok(all)
    }

    #[test]
    fn output_is_the_same_however_it_is_cut() {
        let mut wire = vec![1, 0, 0, 0, 0, 0, 0, 3];
        wire.extend(b"abc");
        wire.extend([2, 0, 0, 0, 0, 0, 0, 0]);
        wire.extend([2, 0, 0, 0, 0, 0, 0, 2]);
        wire.extend(b"\x01\x00");
        wire.extend([1, 0, 0, 0, 0, 0, 0, 1]);
        wire.extend(b"z");
        let expected = vec![
            (Printed::Out, b"abc".to_vec()),
            (Printed::Err, vec![1, 0]),
            (Printed::Out, b"z".to_vec()),
        ];
        for cut in 1..=wire.len() {
            assert_eq!(pieces(&wire, cut).unwrap(), expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_piece_of_four_gigabytes_is_handed_out_as_it_comes() {
        let mut decoder = Pieces::default();
        let mut buffer = BytesMut::from(&[1u8, 0, 0, 0, 255, 255, 255, 255, b'a', b'b'][..]);
        let (from, piece) = decoder.decode(&mut buffer).unwrap().unwrap();
        assert_eq!((from, &piece[..]), (Printed::Out, &b"ab"[..]));
        assert!(decoder.decode(&mut buffer).unwrap().is_none());
    }

    #[test]
    fn what_is_no_piece_is_an_error() {
        assert!(pieces(b"HTTP/1.1 500", 64).is_err());
        assert!(pieces(&[0, 0, 0, 0, 0, 0, 0, 1, b'x'], 64).is_err());
    }
}
