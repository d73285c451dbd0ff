//! Keys over TLS: the system's certificates are trusted, or those of `SSL_CERT_FILE`, and no others.

use std::path::Path;
use std::process::Stdio;

use testkit::process::Program;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::*;

/// `ca.pem`, and `server.pem` with `server-key.pem` for 127.0.0.1.
const CERTIFICATES: &str = r#"
set -e
new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1" "${@:2}"; }
new ca-key.pem -x509 -days 2 -subj /CN=ca -out ca.pem
new server-key.pem -subj /CN=issuer -out server.csr
printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' >server.ext
openssl x509 -req -days 2 -CA ca.pem -CAkey ca-key.pem -CAcreateserial -in server.csr -extfile server.ext -out server.pem
"#;

/// Serves the file `jwks.json` over TLS and prints its port.
const SERVER: &str = "
const { readFileSync } = require('node:fs');
const read = (name) => readFileSync(name);
const server = require('node:https').createServer(
  { key: read('server-key.pem'), cert: read('server.pem') },
  (request, response) => response.setHeader('content-type', 'application/json').end(read('jwks.json')),
);
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
";

/// The URL of the keys, behind a certificate that nobody knows.
async fn serve_keys(folder: &Path, issuer: &Issuer) -> (String, Child) {
    let made = Command::new("bash")
        .args(["-c", CERTIFICATES])
        .current_dir(folder)
        .output()
        .await
        .expect("bash and openssl");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    let address = issuer.url.strip_prefix("http://").unwrap();
    let keys = exchange(address, "GET", "/jwks", &[], b"").await;
    std::fs::write(folder.join("jwks.json"), keys.body).unwrap();
    let mut server = Command::new("node")
        .args(["-e", SERVER])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let port = lines.next_line().await.unwrap().unwrap();
    (format!("https://127.0.0.1:{port}/jwks.json"), server)
}

#[tokio::test]
async fn keys_come_only_from_a_server_whose_certificate_is_trusted() {
    let issuer = Issuer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (jwks, _server) = serve_keys(folder.path(), &issuer).await;
    let ca = folder.path().join("ca.pem").display().to_string();
    let bearer = format!("Bearer {}", issuer.token("alice", ALL).await);
    for trusted in [true, false] {
        let place = tempfile::tempdir().unwrap();
        let mut env = vec![
            ("MCP_PORT", "0"),
            ("MCP_EXECUTION_ENGINE", "isolate"),
            ("MCP_AUTH_JWKS_URL", jwks.as_str()),
            ("MCP_AUTH_ISSUER", issuer.url.as_str()),
            ("MCP_AUTH_AUDIENCE", RESOURCE),
        ];
        env.extend(trusted.then_some(("SSL_CERT_FILE", ca.as_str())));
        let binary = crate::deployment::binary("dynamic-mcp");
        let mut program = Program::start(&binary, place.path(), &[], &env);
        let needle = if trusted {
            "the keys of the token issuer are known"
        } else {
            "the keys of the token issuer could not be fetched"
        };
        program.field_of_line(needle, "level").await;
        let address = program
            .field_of_line("\"listener\":\"http\"", "address")
            .await;
        let mut client = Client::new(&address, Era::Modern);
        client
            .headers
            .push(("authorization".to_owned(), bearer.clone()));
        let status = ping(&client).await.status;
        assert_eq!(status, if trusted { 200 } else { 401 });
        if !trusted {
            let log = program.log().join("\n");
            assert!(log.contains("invalid peer certificate"), "{log}");
        }
        program.stop().await;
    }
}
