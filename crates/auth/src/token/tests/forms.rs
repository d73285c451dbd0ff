//! Tokens of the wrong form, header or signature.

use super::*;

async fn verify(token: &str, key: &Key) -> Denied {
    denied(knows(&[key.jwk("one")], None).verify(token).await)
}

#[tokio::test]
async fn every_accepted_algorithm_is_accepted_with_its_own_key_only() {
    let keys = [&*RSA, &Key::p256(), &Key::p384(), &Key::ed25519()];
    let algorithms = [
        ("RS256", 0),
        ("RS384", 0),
        ("RS512", 0),
        ("PS256", 0),
        ("PS384", 0),
        ("PS512", 0),
        ("ES256", 1),
        ("ES384", 2),
        ("EdDSA", 3),
        ("Ed25519", 3),
    ];
    for (algorithm, own) in algorithms {
        for (at, key) in keys.iter().enumerate() {
            let token = key.token(&json!({"alg": algorithm, "kid": "one"}), &good_claims());
            let verified = knows(&[key.jwk("one")], None).verify(&token).await;
            if at == own {
                verified.unwrap();
            } else {
                assert_eq!(denied(verified), Denied::UnknownKey, "{algorithm} {at}");
            }
        }
    }
}

#[tokio::test]
async fn no_algorithm_and_symmetric_ones_never() {
    let key = Key::p256();
    let none = ["none", "None", "nOnE", "NONE", ""];
    let symmetric = ["HS256", "HS384", "HS512", "hs256", "A128KW", "dir"];
    let others = ["ES512", "ES256K", "Ed448", "RS1", "es256", "ES256 "];
    for algorithm in none.iter().chain(&symmetric).chain(&others) {
        let header = json!({"alg": algorithm, "kid": "one"});
        let message = format!("{}.{}", encode(&header), encode(&good_claims()));
        for signature in ["", "AAAA", &URL_SAFE_NO_PAD.encode([0; 64])] {
            let token = format!("{message}.{signature}");
            assert_eq!(verify(&token, &key).await, Denied::Algorithm, "{token}");
        }
    }
    for header in [
        json!({}),
        json!({"alg": null}),
        json!({"alg": 7}),
        json!({"alg": ["ES256"]}),
    ] {
        let token = key.token(&header, &good_claims());
        assert_eq!(verify(&token, &key).await, Denied::Malformed, "{header}");
    }
}

/// The public key is no secret: a token that is "signed" with it must not pass.
#[tokio::test]
async fn an_hmac_keyed_with_the_public_key_or_nothing_is_no_signature() {
    use aws_lc_rs::hmac;
    let key = Key::p256();
    let public = key.jwk("one").to_string();
    for (algorithm, hash) in [("HS256", hmac::HMAC_SHA256), ("HS512", hmac::HMAC_SHA512)] {
        for secret in [public.as_bytes(), b"", b"secret"] {
            for said in [algorithm, "ES256"] {
                let header = json!({"alg": said, "kid": "one"});
                let message = format!("{}.{}", encode(&header), encode(&good_claims()));
                let tag = hmac::sign(&hmac::Key::new(hash, secret), message.as_bytes());
                let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
                let wanted = match said {
                    "ES256" => Denied::Signature,
                    _ => Denied::Algorithm,
                };
                assert_eq!(verify(&token, &key).await, wanted);
            }
        }
    }
}

#[tokio::test]
async fn a_changed_or_cut_token_is_no_token() {
    for key in [&*RSA, &Key::p256(), &Key::p384(), &Key::ed25519()] {
        let token = key.good("one");
        let (message, signature) = token.rsplit_once('.').unwrap();
        let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
        for at in [0, raw.len() / 2, raw.len() - 1] {
            let mut changed = raw.clone();
            changed[at] ^= 1;
            let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(changed));
            assert_eq!(verify(&token, key).await, Denied::Signature);
        }
        for length in [0, 1, raw.len() - 1] {
            let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(&raw[..length]));
            assert_eq!(verify(&token, key).await, Denied::Signature);
        }
        let header = message.split('.').next().unwrap();
        let mallory = encode(&claims_with(json!({"sub": "mallory"})));
        let token = format!("{header}.{mallory}.{signature}");
        assert_eq!(verify(&token, key).await, Denied::Signature);
        // All zeros were a valid ECDSA signature in some libraries.
        let zeros = URL_SAFE_NO_PAD.encode(vec![0; raw.len()]);
        let token = format!("{message}.{zeros}");
        assert_eq!(verify(&token, key).await, Denied::Signature);
    }
}

/// Every byte counts: also the last bits of the base64, which a lenient reader would overlook.
#[tokio::test]
async fn no_character_of_a_token_can_be_another_one() {
    const OTHERS: &[u8] = b"AQgw_-.";
    for key in [&Key::ed25519(), &*RSA] {
        let verifier = knows(&[key.jwk("one")], None);
        let good = key.good("one");
        for at in 0..good.len() {
            for other in OTHERS.iter().filter(|other| **other != good.as_bytes()[at]) {
                let mut changed = good.clone().into_bytes();
                changed[at] = *other;
                let changed = String::from_utf8(changed).unwrap();
                assert!(verifier.verify(&changed).await.is_err(), "{at}: {changed}");
            }
        }
        for length in 0..good.len() {
            assert!(verifier.verify(&good[..length]).await.is_err(), "{length}");
        }
        verifier.verify(&good).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_not_three_parts_of_json() {
    let key = Key::ed25519();
    let good = key.good("one");
    let parts: Vec<&str> = good.split('.').collect();
    let (header, claims, signature) = (parts[0], parts[1], parts[2]);
    let mut cases = vec![
        String::new(),
        "a".to_owned(),
        "a.b".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        format!("{header}.{claims}"),
        format!("{good}.{signature}"),
        format!("{good}."),
        format!(".{good}"),
        format!("{good} "),
        format!(" {good}"),
        format!("{header}={claims}.{signature}"),
        format!("{header}==.{claims}.{signature}"),
        format!("{header}.{claims}.{signature}=="),
        good.replace('.', "\n."),
        "ü.ü.ü".to_owned(),
        "\u{0}.\u{0}.\u{0}".to_owned(),
    ];
    for json in ["", "null", "[]", "{", "\"x\"", "{\"alg\":\"EdDSA\"}}"] {
        let encoded = URL_SAFE_NO_PAD.encode(json);
        cases.push(format!("{encoded}.{claims}.{signature}"));
    }
    let twice = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","alg":"none","kid":"one"}"#);
    cases.push(format!("{twice}.{claims}.{signature}"));
    for case in cases {
        assert_eq!(verify(&case, &key).await, Denied::Malformed, "{case:?}");
    }
    let long = format!("{header}.{}.{signature}", "A".repeat(MAX_TOKEN_BYTES));
    assert_eq!(verify(&long, &key).await, Denied::TooLong);
}

#[tokio::test]
async fn names_of_keys_are_names_and_nothing_else() {
    let key = Key::ed25519();
    for (kid, wanted) in [
        (json!("../../etc/passwd"), Denied::UnknownKey),
        (json!("x' UNION SELECT 'a"), Denied::UnknownKey),
        (json!("https://evil.example/jwks"), Denied::UnknownKey),
        (json!("one\u{0}"), Denied::UnknownKey),
        (json!("ONE"), Denied::UnknownKey),
        (json!(""), Denied::UnknownKey),
        (json!("k".repeat(256)), Denied::UnknownKey),
        (json!("k".repeat(257)), Denied::Malformed),
        (json!("k".repeat(8_192)), Denied::Malformed),
        (json!(1), Denied::Malformed),
        (json!(null), Denied::Malformed),
        (json!(["one"]), Denied::Malformed),
    ] {
        let token = key.token(&json!({"alg": "EdDSA", "kid": kid}), &good_claims());
        assert_eq!(verify(&token, &key).await, wanted, "{kid}");
    }
}

#[tokio::test]
async fn extensions_and_other_kinds_of_tokens_are_refused() {
    let key = Key::ed25519();
    let verifier = knows(&[key.jwk("one")], None);
    let with = |name: &str, value: Value| {
        let mut header = json!({"alg": "EdDSA", "kid": "one"});
        header[name] = value;
        key.token(&header, &good_claims())
    };
    for good in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"] {
        verifier.verify(&with("typ", json!(good))).await.unwrap();
    }
    for typ in [
        "dpop+jwt",
        "logout+jwt",
        "id+jwt",
        "application/",
        "",
        "at+jwt2",
        "JWT ",
    ] {
        let refused = verifier.verify(&with("typ", json!(typ))).await;
        assert_eq!(denied(refused), Denied::Type, "{typ}");
    }
    for typ in [json!(1), json!(null), json!(["JWT"])] {
        let refused = verifier.verify(&with("typ", typ)).await;
        assert_eq!(denied(refused), Denied::Malformed);
    }
    for crit in [
        json!(["exp"]),
        json!(["b64"]),
        json!([]),
        json!(null),
        json!("x"),
    ] {
        let refused = verifier.verify(&with("crit", crit)).await;
        assert_eq!(denied(refused), Denied::Critical);
    }
}
