//! A network link that can be cut, stalled and healed: a TCP proxy on a port of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the link does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    /// Connections are closed, new ones too as soon as they come.
    Cut,
    /// Connections stay open and nothing passes.
    Stalled,
    /// What is sent arrives, and every answer is lost.
    Mute,
}

/// A link to one address. Dropping it closes every connection.
pub struct Link {
    address: SocketAddr,
    state: watch::Sender<State>,
    _tasks: JoinSet<()>,
}

impl Link {
    /// A whole link from a new local port to `target`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn to(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = watch::Sender::new(State::Whole);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, state.clone()));
        Ok(Self {
            address,
            state,
            _tasks: tasks,
        })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection and lets none live until [`Link::heal`].
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Keeps every connection open and lets nothing through until [`Link::heal`].
    pub fn stall(&self) {
        self.state.send_replace(State::Stalled);
    }

    /// Lets what is sent arrive and loses every answer, until [`Link::heal`] or [`Link::cut`].
    pub fn mute(&self) {
        self.state.send_replace(State::Mute);
    }

    /// Lets everything through again.
    pub fn heal(&self) {
        self.state.send_replace(State::Whole);
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, state: watch::Sender<State>) {
    let state = Arc::new(state);
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if *state.borrow() == State::Cut {
            continue;
        }
        let Ok(far) = TcpStream::connect(target).await else {
            continue;
        };
        if near.set_nodelay(true).is_err() || far.set_nodelay(true).is_err() {
            continue;
        }
        let ((near_read, near_write), (far_read, far_write)) =
            (near.into_split(), far.into_split());
        let (there, back) = (state.subscribe(), state.subscribe());
        connections.spawn(async move {
            // Either direction's end closes both: the halves are dropped together.
            tokio::select! {
                () = pump(near_read, far_write, there, false) => {}
                () = pump(far_read, near_write, back, true) => {}
            }
        });
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    answers: bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = tokio::select! {
            biased;
            cut = state.wait_for(|state| *state == State::Cut) => {
                drop(cut);
                return;
            }
            read = from.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return,
                Ok(count) => count,
            },
        };
        let passes = state.wait_for(|state| *state != State::Stalled).await;
        match passes.map(|state| *state) {
            Ok(State::Mute) if answers => continue,
            Ok(State::Whole | State::Mute) => {}
            _ => return,
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
