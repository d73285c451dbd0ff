//! Docker's variables as people set them, and TLS with certificates of the tests' own making.

use std::process::Command;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::docker::daemon::Daemon;
use crate::docker::daemon::tests::metrics;

fn settings(host: &str, tls_verify: bool, cert_path: Option<&Path>) -> DockerSettings {
    DockerSettings {
        host: Some(host.to_owned()),
        tls_verify,
        cert_path: cert_path.map(Path::to_owned),
    }
}

fn shown(host: &str) -> String {
    match Address::parse(&settings(host, false, None)) {
        Ok(address) => format!("{address} / {}", address.authority()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn addresses_are_read_as_docker_reads_them() {
    for (given, expected) in [
        ("", "unix:///var/run/docker.sock / docker"),
        ("unix:///a/b.sock", "unix:///a/b.sock / docker"),
        ("tcp://box", "tcp://box:2375 / box:2375"),
        ("tcp://box:80/", "tcp://box:80 / box:80"),
        ("tcp://[::1]:99", "tcp://[::1]:99 / [::1]:99"),
        (
            "http://10.0.0.1:2375",
            "tcp://10.0.0.1:2375 / 10.0.0.1:2375",
        ),
    ] {
        assert_eq!(shown(given), expected);
    }
    let local = DockerSettings::default();
    assert_eq!(
        Address::parse(&local).unwrap().to_string(),
        "unix:///var/run/docker.sock"
    );
}

#[test]
fn what_cannot_be_used_is_refused_with_the_reason() {
    for (given, reason) in [
        ("box:2375", "has no scheme"),
        ("unix://relative.sock", "is not an absolute path"),
        ("ssh://root@box", "goes over ssh"),
        ("npipe:////./pipe/x", "scheme that is not known"),
        ("tcp://", "is not host:port"),
        ("tcp://box:99999", "is not host:port"),
        ("tcp://user@box", "more than host and port"),
        ("tcp://box/path", "more than host and port"),
        ("https://box", "DOCKER_CERT_PATH"),
    ] {
        let text = shown(given);
        assert!(text.contains(reason), "{given}: {text}");
    }
    let error = Address::parse(&settings("http://box", true, None)).unwrap_err();
    assert!(
        error.to_string().contains("DOCKER_TLS_VERIFY asks for it"),
        "{error}"
    );
    let unverified = settings("tcp://box", false, Some(Path::new("/certs")));
    let error = Address::parse(&unverified).unwrap_err();
    assert!(
        error.to_string().contains("set DOCKER_TLS_VERIFY=1"),
        "{error}"
    );
}

#[test]
fn a_folder_without_its_certificates_is_refused_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |file: &str| {
        let error = Address::parse(&settings("tcp://box", true, Some(folder.path())));
        let text = error.unwrap_err().to_string();
        assert!(text.contains(file), "{text}");
    };
    refused("ca.pem: No such file");
    std::fs::write(folder.path().join("ca.pem"), "nothing").unwrap();
    refused("ca.pem: holds no certificate");
    let made = certificates();
    std::fs::copy(made.path().join("ca.pem"), folder.path().join("ca.pem")).unwrap();
    std::fs::copy(made.path().join("cert.pem"), folder.path().join("cert.pem")).unwrap();
    refused("key.pem: No such file");
    std::fs::write(folder.path().join("key.pem"), "nothing").unwrap();
    refused("key.pem");
}

/// `ca.pem`, `cert.pem`/`key.pem` for a client, `server.pem`/`server-key.pem` for 127.0.0.1.
fn certificates() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"
set -e
new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1" "${@:2}"; }
new ca-key.pem -x509 -days 2 -subj /CN=ca -out ca.pem
new key.pem -subj /CN=client -out client.csr
new server-key.pem -subj /CN=server -out server.csr
echo extendedKeyUsage=clientAuth >client.ext
printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' >server.ext
sign() { openssl x509 -req -days 2 -CA ca.pem -CAkey ca-key.pem -CAcreateserial "$@"; }
sign -in client.csr -extfile client.ext -out cert.pem
sign -in server.csr -extfile server.ext -out server.pem
"#;
    let made = Command::new("bash")
        .args(["-c", script])
        .current_dir(folder.path())
        .output()
        .expect("openssl");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    folder
}

/// The shared daemon behind TLS, for those who have a certificate.
async fn behind_tls(folder: &Path) -> (u16, JoinSet<()>) {
    testkit::docker::daemon();
    let pem = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let certificates = |name: &str| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(&pem(name))
            .collect::<Result<_, _>>()
            .unwrap()
    };
    let mut roots = RootCertStore::empty();
    roots.add(certificates("ca.pem").remove(0)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            certificates("server.pem"),
            PrivateKeyDer::from_pem_slice(&pem("server-key.pem")).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                // Without a certificate it ends here.
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut docker = UnixStream::connect(DEFAULT_SOCKET).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut stream, &mut docker).await);
            });
        }
    });
    (port, server)
}

#[tokio::test]
async fn tls_both_ways() {
    let (made, other) = (certificates(), certificates());
    let (port, _server) = behind_tls(made.path()).await;
    let host = format!("tcp://127.0.0.1:{port}");
    let connect = async |settings: DockerSettings| Daemon::connect(&settings, metrics()).await;
    let refused = async |settings: DockerSettings| connect(settings).await.unwrap_err().to_string();

    let daemon = connect(settings(&host, true, Some(made.path())))
        .await
        .unwrap();
    daemon.list().await.unwrap();
    assert!(daemon.address().contains("with TLS"));
    let https = host.replace("tcp", "https");
    connect(settings(&https, true, Some(made.path())))
        .await
        .unwrap();

    // Another authority's daemon
    let text = refused(settings(&host, true, Some(other.path()))).await;
    assert!(
        text.contains("certificate") && text.contains(&host),
        "{text}"
    );
    // Its name is not in the certificate
    let named = host.replace("127.0.0.1", "localhost");
    let text = refused(settings(&named, true, Some(made.path()))).await;
    assert!(text.contains("not valid for name"), "{text}");
    // Nobody that the daemon knows
    let stranger = tempfile::tempdir().unwrap();
    std::fs::copy(made.path().join("ca.pem"), stranger.path().join("ca.pem")).unwrap();
    refused(settings(&host, true, Some(stranger.path()))).await;
    // No TLS at all
    refused(settings(&host, false, None)).await;
}
