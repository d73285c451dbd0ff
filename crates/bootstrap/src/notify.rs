//! Tells a service manager what the process is about to do (sd_notify of systemd): a start is over when
//! requests are served, and not when the program was loaded.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where the service manager listens; nothing is said when nobody asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notify(Option<String>);

impl Notify {
    /// `NOTIFY_SOCKET` as the service manager sets it: a path, or `@name` in the abstract namespace.
    pub(crate) fn to(socket: Option<&String>) -> Self {
        Self(socket.filter(|socket| !socket.is_empty()).cloned())
    }

    /// The start is complete.
    pub(crate) fn ready(&self) {
        self.say("READY=1");
    }

    /// The stop has begun.
    pub(crate) fn stopping(&self) {
        self.say("STOPPING=1");
    }

    fn say(&self, what: &str) {
        let Some(socket) = &self.0 else { return };
        if let Err(error) = send(socket, what) {
            tracing::warn!(%error, what, "the service manager cannot be told (NOTIFY_SOCKET)");
        }
    }
}

fn send(socket: &str, what: &str) -> io::Result<()> {
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    // A manager that does not read must not hold the process.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(what.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn both_kinds_of_sockets_hear_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let notify = Notify::to(Some(&path.display().to_string()));
        notify.ready();
        notify.stopping();
        assert_eq!(
            (heard(&by_path), heard(&by_path)),
            ("READY=1".into(), "STOPPING=1".into())
        );
        let name = format!("dynamic-mcp-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        Notify::to(Some(&format!("@{name}"))).ready();
        assert_eq!(heard(&by_name), "READY=1");
    }

    #[test]
    fn nobody_is_told_and_a_manager_that_has_gone_changes_nothing() {
        Notify::to(None).ready();
        Notify::to(Some(&String::new())).ready();
        Notify::to(Some(&"/nowhere/notify".to_owned())).ready();
    }
}
