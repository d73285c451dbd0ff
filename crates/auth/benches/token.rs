//! What a token adds to a request: one that was seen before, and one that was not, by algorithm; and
//! what an API key does.
//! Run with `cargo bench -p auth`; it fails when a seen one costs more than it may.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot go on fails"
)]

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auth::token::{KeySource, TokenSettings, TokenVerifier};
use auth::{MadeKey, ShownKey};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::ExposeSecret as _;
use serde_json::json;
use telemetry::{BuildInfo, Metrics};
use tokio::time::Instant;

/// Most that a token seen before may add at the median.
const SEEN_MEDIAN: Duration = Duration::from_micros(50);
const ROUNDS: usize = 20_000;
const UNSEEN: usize = 1_000;

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// An algorithm, the public key as PEM, and how to sign.
fn issuers() -> Vec<(&'static str, String, Sign)> {
    let pem = |der: &[u8]| pem::encode(&pem::Pem::new("PUBLIC KEY", der));
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let ed = Ed25519KeyPair::generate().unwrap();
    let rsa_public: PublicKeyX509Der<'_> = rsa.public_key().as_der().unwrap();
    let ec_public: PublicKeyX509Der<'_> = ec.public_key().as_der().unwrap();
    let ed_public: PublicKeyX509Der<'_> = ed.public_key().as_der().unwrap();
    let (rsa_public, ec_public, ed_public) = (
        pem(rsa_public.as_ref()),
        pem(ec_public.as_ref()),
        pem(ed_public.as_ref()),
    );
    let random = SystemRandom::new();
    vec![
        (
            "RS256",
            rsa_public,
            Box::new(move |message| {
                let mut signature = vec![0; rsa.public_modulus_len()];
                let random = SystemRandom::new();
                rsa.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }),
        ),
        (
            "ES256",
            ec_public,
            Box::new(move |message| ec.sign(&random, message).unwrap().as_ref().to_vec()),
        ),
        (
            "EdDSA",
            ed_public,
            Box::new(move |message| ed.sign(message).as_ref().to_vec()),
        ),
    ]
}

fn token(algorithm: &str, sign: &Sign, number: usize) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let header = json!({"alg": algorithm, "typ": "at+jwt", "kid": "one"});
    let claims = json!({
        "iss": "https://issuer.example/", "aud": "https://tools.example/mcp", "sub": "alice",
        "iat": now.as_secs(), "exp": now.as_secs() + 3_600, "jti": number.to_string(),
        "client_id": "inspector", "scope": "openid mcp:invoke mcp:tools:read mcp:tools:write",
    });
    let encode = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// `[p50, p99]` of the time that the verifier takes for each of these.
async fn measure<'a>(
    verifier: &TokenVerifier,
    tokens: impl Iterator<Item = &'a String>,
) -> [Duration; 2] {
    let mut times = Vec::new();
    for token in tokens {
        let started = Instant::now();
        verifier.verify(token).await.unwrap();
        times.push(started.elapsed());
    }
    times.sort();
    [times[times.len() / 2], times[times.len() * 99 / 100]]
}

/// What an API key adds to a request at a gateway that holds ten thousand: a look into a map and one
/// SHA-256.
fn measure_keys() -> [Duration; 2] {
    let made: Vec<MadeKey> = (0..10_000).map(|_| MadeKey::generate().unwrap()).collect();
    let kept: HashMap<_, _> = made.iter().map(|key| (key.prefix, key.digest)).collect();
    let mut times: Vec<Duration> = made
        .iter()
        .cycle()
        .take(ROUNDS)
        .map(|key| {
            let started = Instant::now();
            let shown = ShownKey::read(key.text.expose_secret()).unwrap();
            let known = kept
                .get(&shown.prefix())
                .is_some_and(|digest| shown.is(digest));
            let took = started.elapsed();
            assert!(known);
            took
        })
        .collect();
    times.sort();
    [times[times.len() / 2], times[times.len() * 99 / 100]]
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "token      seen p50       p99   unseen p50       p99").unwrap();
    let mut slowest = Duration::ZERO;
    for (algorithm, pem, sign) in issuers() {
        let build = BuildInfo {
            service: "bench",
            version: "0",
            commit: "bench",
        };
        let settings = TokenSettings {
            keys: KeySource::PublicKeys(pem),
            issuer: "https://issuer.example/".to_owned(),
            audience: "https://tools.example/mcp".to_owned(),
            tenant_claim: None,
            role_claim: None,
            roles: domain::principal::Roles::default(),
        };
        let metrics = Arc::new(Metrics::new(build).unwrap());
        let verifier = TokenVerifier::new(settings, metrics).unwrap();
        let tokens: Vec<String> = (0..UNSEEN).map(|at| token(algorithm, &sign, at)).collect();
        let (unseen, seen) = runtime.block_on(async {
            let unseen = measure(&verifier, tokens.iter()).await;
            let many = tokens.iter().take(100).cycle().take(ROUNDS);
            (unseen, measure(&verifier, many).await)
        });
        slowest = slowest.max(seen[0]);
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        writeln!(
            out,
            "{algorithm:8} {:8.1} us {:6.1} us {:9.1} us {:6.1} us",
            micros(seen[0]),
            micros(seen[1]),
            micros(unseen[0]),
            micros(unseen[1]),
        )
        .unwrap();
    }
    let key = measure_keys();
    slowest = slowest.max(key[0]);
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    writeln!(
        out,
        "API key  {:8.1} us {:6.1} us",
        micros(key[0]),
        micros(key[1])
    )
    .unwrap();
    assert!(
        slowest <= SEEN_MEDIAN,
        "a seen credential costs {slowest:?}"
    );
}
