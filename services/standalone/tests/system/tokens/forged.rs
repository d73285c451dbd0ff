//! Tokens that somebody made up, key sets that mean harm, and clocks that differ, against the product
//! with a real issuer. Each refusal is preceded by a good token on the same path.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use testkit::process::Program;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use super::*;

/// An address that counts who comes, and answers everybody with the same text.
struct Canary {
    address: SocketAddr,
    came: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Canary {
    async fn start(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let came = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&came);
        let answer = Arc::new(answer);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let answer = Arc::clone(&answer);
                connections.spawn(async move {
                    let mut head = vec![0; 4096];
                    if stream.read(&mut head).await.is_ok() {
                        // Whoever has heard enough closes before the end.
                        stream.write_all(&answer).await.ok();
                    }
                });
            }
        });
        Self {
            address,
            came,
            _serving: serving,
        }
    }

    fn url(&self) -> String {
        format!("http://{}/jwks", self.address)
    }
}

fn answer(status: &str, header: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{header}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .into_bytes()
}

/// A token with another header and other claims, and the signature of the good one or this one.
fn forge(good: &str, header: &Value, claims: Option<Value>, signature: Option<&str>) -> String {
    let parts: Vec<&str> = good.split('.').collect();
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = claims.map_or_else(|| parts[1].to_owned(), |claims| encode(&claims));
    let signature = signature.unwrap_or(parts[2]);
    format!("{}.{claims}.{signature}", encode(header))
}

fn decoded(good: &str, part: usize) -> Value {
    let text = good.split('.').nth(part).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

/// The signature of HMAC-SHA256 under this secret.
fn hmac(signed: &str, secret: &[u8]) -> String {
    use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
    let tag = sign(&Key::new(HMAC_SHA256, secret), signed.as_bytes());
    URL_SAFE_NO_PAD.encode(tag.as_ref())
}

#[tokio::test]
async fn threat_03_to_07_forged_tokens_open_nothing_and_fetch_nothing() {
    let guarded = Guarded::start(Kind::Three, &[("MCP_AUTH_MAX_FAILURES_PER_MINUTE", "0")]).await;
    let good = guarded.issuer.token("alice", ALL).await;
    assert_eq!(ping(&guarded.with(&good)).await.status, 200);
    let canary = Canary::start(answer("200 OK", "x: y", "{}")).await;
    let (header, claims) = (decoded(&good, 0), decoded(&good, 1));
    let with = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        header
    };
    let mut forged = Vec::new();
    // 3: no algorithm.
    for none in ["none", "None", "nOnE", "NONE", ""] {
        let header = with("alg", json!(none));
        for signature in ["", "AAAA"] {
            forged.push(forge(&good, &header, None, Some(signature)));
        }
        forged.push(forge(&good, &header, None, None));
    }
    // 4: a symmetric one, keyed with what everybody knows.
    let jwks = exchange(
        guarded.issuer.url.strip_prefix("http://").unwrap(),
        "GET",
        "/jwks",
        &[],
        b"",
    );
    let jwks = jwks.await;
    let modulus = jwks.json()["keys"][0]["n"].as_str().unwrap().to_owned();
    for secret in [b"".as_slice(), b"secret", modulus.as_bytes(), &jwks.body] {
        for algorithm in ["HS256", "HS384", "HS512"] {
            let unsigned = forge(&good, &with("alg", json!(algorithm)), None, Some(""));
            let signed = unsigned.trim_end_matches('.');
            forged.push(format!("{signed}.{}", hmac(signed, secret)));
        }
    }
    // 5: other claims under the same signature.
    for (name, value) in [
        ("sub", json!("mallory")),
        ("scope", json!("mcp:admin")),
        ("exp", json!(4e9)),
    ] {
        let mut claims = claims.clone();
        claims[name] = value;
        forged.push(forge(&good, &header, Some(claims), None));
    }
    forged.push(good[..good.len() - 4].to_owned());
    // 6: names of keys.
    let long = "k".repeat(8 * 1024);
    for kid in [
        json!("../../../../etc/passwd"),
        json!("/dev/null"),
        json!("x' UNION SELECT 'a"),
        json!(canary.url()),
        json!("rsa-1\u{0}"),
        json!(long),
        json!(7),
        json!(null),
        json!(["rsa-1"]),
    ] {
        forged.push(forge(&good, &with("kid", kid), None, None));
    }
    // 7: where the keys should be, and who the issuer should be.
    for name in ["jku", "x5u"] {
        let mut elsewhere = with(name, json!(canary.url()));
        elsewhere["kid"] = json!("mallory");
        forged.push(forge(&good, &elsewhere, None, None));
    }
    let mut foreign = claims.clone();
    foreign["iss"] = json!(canary.url());
    forged.push(forge(&good, &header, Some(foreign), None));
    for crit in [json!(["exp"]), json!([])] {
        forged.push(forge(&good, &with("crit", crit), None, None));
    }
    assert!(forged.len() >= 40, "{}", forged.len());
    for token in &forged {
        let asked = Instant::now();
        let refused = ping(&guarded.with(token)).await;
        assert_eq!(refused.status, 401, "{token}");
        assert_eq!(
            parameter(challenge(&refused), "error"),
            Some("invalid_token")
        );
        assert!(asked.elapsed() < Duration::from_secs(1), "{token}");
    }
    assert_eq!(
        canary.came.load(Ordering::SeqCst),
        0,
        "a token was taken at its word"
    );
    assert_eq!(ping(&guarded.with(&good)).await.status, 200);
    guarded.stop().await;
}

/// What `/readyz` says of the keys, and whether a good token is let in, with keys from here.
async fn with_keys_from(url: &str, token: &str, issuer: &str) -> (u16, u16) {
    let env = [
        ("MCP_PORT", "0"),
        ("MCP_AUTH_MODE", "jwt"),
        ("MCP_AUTH_JWKS_URL", url),
        ("MCP_AUTH_ISSUER", issuer),
        ("MCP_AUTH_AUDIENCE", RESOURCE),
        ("MCP_EXECUTION_ENGINE", "isolate"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let binary = crate::deployment::binary("dynamic-mcp");
    let mut program = Program::start(&binary, folder.path(), &[], &env);
    let address = program
        .field_of_line("\"listener\":\"http\"", "address")
        .await;
    program.field_of_line("token issuer", "level").await;
    let mut client = Client::new(&address, Era::Modern);
    client
        .headers
        .push(("authorization".to_owned(), format!("Bearer {token}")));
    let status = ping(&client).await.status;
    let ready = exchange(&address, "GET", "/readyz", &[], b"").await;
    if ready.status != 200 {
        assert_eq!(ready.json()["failing"], json!(["jwks"]));
    }
    assert!(
        program.resident_kib() < 512 * 1024,
        "{} KiB",
        program.resident_kib()
    );
    program.stop().await;
    (ready.status, status)
}

#[tokio::test]
async fn threat_11_a_hostile_key_set_is_not_taken_and_readyz_says_so() {
    let issuer = Issuer::start().await;
    let token = issuer.token("alice", ALL).await;
    let good = format!("{}/jwks", issuer.url);
    assert_eq!(with_keys_from(&good, &token, &issuer.url).await, (200, 200));
    let keys = exchange(
        issuer.url.strip_prefix("http://").unwrap(),
        "GET",
        "/jwks",
        &[],
        b"",
    )
    .await;
    let keys = keys.json()["keys"].clone();
    let many: Vec<Value> = (0..10_000).map(|_| keys[0].clone()).collect();
    let many = json!({ "keys": many }).to_string();
    let huge = format!("{{\"keys\":{keys},\"x\":\"{}\"}}", "x".repeat(50 << 20));
    let symmetric =
        json!({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": keys[0]["kid"]}]}).to_string();
    let inner = Canary::start(answer(
        "200 OK",
        "x: y",
        &json!({ "keys": keys }).to_string(),
    ))
    .await;
    let link_local = "location: http://169.254.169.254/latest/meta-data";
    let to_inner = format!("location: {}", inner.url());
    for (what, answer) in [
        ("10,000 keys", answer("200 OK", "x: y", &many)),
        ("50 MB", answer("200 OK", "x: y", &huge)),
        ("a symmetric key", answer("200 OK", "x: y", &symmetric)),
        (
            "a redirect to a link-local address",
            answer("302 Found", link_local, ""),
        ),
        (
            "a redirect to good keys",
            answer("302 Found", &to_inner, ""),
        ),
        ("no JSON", answer("200 OK", "x: y", "<html>")),
    ] {
        let hostile = Canary::start(answer).await;
        let found = with_keys_from(&hostile.url(), &token, &issuer.url).await;
        assert_eq!(found, (503, 401), "{what}");
        assert!(
            hostile.came.load(Ordering::SeqCst) > 0,
            "{what}: nobody asked"
        );
    }
    assert_eq!(
        inner.came.load(Ordering::SeqCst),
        0,
        "a redirect was followed"
    );
}

#[tokio::test]
async fn threat_14_clocks_may_differ_by_seconds_and_not_by_minutes() {
    let guarded = Guarded::start(Kind::Direct, &[]).await;
    for (caller, status, why) in [
        ("alice", 200, ""),
        // Expired 25 s ago, and issued 29 s from now, by the issuer's clock.
        ("alice.slow", 200, ""),
        ("alice.fast", 200, ""),
        ("alice.late", 401, "has expired"),
        ("alice.early", 401, "not valid yet"),
        // And no issuer's user passes for an API key.
        ("alice.key", 401, "not begin with key:"),
    ] {
        let client = guarded.client(caller, ALL).await;
        let answer = ping(&client).await;
        assert_eq!(answer.status, status, "{caller}: {}", answer.text());
        assert!(
            challenge(&answer).contains(why),
            "{caller}: {}",
            challenge(&answer)
        );
    }
    guarded.stop().await;
}
