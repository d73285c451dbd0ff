//! TLS at the port of the program itself: `health` asks over it, and nobody is served without it.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use testkit::process::Program;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::deployment::binary;

/// Writes a certificate for `localhost` and its key, with this mode.
fn write_pair(folder: &Path, mode: u32) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&key)
        .unwrap();
    std::io::Write::write_all(&mut file, made.signing_key.serialize_pem().as_bytes()).unwrap();
    (certificate.display().to_string(), key.display().to_string())
}

#[tokio::test]
async fn a_program_with_a_certificate_speaks_tls_only_and_finds_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = write_pair(folder.path(), 0o600);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let env = [
        ("MCP_PORT", port.as_str()),
        ("MCP_EXECUTION_ENGINE", "isolate"),
        ("MCP_HTTP_TLS_CERT", &certificate),
        ("MCP_HTTP_TLS_KEY", &key),
    ];
    let mut program = Program::start(&binary("dynamic-mcp"), folder.path(), &[], &env);
    let url = program.field_of_line("for an MCP client", "url").await;
    assert_eq!(url, format!("https://127.0.0.1:{port}/mcp"));
    program
        .field_of_line("\"message\":\"ready\"", "program")
        .await;
    let health = |certificate: String| {
        let mut command = Command::new(binary("dynamic-mcp"));
        command.arg("health").current_dir(folder.path()).env_clear();
        command.envs(env).env("MCP_HTTP_TLS_CERT", certificate);
        command.stdin(Stdio::null());
        async move { command.output().await.unwrap() }
    };
    let answer = health(certificate.clone()).await;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(
        answer.status.success() && text.contains("ready"),
        "{answer:?}"
    );
    // Somebody who asks without TLS is told nothing.
    let mut plain = TcpStream::connect(("127.0.0.1", port.parse().unwrap()))
        .await
        .unwrap();
    plain
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), plain.read_to_end(&mut rest));
    drop(read.await.unwrap());
    assert!(
        !String::from_utf8_lossy(&rest).contains("HTTP/"),
        "{rest:?}"
    );
    program.stop().await;
}

#[tokio::test]
async fn a_key_that_everybody_may_read_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = write_pair(folder.path(), 0o644);
    let output = Command::new(binary("dynamic-mcp"))
        .arg("--check-config")
        .current_dir(folder.path())
        .env_clear()
        .env("MCP_HTTP_TLS_CERT", &certificate)
        .env("MCP_HTTP_TLS_KEY", &key)
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(
        text.contains("MCP_HTTP_TLS_KEY") && text.contains("chmod 600"),
        "{text}"
    );
    assert!(!text.contains("BEGIN"), "{text}");
}
