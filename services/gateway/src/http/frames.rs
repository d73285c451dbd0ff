//! Counts the frames of an HTTP/2 connection that ask for nothing. h2 answers pings and settings for
//! as long as they come; a client that sends nothing else costs a core and gets nothing done.

use std::time::Duration;

use tokio::time::Instant;

/// What an HTTP/2 client begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD_BYTES: usize = 9;
const EMPTY_DATA: u8 = 0;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;

/// Most frames within [`WINDOW`] that carry neither a request nor room for an answer: pings,
/// settings, resets, priorities, continuations, empty data. A proxy that brings the clients of a
/// whole site over one connection stays far below.
pub(super) const MOST: u32 = 5_000;
/// The time in which they are counted.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// Follows the bytes that a client sends.
#[derive(Debug)]
pub(super) struct Frames {
    at: At,
    idle: u32,
    since: Option<Instant>,
}

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Frames, or what may become some.
    Frames,
    /// Another protocol.
    NotFrames,
    /// Too many frames that ask for nothing.
    Flood,
}

/// Where in the stream of frames the next byte is.
#[derive(Debug)]
enum At {
    /// So many bytes of the preface have come.
    Preface(usize),
    /// So many bytes of a frame's head have come.
    Head(usize, [u8; HEAD_BYTES]),
    /// So many bytes of a frame's payload have still to come.
    Payload(usize),
    /// It is not HTTP/2.
    Other,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self {
            at: At::Preface(0),
            idle: 0,
            since: None,
        }
    }

    /// Looks at what has come.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> Seen {
        while let Some(&byte) = bytes.first() {
            match &mut self.at {
                At::Other => return Seen::NotFrames,
                At::Preface(matched) => {
                    let fits = PREFACE.get(*matched) == Some(&byte);
                    *matched += 1;
                    self.at = match (fits, *matched) {
                        (false, _) => At::Other,
                        (true, all) if all == PREFACE.len() => At::Head(0, [0; HEAD_BYTES]),
                        (true, some) => At::Preface(some),
                    };
                    bytes = &bytes[1..];
                }
                At::Head(have, head) => {
                    head[*have] = byte;
                    *have += 1;
                    bytes = &bytes[1..];
                    if *have == HEAD_BYTES {
                        let head = *head;
                        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                        self.at = At::Payload(length);
                        if length == 0 {
                            self.at = At::Head(0, [0; HEAD_BYTES]);
                        }
                        if !self.count(head[3], length) {
                            return Seen::Flood;
                        }
                    }
                }
                At::Payload(left) => {
                    let taken = bytes.len().min(*left);
                    *left -= taken;
                    bytes = &bytes[taken..];
                    if *left == 0 {
                        self.at = At::Head(0, [0; HEAD_BYTES]);
                    }
                }
            }
        }
        match self.at {
            At::Other => Seen::NotFrames,
            _ => Seen::Frames,
        }
    }

    fn count(&mut self, kind: u8, length: usize) -> bool {
        let asks = match kind {
            EMPTY_DATA => length > 0,
            HEADERS | WINDOW_UPDATE => true,
            _ => false,
        };
        if asks {
            return true;
        }
        let now = Instant::now();
        if self.since.is_none_or(|since| now - since > WINDOW) {
            self.since = Some(now);
            self.idle = 0;
        }
        self.idle += 1;
        self.idle <= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, 0, 0, 0, 0, 1];
        frame.extend_from_slice(payload);
        frame
    }

    fn connection() -> Frames {
        let mut frames = Frames::new();
        assert_eq!(frames.pass(PREFACE), Seen::Frames);
        frames
    }

    #[tokio::test(start_paused = true)]
    async fn pings_are_counted_however_they_are_cut() {
        let pings = frame(6, &[0; 8]).repeat(MOST as usize);
        for size in [1, 7, 17, 1_000, pings.len()] {
            let mut frames = connection();
            assert!(
                pings
                    .chunks(size)
                    .all(|piece| frames.pass(piece) == Seen::Frames),
                "{size}"
            );
            assert_eq!(frames.pass(&frame(6, &[0; 8])), Seen::Flood, "{size}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_forgives() {
        let mut frames = connection();
        for _ in 0..3 {
            assert_eq!(
                frames.pass(&frame(4, &[]).repeat(MOST as usize)),
                Seen::Frames
            );
            tokio::time::advance(WINDOW + Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_their_bodies_and_room_for_answers_do_not_count() {
        let mut frames = connection();
        for _ in 0..2 * MOST {
            assert_eq!(frames.pass(&frame(1, b"head")), Seen::Frames);
            assert_eq!(frames.pass(&frame(0, b"body of any length")), Seen::Frames);
            assert_eq!(frames.pass(&frame(8, &[0, 0, 0, 9])), Seen::Frames);
        }
        assert_eq!(
            frames.pass(&frame(0, b"").repeat(MOST as usize)),
            Seen::Frames
        );
        assert_eq!(frames.pass(&frame(0, b"")), Seen::Flood);
    }

    #[tokio::test(start_paused = true)]
    async fn other_protocols_are_left_alone() {
        let mut frames = Frames::new();
        assert_eq!(frames.pass(b"POST /mcp HTTP/1.1\r\n"), Seen::NotFrames);
        assert_eq!(frames.pass(&[0; 1 << 20]), Seen::NotFrames);
        let mut frames = Frames::new();
        assert_eq!(
            frames.pass(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"),
            Seen::NotFrames
        );
        assert_eq!(frames.pass(&[0; 1 << 20]), Seen::NotFrames);
    }
}
