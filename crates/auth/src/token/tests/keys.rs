//! Which keys are taken, and which of them a token means.

use super::*;

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

#[test]
fn keys_that_are_no_use_are_left_out() {
    let (ed, ec) = (Key::ed25519(), Key::p256());
    for (what, jwk) in [
        (
            "symmetric",
            json!({"kty": "oct", "k": "c2VjcmV0", "kid": "one"}),
        ),
        (
            "symmetric with alg",
            json!({"kty": "oct", "k": "AA", "alg": "HS256"}),
        ),
        ("encryption", with(ed.jwk("one"), "use", json!("enc"))),
        (
            "operations",
            with(ed.jwk("one"), "key_ops", json!(["encrypt"])),
        ),
        ("weak RSA", weak_rsa()),
        ("RSA without n", json!({"kty": "RSA", "e": "AQAB"})),
        ("RSA with e = 0", with(RSA.jwk("one"), "e", json!("AA"))),
        ("secp256k1", with(ec.jwk("one"), "crv", json!("secp256k1"))),
        ("another curve", with(ec.jwk("one"), "crv", json!("P-384"))),
        (
            "not on the curve",
            with(ec.jwk("one"), "y", ec.jwk("one")["x"].clone()),
        ),
        ("Ed448", with(ed.jwk("one"), "crv", json!("Ed448"))),
        ("X25519", with(ed.jwk("one"), "crv", json!("X25519"))),
        ("short x", with(ed.jwk("one"), "x", json!("AAAA"))),
        ("padded base64", with(ed.jwk("one"), "x", json!("AAAA="))),
        ("foreign alg", with(ed.jwk("one"), "alg", json!("RS256"))),
        ("unknown alg", with(ed.jwk("one"), "alg", json!("HS256"))),
        ("kid of another type", with(ed.jwk("one"), "kid", json!(1))),
        (
            "kid too long",
            with(ed.jwk("one"), "kid", json!("k".repeat(257))),
        ),
        ("no object", json!("key")),
    ] {
        assert_eq!(key_set(&[jwk]).len(), 0, "{what}");
    }
    let good = [RSA.jwk("1"), ec.jwk("2"), Key::p384().jwk("3"), ed.jwk("4")];
    assert_eq!(key_set(&good).len(), 4);
    assert_eq!(key_set(&[with(ed.jwk("1"), "use", json!("sig"))]).len(), 1);
}

/// A public key with a modulus of 1024 bits.
fn weak_rsa() -> Value {
    let n = URL_SAFE_NO_PAD.encode([0xd5; 128]);
    json!({"kty": "RSA", "n": n, "e": "AQAB", "kid": "one", "use": "sig"})
}

#[test]
fn what_is_no_key_set() {
    for text in [
        "",
        "[]",
        "{}",
        "{\"keys\":{}}",
        "{\"keys\":[]",
        "<html>",
        "null",
    ] {
        assert!(KeySet::from_json(text.as_bytes()).is_err(), "{text}");
    }
    let many = vec![Key::ed25519().jwk("k"); 101];
    let text = json!({"keys": many}).to_string();
    assert!(KeySet::from_json(text.as_bytes()).is_err());
    assert_eq!(key_set(&many[..100]).len(), 100);
}

#[tokio::test]
async fn a_key_for_one_algorithm_is_used_with_no_other() {
    let jwk = with(RSA.jwk("one"), "alg", json!("PS256"));
    let verifier = knows(&[jwk], None);
    for (algorithm, good) in [("PS256", true), ("RS256", false), ("PS384", false)] {
        let header = json!({"alg": algorithm, "kid": "one"});
        let token = RSA.token(&header, &good_claims());
        assert_eq!(verifier.verify(&token).await.is_ok(), good, "{algorithm}");
    }
}

#[tokio::test]
async fn a_token_without_a_key_name_needs_an_issuer_with_one_key() {
    let (one, two, rsa) = (Key::ed25519(), Key::ed25519(), &*RSA);
    let unnamed = one.token(&json!({"alg": "EdDSA"}), &good_claims());
    let alone = knows(&[one.jwk("one"), rsa.jwk("two")], None);
    alone.verify(&unnamed).await.unwrap();
    let several = knows(&[one.jwk("one"), two.jwk("two")], None);
    let refused = several.verify(&unnamed).await;
    assert_eq!(denied(refused), Denied::AmbiguousKey);
    let twins = knows(&[one.jwk("one"), two.jwk("one")], None);
    let refused = twins.verify(&one.good("one")).await;
    assert_eq!(denied(refused), Denied::AmbiguousKey);
    // The same name for keys of different kinds is clear.
    let kinds = knows(&[rsa.jwk("one"), one.jwk("one")], None);
    kinds.verify(&one.good("one")).await.unwrap();
    kinds.verify(&rsa.good("one")).await.unwrap();
}

fn pem(der: &[u8]) -> String {
    pem::encode(&pem::Pem::new("PUBLIC KEY", der))
}

/// The key as SubjectPublicKeyInfo.
fn spki(key: &Key) -> Vec<u8> {
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    let der: PublicKeyX509Der<'_> = match key {
        Key::Rsa(pair) => pair.public_key().as_der(),
        Key::P256(pair) | Key::P384(pair) => pair.public_key().as_der(),
        Key::Ed25519(pair) => pair.public_key().as_der(),
    }
    .unwrap();
    der.as_ref().to_vec()
}

#[tokio::test]
async fn keys_from_the_configuration() {
    let keys = [
        &*RSA,
        &Key::p256(),
        &Key::p384(),
        &Key::ed25519(),
        &Key::ed25519(),
    ];
    let all: String = keys.iter().map(|key| pem(&spki(key))).collect();
    let verifier = TokenVerifier::new(settings(KeySource::PublicKeys(all)), metrics()).unwrap();
    assert!(verifier.keep_keys_fresh().is_none());
    let health = verifier.key_health();
    assert_eq!((health.usable, health.age, health.failure), (5, None, None));
    for key in keys {
        // PEM has no names: whatever the token says is fine.
        verifier.verify(&key.good("any")).await.unwrap();
        let unnamed = key.token(&json!({"alg": key.algorithm()}), &good_claims());
        verifier.verify(&unnamed).await.unwrap();
    }
    let stranger = Key::p256().good("any");
    assert_eq!(denied(verifier.verify(&stranger).await), Denied::Signature);

    let only = pem(&spki(&Key::p256()));
    let verifier = TokenVerifier::new(settings(KeySource::PublicKeys(only)), metrics()).unwrap();
    let refused = verifier.verify(&Key::ed25519().good("any")).await;
    assert_eq!(denied(refused), Denied::Algorithm);
}

#[test]
fn what_is_no_public_key() {
    let private = pem::encode(&pem::Pem::new("PRIVATE KEY", vec![0x30, 0]));
    let broken = pem(&[0x30, 0x82, 0x01]);
    let good = pem(&spki(&Key::p256()));
    for (text, wanted) in [
        (String::new(), "holds no key"),
        ("secret".to_owned(), "holds no key"),
        (private, "\"PRIVATE KEY\""),
        (broken.clone(), "RSA with 2048-8192 bits"),
        (good + &broken, "RSA with 2048-8192 bits"),
    ] {
        let source = KeySource::PublicKeys(text);
        let error = TokenVerifier::new(settings(source), metrics()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(wanted), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
