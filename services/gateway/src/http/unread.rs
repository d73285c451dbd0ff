//! Answers that clients have not taken yet. A few bytes ask for a list of a megabyte, and HTTP/2
//! lets a client ask a hundred times without taking any: what waits is counted in bytes over all
//! connections, and in time on each.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::Response;
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::mcp::is_event_stream;

/// Between two looks at what waits.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Pieces of an answer. Each that is asked for shows that the client reads.
const PIECE: usize = 128 * 1024;

/// What waits on all connections.
#[derive(Debug)]
pub(super) struct Unread {
    bytes: AtomicU64,
    max_bytes: u64,
    /// How long an answer may wait, and an event stream, which may have nothing to say.
    patience: (Duration, Duration),
}

impl Unread {
    pub(super) fn new(max_bytes: u64, answer: Duration, stream: Duration) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicU64::new(0),
            max_bytes,
            patience: (answer, stream),
        })
    }

    fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.max_bytes
    }
}

/// What waits on one connection; an extension of its requests.
#[derive(Debug, Clone)]
pub(super) struct Answers(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    all: Arc<Unread>,
    waiting: Mutex<Waiting>,
    some: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// When each was last asked for more, and whether it is an event stream.
    answers: BTreeMap<u64, (Instant, bool)>,
}

/// One answer, from its making until its last byte has left.
#[derive(Debug)]
struct Answer {
    of: Arc<Connection>,
    id: u64,
    bytes: u64,
}

impl Answers {
    pub(super) fn new(all: Arc<Unread>) -> Self {
        Self(Arc::new(Connection {
            all,
            waiting: Mutex::default(),
            some: Notify::new(),
        }))
    }

    /// Whether no more answers can be kept for clients that do not take them.
    pub(super) fn is_full(&self) -> bool {
        self.0.all.is_full()
    }

    /// Whether every answer has left.
    pub(super) fn all_taken(&self) -> bool {
        self.0.waiting.lock().answers.is_empty()
    }

    /// Counts an answer until it has left.
    pub(super) fn count(&self, response: Response<Body>) -> Response<Body> {
        let streams = is_event_stream(&response);
        response.map(|body| {
            let answer = self.begin(body.size_hint().lower(), streams);
            Body::new(Counted {
                body,
                rest: Bytes::new(),
                answer: Arc::new(answer),
            })
        })
    }

    fn begin(&self, bytes: u64, streams: bool) -> Answer {
        self.0.all.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut waiting = self.0.waiting.lock();
        let id = waiting.next;
        waiting.next += 1;
        if waiting.answers.is_empty() {
            self.0.some.notify_one();
        }
        waiting.answers.insert(id, (Instant::now(), streams));
        Answer {
            of: Arc::clone(&self.0),
            id,
            bytes,
        }
    }

    /// Completes when this connection's client has to go: it leaves an answer untaken for too long,
    /// or for a moment while there is no room for more.
    pub(super) async fn not_taken(&self) {
        loop {
            if self.0.waiting.lock().answers.is_empty() {
                self.0.some.notified().await;
            }
            sleep(LOOK_EVERY).await;
            let full = self.is_full();
            let (answer, stream) = self.0.all.patience;
            let too_long = |(since, streams): &(Instant, bool)| {
                let waits = since.elapsed();
                let patience = if *streams { stream } else { answer };
                waits > patience || (full && !streams && waits > LOOK_EVERY)
            };
            if self.0.waiting.lock().answers.values().any(too_long) {
                return;
            }
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.of.all.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.of.waiting.lock().answers.remove(&self.id);
    }
}

/// A body that goes out in pieces, each of which counts for as long as anybody holds it.
struct Counted {
    body: Body,
    rest: Bytes,
    answer: Arc<Answer>,
}

/// Bytes on their way to the socket.
struct Piece {
    bytes: Bytes,
    _answer: Arc<Answer>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Counted {
    fn piece(&mut self) -> Frame<Bytes> {
        let bytes = self.rest.split_to(self.rest.len().min(PIECE));
        let piece = Piece {
            bytes,
            _answer: Arc::clone(&self.answer),
        };
        Frame::data(Bytes::from_owner(piece))
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some((since, _)) = self
            .answer
            .of
            .waiting
            .lock()
            .answers
            .get_mut(&self.answer.id)
        {
            *since = Instant::now();
        }
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.piece())));
        }
        let Poll::Ready(next) = Pin::new(&mut self.body).poll_frame(context) else {
            return Poll::Pending;
        };
        let frame = match next {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other),
        };
        Poll::Ready(Some(Ok(match frame.into_data() {
            Ok(data) => {
                self.rest = data;
                self.piece()
            }
            Err(trailers) => trailers,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let of_body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower() + rest);
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::time::timeout;

    use super::*;

    const ANSWER: Duration = Duration::from_secs(30);
    const STREAM: Duration = Duration::from_secs(45);

    fn answers(max_bytes: u64) -> Answers {
        Answers::new(Unread::new(max_bytes, ANSWER, STREAM))
    }

    fn bytes(answers: &Answers) -> u64 {
        answers.0.all.bytes.load(Ordering::Relaxed)
    }

    fn answer(of: &Answers, bytes: usize) -> Response<Body> {
        of.count(Response::new(Body::from(vec![b'x'; bytes])))
    }

    async fn goes_within(answers: &Answers, time: Duration) -> bool {
        timeout(time, answers.not_taken()).await.is_ok()
    }

    #[tokio::test]
    async fn an_answer_counts_until_its_last_piece_is_let_go() {
        let answers = answers(1 << 20);
        let mut body = answer(&answers, 2 * PIECE + 1).into_body();
        assert_eq!(body.size_hint().exact(), Some(2 * PIECE as u64 + 1));
        let mut pieces = Vec::new();
        while let Some(frame) = body.frame().await {
            pieces.push(frame.unwrap().into_data().unwrap());
        }
        let lengths: Vec<_> = pieces.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [PIECE, PIECE, 1]);
        drop(body);
        assert_eq!(bytes(&answers), 2 * PIECE as u64 + 1);
        pieces.truncate(1);
        assert_eq!(bytes(&answers), 2 * PIECE as u64 + 1);
        pieces.clear();
        assert_eq!(bytes(&answers), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_an_answer_for_too_long_has_to_go() {
        let answers = answers(1 << 20);
        assert!(!goes_within(&answers, ANSWER * 3).await);
        let taken = answer(&answers, 10);
        drop(taken);
        assert!(!goes_within(&answers, ANSWER * 3).await);
        let _left = answer(&answers, 10);
        assert!(!goes_within(&answers, ANSWER - LOOK_EVERY).await);
        assert!(goes_within(&answers, LOOK_EVERY * 4).await);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_reads_slowly_may_stay() {
        let answers = answers(1 << 30);
        let mut body = answer(&answers, 10 * PIECE).into_body();
        for _ in 0..10 {
            assert!(!goes_within(&answers, ANSWER - LOOK_EVERY * 2).await);
            body.frame().await.unwrap().unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_room_nobody_is_waited_for() {
        let (reader, deaf) = {
            let all = Unread::new(100, ANSWER, STREAM);
            (Answers::new(Arc::clone(&all)), Answers::new(all))
        };
        let _left = answer(&deaf, 101);
        assert!(reader.is_full());
        assert!(!goes_within(&reader, ANSWER * 3).await);
        assert!(goes_within(&deaf, LOOK_EVERY * 3).await);
    }
}
