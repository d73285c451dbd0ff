use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

fn any_port() -> ListenAddress {
    ListenAddress::parse("127.0.0.1:0").unwrap()
}

fn tcp(address: &ListenAddress) -> (String, u16) {
    match address {
        ListenAddress::Tcp { host, port } => (host.clone(), *port),
        ListenAddress::Unix(_) => panic!("not TCP"),
    }
}

#[tokio::test]
async fn accepted_tcp_connections_send_at_once() {
    let mut listener = BoundListener::bind("http", &any_port()).await.unwrap();
    let (_client, (accepted, peer)) = tokio::join!(
        TcpStream::connect(tcp(listener.address())),
        listener.accept()
    );
    let Connection::Tcp(stream) = &accepted else {
        panic!("not TCP")
    };
    assert!(stream.nodelay().unwrap());
    assert!(matches!(peer, Peer::Tcp(address) if address.ip().is_loopback()));
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_fix() {
    let first = BoundListener::bind("http", &any_port()).await.unwrap();
    let error = BoundListener::bind("http", first.address())
        .await
        .unwrap_err()
        .to_string();
    let expected = format!(
        "cannot listen on {first} (http): another process listens there; stop it or choose another \
         port"
    );
    assert_eq!(error, expected);
}

#[tokio::test]
async fn a_unix_socket_is_private_works_and_goes_with_its_listener() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.sock");
    let mut listener = BoundListener::bind("grpc", &ListenAddress::Unix(path.clone()))
        .await
        .unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        1,
        "nothing else is left"
    );
    let (client, (mut accepted, peer)) =
        tokio::join!(UnixStream::connect(&path), listener.accept());
    assert_eq!(peer, Peer::Unix);
    client.unwrap().write_all(b"hello").await.unwrap();
    let mut text = String::new();
    accepted.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello");
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(
        path.exists(),
        "std leaves the file, as a killed process does"
    );
    let address = ListenAddress::Unix(path.clone());
    let live = BoundListener::bind("grpc", &address).await.unwrap();
    let error = BoundListener::bind("grpc", &address)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("another process listens there"), "{error}");
    assert!(path.exists());
    drop(live);
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes.txt");
    fs::write(&path, "precious").unwrap();
    let error = BoundListener::bind("grpc", &ListenAddress::Unix(path.clone()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let missing = ListenAddress::Unix(directory.path().join("none/x.sock"));
    let error = BoundListener::bind("grpc", &missing).await.unwrap_err();
    assert!(
        error.to_string().contains("directory does not exist"),
        "{error}"
    );
}
