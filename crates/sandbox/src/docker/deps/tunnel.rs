//! The connections of one install: each is a channel of the attached stream on one side and a TCP
//! connection of ours on the other. What is on its way is bounded by credit in one direction and by a
//! short queue in the other.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use super::egress::Egress;
use super::wire::{CREDIT, DATA, END, Frame, OPEN, REFUSED, RESET};

/// Bytes of a channel that may be on their way to the container.
const WINDOW: usize = 256 << 10;
/// Read at once.
const READ: usize = 32 << 10;
/// Frames of a channel that wait for the registry: requests are short.
const UPLOAD: usize = 64;
/// Connections at the same time, and in all.
const AT_ONCE: usize = 256;
const IN_ALL: u32 = 50_000;

/// All connections of one install.
pub(super) struct Tunnel {
    egress: Arc<Egress>,
    out: mpsc::Sender<Frame>,
    channels: HashMap<u32, Channel>,
    tasks: JoinSet<u32>,
    opened: u32,
}

struct Channel {
    up: mpsc::Sender<Bytes>,
    credit: Arc<Semaphore>,
    task: AbortHandle,
}

impl Tunnel {
    pub(super) fn new(egress: Arc<Egress>, out: mpsc::Sender<Frame>) -> Self {
        Self {
            egress,
            out,
            channels: HashMap::new(),
            tasks: JoinSet::new(),
            opened: 0,
        }
    }

    /// What the container says of a channel. Never waits.
    pub(super) fn heard(&mut self, frame: Frame) {
        while let Some(Ok(number)) = self.tasks.try_join_next() {
            self.channels.remove(&number);
        }
        let number = frame.channel;
        match frame.kind {
            OPEN => self.open(number, &frame.body),
            CREDIT => {
                let amount = <[u8; 4]>::try_from(&*frame.body).map_or(0, u32::from_be_bytes);
                if let Some(channel) = self.channels.get(&number) {
                    let room = WINDOW.saturating_sub(channel.credit.available_permits());
                    channel.credit.add_permits(room.min(amount as usize));
                }
            }
            DATA => {
                let full = |channel: &Channel| channel.up.try_send(frame.body).is_err();
                if self.channels.get(&number).is_some_and(full) {
                    self.close(number);
                }
            }
            // An empty piece: the end of what it sends.
            END => {
                if let Some(channel) = self.channels.get(&number)
                    && channel.up.try_send(Bytes::new()).is_err()
                {
                    self.close(number);
                }
            }
            RESET => self.close(number),
            _ => {}
        }
    }

    fn open(&mut self, number: u32, place: &[u8]) {
        self.opened += 1;
        if self.tasks.len() >= AT_ONCE
            || self.opened > IN_ALL
            || self.channels.contains_key(&number)
        {
            self.close(number);
            return;
        }
        let (up, from_container) = mpsc::channel(UPLOAD);
        let credit = Arc::new(Semaphore::new(WINDOW));
        let connection = Connection {
            number,
            place: String::from_utf8_lossy(place).into_owned(),
            egress: Arc::clone(&self.egress),
            out: self.out.clone(),
            credit: Arc::clone(&credit),
        };
        let task = self.tasks.spawn(connection.run(from_container));
        let channel = Channel { up, credit, task };
        self.channels.insert(number, channel);
    }

    fn close(&mut self, number: u32) {
        if let Some(channel) = self.channels.remove(&number) {
            channel.task.abort();
        }
    }
}

/// One connection.
struct Connection {
    number: u32,
    place: String,
    egress: Arc<Egress>,
    out: mpsc::Sender<Frame>,
    credit: Arc<Semaphore>,
}

impl Connection {
    async fn run(self, from_container: mpsc::Receiver<Bytes>) -> u32 {
        match self.egress.connect(&self.place).await {
            Err(why) => self.send(REFUSED, why).await,
            Ok(stream) => {
                self.send(OPEN, "").await;
                let (read, write) = stream.into_split();
                tokio::join!(self.receive(read), upload(write, from_container));
            }
        }
        self.number
    }

    async fn send(&self, kind: u8, body: impl Into<Bytes>) {
        // Whoever wrote it is gone, and so will this be.
        drop(self.out.send(Frame::new(kind, self.number, body)).await);
    }

    async fn receive(&self, mut read: OwnedReadHalf) {
        let mut buffer = BytesMut::new();
        loop {
            let Ok(one) = self.credit.acquire().await else {
                return;
            };
            let more = READ.min(1 + self.credit.available_permits());
            buffer.reserve(READ);
            let mut limited = (&mut read).take(more as u64);
            match limited.read_buf(&mut buffer).await {
                Ok(0) => return self.send(END, "").await,
                Err(_) => return self.send(RESET, "").await,
                Ok(length) => {
                    one.forget();
                    let rest = u32::try_from(length - 1).unwrap_or(u32::MAX);
                    let Ok(rest) = self.credit.acquire_many(rest).await else {
                        return;
                    };
                    rest.forget();
                    if !self.egress.count(length) {
                        return self.send(RESET, "").await;
                    }
                    self.send(DATA, buffer.split().freeze()).await;
                }
            }
        }
    }
}

/// Until the container has no more to say, or the registry hears nothing more.
async fn upload(mut write: OwnedWriteHalf, mut from_container: mpsc::Receiver<Bytes>) {
    while let Some(piece) = from_container.recv().await {
        let done = if piece.is_empty() {
            write.shutdown().await
        } else {
            write.write_all(&piece).await
        };
        if done.is_err() || piece.is_empty() {
            return;
        }
    }
}
