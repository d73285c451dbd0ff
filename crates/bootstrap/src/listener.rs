//! Listeners, bound before anything else starts.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::address::{ListenAddress, authority};
use crate::connection::{Connection, Peer};

/// Pause after an accept that failed for want of a resource, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({name}): {reason}")]
pub struct BindError {
    /// What listens there.
    pub name: &'static str,
    /// The address.
    pub address: ListenAddress,
    /// Why not, and what to do.
    pub reason: String,
}

/// A socket that is bound and listens. Serve it with `axum::serve`, or accept from it.
#[derive(Debug)]
pub struct BoundListener {
    socket: Socket,
    /// The real address: the port that was taken when 0 was asked for.
    address: ListenAddress,
}

/// The socket under a [`BoundListener`], for a server with an accept loop of its own.
#[derive(Debug)]
pub enum Socket {
    /// TCP; accepted connections still need TCP_NODELAY.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix {
        /// The socket.
        listener: UnixListener,
        /// Keep it as long as the server runs.
        file: SocketFile,
    },
}

/// The file of a Unix socket; removed when this is dropped, unless another process has replaced it.
#[derive(Debug)]
#[must_use = "the file is removed when this is dropped"]
pub struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let still_ours = fs::symlink_metadata(&self.path).is_ok_and(|f| f.ino() == self.inode);
        if still_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket file stays behind");
        }
    }
}

impl BoundListener {
    /// Binds and listens.
    ///
    /// # Errors
    /// The address is taken, does not belong to this machine, or may not be used by this user.
    pub async fn bind(name: &'static str, address: &ListenAddress) -> Result<Self, BindError> {
        let bound = match address {
            ListenAddress::Tcp { host, port } => bind_tcp(host, *port).await,
            ListenAddress::Unix(path) => bind_unix(path).await,
        };
        bound.map_err(|reason| BindError {
            name,
            address: address.clone(),
            reason,
        })
    }

    /// The address that is listened on.
    #[must_use]
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Takes the socket out.
    #[must_use]
    pub fn into_socket(self) -> Socket {
        self.socket
    }

    /// The next connection; TCP ones have TCP_NODELAY set, without which an answer written in two
    /// pieces waits 40 ms for the first to be acknowledged. Failures to accept are logged and tried
    /// again; cancelling loses no connection.
    pub async fn accept(&mut self) -> (Connection, Peer) {
        loop {
            let accepted = match &self.socket {
                Socket::Tcp(listener) => match listener.accept().await {
                    Ok((stream, peer)) => stream
                        .set_nodelay(true)
                        .map(|()| (Connection::Tcp(stream), Peer::Tcp(peer))),
                    Err(error) => Err(error),
                },
                Socket::Unix { listener, .. } => listener
                    .accept()
                    .await
                    .map(|(stream, _)| (Connection::Unix(stream), Peer::Unix)),
            };
            match accepted {
                Ok(connection) => return connection,
                Err(error) if is_of_the_connection(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                }
                Err(error) => {
                    tracing::error!(%error, address = %self.address, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// The connections as an endless stream, for a tonic server.
    pub fn into_stream(self) -> impl futures::Stream<Item = io::Result<Connection>> + Send {
        futures::stream::unfold(self, async |mut listener| {
            let (connection, _) = listener.accept().await;
            Some((Ok(connection), listener))
        })
    }
}

impl fmt::Display for BoundListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl axum::serve::Listener for BoundListener {
    type Io = Connection;
    type Addr = Peer;

    async fn accept(&mut self) -> (Connection, Peer) {
        Self::accept(self).await
    }

    fn local_addr(&self) -> io::Result<Peer> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().map(Peer::Tcp),
            Socket::Unix { .. } => Ok(Peer::Unix),
        }
    }
}

fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
            | io::ErrorKind::InvalidInput
    )
}

async fn bind_tcp(host: &str, port: u16) -> Result<BoundListener, String> {
    let listener = TcpListener::bind(authority(host, port))
        .await
        .map_err(|why| match why.kind() {
            io::ErrorKind::AddrInUse => {
                String::from("another process listens there; stop it or choose another port")
            }
            io::ErrorKind::AddrNotAvailable => {
                String::from("this machine does not have that address")
            }
            io::ErrorKind::PermissionDenied => {
                String::from("this user may not use that port; choose one above 1023")
            }
            _ => why.to_string(),
        })?;
    let local = listener.local_addr().map_err(|why| why.to_string())?;
    let address = ListenAddress::Tcp {
        host: local.ip().to_string(),
        port: local.port(),
    };
    Ok(BoundListener {
        socket: Socket::Tcp(listener),
        address,
    })
}

async fn bind_unix(path: &Path) -> Result<BoundListener, String> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(String::from(
                "there is a file that is no socket; move it away",
            ));
        }
        Ok(_) => match UnixStream::connect(path).await {
            Ok(_) => {
                return Err(String::from(
                    "another process listens there; stop it or choose another path",
                ));
            }
            // Left behind by a process that was killed; the rename below replaces it.
            Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(why) => return Err(why.to_string()),
        },
        Err(why) if why.kind() == io::ErrorKind::NotFound => {}
        Err(why) => return Err(why.to_string()),
    }
    // Made under another name and moved in place, so that nobody ever connects to a socket whose
    // mode is not yet 0600.
    let mut making = path.as_os_str().to_owned();
    making.push(format!(".{}", std::process::id()));
    let making = PathBuf::from(making);
    let listener = UnixListener::bind(&making).map_err(|why| match why.kind() {
        io::ErrorKind::NotFound => String::from("its directory does not exist; make it"),
        _ => why.to_string(),
    })?;
    let placed = fs::set_permissions(&making, fs::Permissions::from_mode(0o600))
        .and_then(|()| fs::symlink_metadata(&making))
        .and_then(|made| fs::rename(&making, path).map(|()| made.ino()));
    match placed {
        Ok(inode) => {
            let file = SocketFile {
                path: path.to_owned(),
                inode,
            };
            let address = ListenAddress::Unix(path.to_owned());
            Ok(BoundListener {
                socket: Socket::Unix { listener, file },
                address,
            })
        }
        Err(why) => {
            if let Err(error) = fs::remove_file(&making) {
                tracing::warn!(path = %making.display(), %error, "the socket file stays behind");
            }
            Err(why.to_string())
        }
    }
}

#[cfg(test)]
mod tests;
