//! Requests whose length could be read in two ways. hyper drops `Content-Length` beside
//! `Transfer-Encoding`, and the second of two equal lengths, before we see the request. A proxy in
//! front may have gone by the other one and taken the rest of the body for a request of somebody
//! else (RFC 9112, sections 6.1 and 11.2): such a request is refused and its connection closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const LENGTH: &[u8] = b"content-length:";
const ENCODING: &[u8] = b"transfer-encoding:";
/// Longest start of a line that is looked at.
const LOOKED_AT: usize = ENCODING.len();

/// In the extensions of a request whose framing is ambiguous.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ambiguous;

/// Whether a head names its length more than once: shared between the socket, which looks, and the
/// service, which asks.
#[derive(Debug, Clone, Default)]
pub(super) struct Framing(Arc<AtomicBool>);

impl Framing {
    /// Whether a head that has come and is not answered is ambiguous.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Looks for the two headers in what an HTTP/1 client sends. Bodies are looked through as well:
/// where one ends is not known here, and no line of a JSON text begins like one of them.
#[derive(Debug)]
pub(super) struct Lines {
    framing: Framing,
    /// How often the length was named since the last blank line, which ends a head.
    named: usize,
    start: [u8; LOOKED_AT],
    length: usize,
}

impl Lines {
    pub(super) fn new(framing: Framing) -> Self {
        Self {
            framing,
            named: 0,
            start: [0; LOOKED_AT],
            length: 0,
        }
    }

    /// A request begins after all that came before it was answered.
    pub(super) fn begin(&mut self) {
        self.length = 0;
        self.named = 0;
        self.framing.0.store(false, Ordering::Relaxed);
    }

    /// Looks at what has come.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let line = &bytes[..end.unwrap_or(bytes.len())];
            self.look_at(line);
            match end {
                None => return,
                Some(end) => {
                    if matches!(self.start.get(..self.length), Some(b"" | b"\r")) {
                        self.named = 0;
                    }
                    self.length = 0;
                    bytes = &bytes[end + 1..];
                }
            }
        }
    }

    fn look_at(&mut self, line: &[u8]) {
        if self.length == LOOKED_AT {
            return;
        }
        let before = self.length;
        for byte in line.iter().take(LOOKED_AT - before) {
            self.start[self.length] = byte.to_ascii_lowercase();
            self.length += 1;
        }
        let start = &self.start[..self.length];
        let completed = |name: &[u8]| before < name.len() && start.starts_with(name);
        if completed(LENGTH) || completed(ENCODING) {
            self.named += 1;
        }
        if self.named > 1 {
            self.framing.0.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ambiguous(text: &str, piece: usize) -> bool {
        let framing = Framing::default();
        let mut lines = Lines::new(framing.clone());
        lines.begin();
        for piece in text.as_bytes().chunks(piece) {
            lines.pass(piece);
        }
        framing.is_ambiguous()
    }

    #[test]
    fn row_31_two_lengths_are_found_however_they_come() {
        for piece in [1, 2, 3, 7, 1_000] {
            for text in [
                "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
                "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                "POST / HTTP/1.1\r\ntransfer-encoding:chunked\r\nA: b\r\nCONTENT-LENGTH:5\r\n\r\n",
                "POST / HTTP/1.1\nTransfer-Encoding: a\nTransfer-Encoding: chunked\n\n",
            ] {
                assert!(ambiguous(text, piece), "{piece}: {text}");
            }
            for text in [
                "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n",
                "POST / HTTP/1.1\r\nContent-Length: 5\r\nX-Content-Length: 5\r\n\r\n",
                "POST / HTTP/1.1\r\nContent-Length: 40\r\n\r\n{\"content-length:\": \"content-length:\"}",
                "POST / HTTP/1.1\r\nX: content-length: 1 transfer-encoding: 2\r\nContent-Length: 1\r\n\r\n",
                "Content-Lengt\r\nh: 1\r\nContent-Length: 2\r\n\r\n",
            ] {
                assert!(!ambiguous(text, piece), "{piece}: {text}");
            }
        }
    }

    #[test]
    fn each_request_is_judged_alone() {
        let framing = Framing::default();
        let mut lines = Lines::new(framing.clone());
        let one = b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx";
        // Sent ahead, too.
        lines.pass(&one.repeat(300));
        assert!(!framing.is_ambiguous());
        lines.pass(b"GET / HTTP/1.1\nContent-Length: 1\nTransfer-Encoding: x\n\n");
        assert!(framing.is_ambiguous());
        lines.pass(one);
        assert!(framing.is_ambiguous(), "it is not answered yet");
        lines.begin();
        lines.pass(one);
        assert!(!framing.is_ambiguous());
    }
}
