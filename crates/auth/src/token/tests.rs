//! Tokens of a test issuer, good and bad. Keys are made here; nothing is mocked but the issuer.

mod claims;
mod forms;
mod issuer;
mod keys;
mod refresh;
mod roles;

use std::sync::{Arc, LazyLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use telemetry::{BuildInfo, Metrics};

use super::*;

const ISSUER: &str = "https://issuer.example/";
const AUDIENCE: &str = "https://tools.example/mcp";

/// A private key of the test issuer.
enum Key {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

// RSA keys take long to make.
static RSA: LazyLock<Key> = LazyLock::new(|| Key::rsa(KeySize::Rsa2048));

impl Key {
    fn rsa(size: KeySize) -> Self {
        Key::Rsa(RsaKeyPair::generate(size).unwrap())
    }

    fn p256() -> Self {
        Key::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn p384() -> Self {
        Key::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
    }

    fn ed25519() -> Self {
        Key::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Key::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Key::P256(pair) | Key::P384(pair) => {
                pair.sign(&random, message).unwrap().as_ref().to_vec()
            }
            Key::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// The algorithm that it is used with when nothing else is said.
    fn algorithm(&self) -> &'static str {
        match self {
            Key::Rsa(_) => "RS256",
            Key::P256(_) => "ES256",
            Key::P384(_) => "ES384",
            Key::Ed25519(_) => "EdDSA",
        }
    }

    fn jwk(&self, id: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match self {
            Key::Rsa(pair) => {
                let public: RsaPublicKeyComponents<Vec<u8>> = pair.public_key().into();
                json!({"kty": "RSA", "n": text(&public.n), "e": text(&public.e)})
            }
            Key::P256(pair) | Key::P384(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": curve, "x": text(x), "y": text(y)})
            }
            Key::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref())})
            }
        };
        jwk["kid"] = json!(id);
        jwk["use"] = json!("sig");
        jwk
    }

    /// A token with this header and these claims, whatever they are.
    fn token(&self, header: &Value, claims: &Value) -> String {
        let algorithm = header["alg"].as_str().unwrap_or_default();
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = self.sign(algorithm, message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A good token signed with the key of this id.
    fn good(&self, id: &str) -> String {
        self.token(&json!({"alg": self.algorithm(), "kid": id}), &good_claims())
    }
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn seconds(offset: f64) -> u64 {
    (now() + offset) as u64
}

fn good_claims() -> Value {
    json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "iat": seconds(0.0),
        "exp": seconds(300.0),
        "client_id": "inspector",
        "scope": "mcp:invoke mcp:tools:read",
    })
}

/// Good claims with some replaced; `null` takes one away.
fn claims_with(changes: Value) -> Value {
    let mut claims = good_claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims
                .as_object_mut()
                .unwrap()
                .insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn metrics() -> Arc<Metrics> {
    let build = BuildInfo {
        service: "test",
        version: "0",
        commit: "test",
    };
    Arc::new(Metrics::new(build).unwrap())
}

fn settings(keys: KeySource) -> TokenSettings {
    TokenSettings {
        keys,
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        tenant_claim: None,
        role_claim: None,
        roles: Roles::default(),
    }
}

fn key_set(keys: &[Value]) -> KeySet {
    let json = json!({"keys": keys}).to_string();
    KeySet::from_json(json.as_bytes()).unwrap()
}

/// A verifier that knows these keys, as if it had fetched them.
fn knows(keys: &[Value], tenant_claim: Option<&str>) -> TokenVerifier {
    let metrics = metrics();
    TokenVerifier {
        expected: Expected {
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            tenant_claim: tenant_claim.map(str::to_owned),
            role_claim: None,
            roles: Roles::default(),
        },
        keys: Arc::new(IssuerKeys::fixed(key_set(keys), Arc::clone(&metrics))),
        seen: Seen::new(),
        metrics,
    }
}

/// The reason why a token is refused.
#[track_caller]
fn denied(result: Result<Accepted, Denied>) -> Denied {
    match result {
        Ok(accepted) => panic!("accepted: {accepted:?}"),
        Err(denied) => denied,
    }
}

#[tokio::test]
async fn the_principal_is_what_the_token_says() {
    let key = Key::p256();
    let verifier = knows(&[key.jwk("one")], None);
    let accepted = verifier.verify(&key.good("one")).await.unwrap();
    let principal = &accepted.principal;
    assert_eq!(principal.tenant.as_str(), "default");
    assert_eq!(principal.subject, "alice");
    assert_eq!(principal.client_id.as_deref(), Some("inspector"));
    assert_eq!(
        Vec::from_iter(&principal.scopes),
        ["mcp:invoke", "mcp:tools:read"]
    );
    let remaining = accepted.remaining().as_secs();
    assert!((325..=330).contains(&remaining), "{remaining}");
}

#[tokio::test]
async fn a_token_that_was_seen_is_not_verified_again_and_ends_with_its_time() {
    let key = Key::ed25519();
    let verifier = knows(&[key.jwk("one")], None);
    // 1.2 s of life are left, all of it leeway.
    let claims = claims_with(json!({"exp": now() - 28.8}));
    let token = key.token(&json!({"alg": "EdDSA", "kid": "one"}), &claims);
    let times = |source: &str| {
        let seen = &verifier.metrics.auth_duration;
        seen.with_label_values(&[source]).get_sample_count()
    };
    for _ in 0..3 {
        verifier.verify(&token).await.unwrap();
    }
    assert_eq!((times("verified"), times("cached")), (1, 2));
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    assert_eq!(denied(verifier.verify(&token).await), Denied::Expired);
    assert_eq!((times("verified"), times("cached")), (2, 2));
}

#[test]
fn nothing_of_a_verifier_shows_a_token() {
    let verifier = knows(&[Key::ed25519().jwk("one")], None);
    let shown = format!("{verifier:?}");
    assert!(
        shown.contains("issuer.example") && !shown.contains("eyJ"),
        "{shown}"
    );
}
