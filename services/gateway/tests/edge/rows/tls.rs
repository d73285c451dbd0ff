//! TLS at the gateway: what is spoken, what a handshake may cost, and new certificates.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bootstrap::config::Service;
use bootstrap::tls::{NamedFile, ServerTls, TlsFiles};
use gateway::http::ServeSettings;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::edge::rig::{Rig, settings};
use crate::edge::server::{Server, call, local, read, request, server_of};

/// A server with a certificate of its own.
struct Secured {
    server: Server,
    folder: tempfile::TempDir,
    _app: bootstrap::App,
}

/// Writes a new certificate for `localhost` and its key.
fn renew(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut key = options.open(folder.join("key.pem")).unwrap();
    std::io::Write::write_all(&mut key, made.signing_key.serialize_pem().as_bytes()).unwrap();
}

impl Secured {
    async fn start(serving: ServeSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        renew(folder.path());
        let app = bootstrap::App::detached(Service::Gateway).unwrap();
        let files = TlsFiles {
            endpoint: "http",
            certificate: NamedFile::new("MCP_HTTP_TLS_CERT", &folder.path().join("cert.pem")),
            key: NamedFile::new("MCP_HTTP_TLS_KEY", &folder.path().join("key.pem")),
            authority: None,
        };
        let tls = ServerTls::public(files, &app).unwrap();
        let mut settings = settings(true);
        settings.https = true;
        let serving = ServeSettings {
            tls: Some(tls),
            ..serving
        };
        Self {
            server: server_of(Rig::with(settings), serving).await,
            folder,
            _app: app,
        }
    }

    /// A client that trusts the certificate that is in the file now.
    async fn connect(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        protocols: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let trusted = CertificateDer::from_pem_file(self.folder.path().join("cert.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(trusted).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, self.server.connect().await).await
    }

    fn handshakes(&self, outcome: &str) -> u64 {
        let handshakes = &self.server.rig.metrics.tls_handshakes;
        handshakes.with_label_values(&[outcome]).get()
    }
}

const BOTH: &[&rustls::SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];

async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    let call = request("", &call("echo"));
    stream.write_all(call.as_bytes()).await.unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4_096];
    while !text.ends_with('}') {
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    text
}

#[tokio::test]
async fn tls_1_2_and_1_3_with_http_1_and_2() {
    Box::pin(local(async {
        let secured = Secured::start(ServeSettings::default()).await;
        for version in BOTH {
            let mut stream = secured.connect(&[version], &[b"http/1.1"]).await.unwrap();
            let answer = ask(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
            assert!(
                answer.contains("strict-transport-security: max-age=31536000"),
                "{answer}"
            );
        }
        let stream = secured.connect(BOTH, &[b"h2", b"http/1.1"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut sender, connection) = hyper::client::conn::http2::handshake(
            hyper_util::rt::TokioExecutor::new(),
            hyper_util::rt::TokioIo::new(stream),
        )
        .await
        .unwrap();
        tokio::task::spawn_local(connection);
        let mut asked = crate::edge::rig::modern("tools/call", serde_json::json!({"name": "echo"}));
        asked.headers_mut().remove("host");
        *asked.uri_mut() = "https://localhost/mcp".parse().unwrap();
        assert_eq!(sender.send_request(asked).await.unwrap().status(), 200);
        assert_eq!(secured.handshakes("ok"), 3);
        // A protocol that is not spoken.
        assert!(secured.connect(BOTH, &[b"spdy/3"]).await.is_err());
    }))
    .await;
}

#[tokio::test]
async fn older_versions_and_no_tls_at_all_are_turned_away() {
    Box::pin(local(async {
        let secured = Secured::start(ServeSettings::default()).await;
        // A ClientHello of TLS 1.1 (RFC 4346): no extension, so no other version is offered.
        let mut hello = vec![3, 2];
        hello.extend([7; 32]);
        hello.extend([0, 0, 4, 0xc0, 0x13, 0, 0x2f, 1, 0]);
        let length = u8::try_from(hello.len()).unwrap();
        let old = [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &hello].concat();
        for bytes in [
            old,
            request("", &call("echo")).into_bytes(),
            b"\0\0\0\0\0\0".to_vec(),
        ] {
            let mut stream = secured.server.connect().await;
            stream.write_all(&bytes).await.unwrap();
            let text = read(&mut stream, Duration::from_secs(2)).await;
            assert!(!text.contains("HTTP/"), "{text:?}");
        }
        assert_eq!(secured.handshakes("failed"), 3);
        assert_eq!(secured.server.rig.fake.calls(), 0);
    }))
    .await;
}

#[tokio::test]
async fn row_36_a_handshake_that_does_not_come_has_a_place_and_an_end() {
    Box::pin(local(async {
        let secured = Secured::start(ServeSettings {
            max_connections: 1,
            header_timeout: Duration::from_millis(300),
            ..ServeSettings::default()
        })
        .await;
        let mut silent = secured.server.connect().await;
        sleep(Duration::from_millis(100)).await;
        let mut second = secured.server.connect().await;
        assert_eq!(read(&mut second, Duration::from_millis(100)).await, "");
        assert_eq!(read(&mut silent, Duration::from_secs(2)).await, "");
        assert_eq!(secured.handshakes("timeout"), 1);
        let mut stream = secured.connect(BOTH, &[b"http/1.1"]).await.unwrap();
        assert!(ask(&mut stream).await.contains("200 OK"));
    }))
    .await;
}

#[tokio::test]
async fn a_new_certificate_is_taken_without_closing_anything() {
    Box::pin(local(async {
        let secured = Secured::start(ServeSettings::default()).await;
        let mut open = secured.connect(BOTH, &[b"http/1.1"]).await.unwrap();
        assert!(ask(&mut open).await.contains("200 OK"));
        // What cannot be used leaves what is in use.
        let key = secured.folder.path().join("key.pem");
        let good = std::fs::read(&key).unwrap();
        std::fs::write(&key, "no key").unwrap();
        sleep(Duration::from_secs(4)).await;
        assert!(secured.connect(BOTH, &[b"http/1.1"]).await.is_ok());
        std::fs::write(&key, good).unwrap();
        renew(secured.folder.path());
        let end = Instant::now() + Duration::from_secs(10);
        let mut fresh = loop {
            match secured.connect(BOTH, &[b"http/1.1"]).await {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            sleep(Duration::from_millis(100)).await;
        };
        assert!(ask(&mut fresh).await.contains("200 OK"));
        assert!(ask(&mut open).await.contains("200 OK"));
    }))
    .await;
}
