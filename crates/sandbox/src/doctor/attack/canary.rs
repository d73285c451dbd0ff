//! What nobody in a sandbox may reach: a port on every address of this machine, and an abstract socket.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How many addresses of this machine are tried.
const ADDRESSES: usize = 8;
const PATIENCE: Duration = Duration::from_secs(2);

/// Listens for as long as it lives.
pub(super) struct Canary {
    pub(super) port: u16,
    /// The name of the abstract socket.
    pub(super) name: String,
    /// The addresses of this machine, without its loopback.
    pub(super) hosts: Vec<String>,
    heard: Arc<AtomicUsize>,
    _listening: JoinSet<()>,
}

impl Canary {
    /// Begins to listen, and proves that it hears.
    pub(super) async fn sing() -> io::Result<Self> {
        let listener = TcpListener::bind("0.0.0.0:0").await?;
        let port = listener.local_addr()?.port();
        let name = format!("dynamic-mcp-doctor-{}", uuid::Uuid::new_v4().simple());
        let address = SocketAddr::from_abstract_name(&name)?;
        let socket = UnixListener::bind_addr(&address)?;
        socket.set_nonblocking(true)?;
        let socket = tokio::net::UnixListener::from_std(socket)?;
        let heard = Arc::new(AtomicUsize::new(0));
        let mut listening = JoinSet::new();
        let count = Arc::clone(&heard);
        listening.spawn(async move {
            loop {
                let came = tokio::select! {
                    came = listener.accept() => came.map(drop),
                    came = socket.accept() => came.map(drop),
                };
                match came {
                    Ok(()) => {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    // Out of files, most likely: not to be asked again at once.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        });
        let canary = Self {
            port,
            name,
            hosts: hosts(),
            heard,
            _listening: listening,
        };
        // A refusal proves nothing where nobody listens.
        let reached = TcpStream::connect(("127.0.0.1", port));
        timeout(PATIENCE, reached).await??;
        drop(UnixStream::connect_addr(&address)?);
        for _ in 0..200 {
            if canary.heard() == 2 {
                canary.heard.store(0, Ordering::Relaxed);
                return Ok(canary);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(io::Error::other("nothing listens"))
    }

    /// How many came.
    pub(super) fn heard(&self) -> usize {
        self.heard.load(Ordering::Relaxed)
    }
}

fn hosts() -> Vec<String> {
    let Ok(all) = getifaddrs() else {
        return Vec::new();
    };
    let addresses = all.filter_map(|it| Some(it.address?.as_sockaddr_in()?.ip()));
    let outside = addresses.filter(|it| !it.is_loopback());
    outside.take(ADDRESSES).map(|it| it.to_string()).collect()
}
