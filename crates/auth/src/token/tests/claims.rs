//! What a token says, in tokens with a good signature.

use super::*;

struct Rig {
    key: Key,
    verifier: TokenVerifier,
}

fn rig(tenant_claim: Option<&str>) -> Rig {
    let key = Key::ed25519();
    let verifier = knows(&[key.jwk("one")], tenant_claim);
    Rig { key, verifier }
}

impl Rig {
    async fn with(&self, changes: Value) -> Result<Accepted, Denied> {
        let header = json!({"alg": "EdDSA", "kid": "one"});
        let token = self.key.token(&header, &claims_with(changes));
        self.verifier.verify(&token).await
    }
}

#[tokio::test]
async fn times_are_numbers_and_keep_to_the_clock() {
    let rig = rig(None);
    for (name, value, wanted) in [
        ("exp", json!(null), Denied::Claims),
        ("exp", json!(seconds(300.0).to_string()), Denied::Claims),
        ("exp", json!([seconds(300.0)]), Denied::Claims),
        ("exp", json!(true), Denied::Claims),
        ("exp", json!(-1), Denied::Claims),
        ("exp", json!(0), Denied::Expired),
        ("exp", json!(now() - 31.0), Denied::Expired),
        ("exp", json!(now() - 600.0), Denied::Expired),
        // Milliseconds are a common mistake; they are far in the future as a start.
        ("nbf", json!(seconds(0.0) * 1_000), Denied::NotYetValid),
        ("nbf", json!(now() + 31.5), Denied::NotYetValid),
        ("nbf", json!(now() + 600.0), Denied::NotYetValid),
        ("nbf", json!("0"), Denied::Claims),
        ("nbf", json!({}), Denied::Claims),
        ("iat", json!(now() + 31.5), Denied::NotYetValid),
        ("iat", json!("0"), Denied::Claims),
    ] {
        let refused = rig.with(json!({name: value})).await;
        assert_eq!(denied(refused), wanted, "{name}: {value}");
    }
    for good in [
        json!({"exp": now() - 29.0}),
        json!({"exp": 253_402_300_800_u64}),
        json!({"nbf": now() + 29.0, "iat": now() + 29.0}),
        json!({"nbf": 0, "iat": 1.5}),
        json!({"iat": null}),
    ] {
        rig.with(good).await.unwrap();
    }
}

/// A claim that is there but null is not a claim that is absent.
#[tokio::test]
async fn null_is_no_claim() {
    let rig = rig(None);
    let header = json!({"alg": "EdDSA", "kid": "one"});
    for name in [
        "iss",
        "aud",
        "exp",
        "sub",
        "nbf",
        "iat",
        "scope",
        "client_id",
    ] {
        let mut claims = good_claims();
        claims[name] = Value::Null;
        let token = rig.key.token(&header, &claims);
        let refused = rig.verifier.verify(&token).await;
        assert_eq!(denied(refused), Denied::Claims, "{name}");
    }
}

#[tokio::test]
async fn issuer_and_audience_are_exact() {
    let rig = rig(None);
    for (name, value, wanted) in [
        ("iss", json!(null), Denied::Claims),
        ("iss", json!([ISSUER]), Denied::Claims),
        ("iss", json!("https://issuer.example"), Denied::Issuer),
        ("iss", json!("https://ISSUER.example/"), Denied::Issuer),
        ("iss", json!("https://issuer.example/x"), Denied::Issuer),
        ("iss", json!("http://evil.example/"), Denied::Issuer),
        ("iss", json!(""), Denied::Issuer),
        ("aud", json!(null), Denied::Claims),
        ("aud", json!(7), Denied::Claims),
        ("aud", json!({"a": AUDIENCE}), Denied::Claims),
        ("aud", json!([AUDIENCE, 7]), Denied::Claims),
        ("aud", json!([]), Denied::Audience),
        ("aud", json!(""), Denied::Audience),
        ("aud", json!("https://tools.example/"), Denied::Audience),
        ("aud", json!("https://tools.example/mcp/"), Denied::Audience),
        ("aud", json!(["a", "b"]), Denied::Audience),
        ("aud", json!([[AUDIENCE]]), Denied::Claims),
    ] {
        let refused = rig.with(json!({name: value})).await;
        assert_eq!(denied(refused), wanted, "{name}: {value}");
    }
    rig.with(json!({"aud": ["other", AUDIENCE]})).await.unwrap();
}

#[tokio::test]
async fn a_subject_is_a_bounded_name() {
    let rig = rig(None);
    for (value, wanted) in [
        (json!(null), Denied::Claims),
        (json!(42), Denied::Claims),
        (json!(""), Denied::Subject),
        (json!("a".repeat(257)), Denied::Subject),
        (json!("ü".repeat(129)), Denied::Subject),
        (json!("alice\nadmin"), Denied::Subject),
        (json!("a\u{0}"), Denied::Subject),
        (json!("\u{85}"), Denied::Subject),
        // The name of a caller with an API key.
        (json!("key:0a1b2c3d"), Denied::Subject),
    ] {
        let refused = rig.with(json!({"sub": value})).await;
        assert_eq!(denied(refused), wanted, "{value}");
    }
    for good in ["a".repeat(256), "auth0|5f7c".to_owned(), "Zoë".to_owned()] {
        let accepted = rig.with(json!({"sub": good})).await.unwrap();
        assert_eq!(accepted.principal.subject, good);
    }
}

#[tokio::test]
async fn scopes_come_from_scope_and_scp_and_never_the_internal_one() {
    let rig = rig(None);
    for (claims, wanted) in [
        (json!({"scope": null}), &[][..]),
        (json!({"scope": ""}), &[]),
        (json!({"scope": " b  a "}), &["a", "b"]),
        (json!({"scope": null, "scp": "a b"}), &["a", "b"]),
        (json!({"scope": null, "scp": ["b", "a"]}), &["a", "b"]),
        (json!({"scope": "a", "scp": ["b"]}), &["a", "b"]),
        (json!({"scope": "dynamic-mcp:internal a"}), &["a"]),
        (
            json!({"scp": ["dynamic-mcp:internal"], "scope": "a"}),
            &["a"],
        ),
        (
            json!({"scp": ["x dynamic-mcp:internal"], "scope": "a"}),
            &["a", "x"],
        ),
    ] {
        let accepted = rig.with(claims.clone()).await.unwrap();
        assert_eq!(
            Vec::from_iter(&accepted.principal.scopes),
            wanted,
            "{claims}"
        );
        assert!(!accepted.principal.has(domain::Scope::Internal));
    }
    for scope in [
        "a \"b",
        "a\\b",
        "\u{fc}",
        "a\u{7f}",
        "a\u{0}",
        &"x".repeat(4_094),
        &(0..900).map(|n| format!(" s{n}")).collect::<String>(),
    ] {
        let refused = rig.with(json!({ "scope": scope })).await;
        assert_eq!(denied(refused), Denied::Scopes, "{scope}");
    }
    let most = "x".repeat(4_093);
    rig.with(json!({ "scope": most })).await.unwrap();
    for claims in [
        json!({"scope": ["a"]}),
        json!({"scope": 1}),
        json!({"scp": {"a": true}}),
        json!({"scp": [1]}),
    ] {
        let refused = rig.with(claims.clone()).await;
        assert_eq!(denied(refused), Denied::Claims, "{claims}");
    }
}

/// Whatever a token says fits into the identity that our services show each other.
#[tokio::test]
async fn the_largest_principal_can_be_handed_on() {
    use crate::internal::{Audience, MAX_TOKEN_BYTES, Signer, SigningKey};
    let rig = rig(Some("tenant"));
    let scopes: String = (0..695).map(|n| format!(" {n:02}")).collect();
    let name = "\"".repeat(256);
    let claims = json!({
        "scope": scopes, "sub": name, "client_id": name, "tenant": "t".repeat(64),
    });
    let accepted = rig.with(claims).await.unwrap();
    let context = domain::CallContext::new(
        accepted.principal,
        domain::RequestId::random(),
        Duration::from_secs(1),
    );
    let key = Arc::new(SigningKey::generate().unwrap());
    let signer = Signer::new(key, Audience::Executor);
    let signed = signer.sign(&context, "/dynamic_mcp.v1.Catalog/WatchTools", b"x");
    let length = signed.unwrap().len();
    assert!(length < MAX_TOKEN_BYTES, "{length}");
}

#[tokio::test]
async fn the_client_is_named_by_client_id_or_azp() {
    let rig = rig(None);
    for (claims, wanted) in [
        (json!({"azp": "other"}), Some("inspector")),
        (json!({"client_id": null, "azp": "other"}), Some("other")),
        (json!({"client_id": null}), None),
    ] {
        let accepted = rig.with(claims).await.unwrap();
        assert_eq!(accepted.principal.client_id.as_deref(), wanted);
    }
    for claims in [
        json!({"client_id": 1}),
        json!({"client_id": ""}),
        json!({"client_id": "c".repeat(257)}),
        json!({"client_id": null, "azp": ["x"]}),
    ] {
        assert_eq!(denied(rig.with(claims).await), Denied::Claims);
    }
}

#[tokio::test]
async fn the_tenant_comes_from_the_configured_claim_and_nowhere_else() {
    let with_claim = rig(Some("https://example.com/tenant"));
    let named = json!({"https://example.com/tenant": "acme", "tenant": "evil"});
    let accepted = with_claim.with(named.clone()).await.unwrap();
    assert_eq!(accepted.principal.tenant.as_str(), "acme");
    for tenant in [
        json!(null),
        json!(""),
        json!("a b"),
        json!("../acme"),
        json!("a".repeat(65)),
        json!(7),
        json!(["acme"]),
    ] {
        let refused = with_claim
            .with(json!({"https://example.com/tenant": tenant}))
            .await;
        assert_eq!(denied(refused), Denied::Tenant, "{tenant}");
    }
    let accepted = rig(None).with(named).await.unwrap();
    assert_eq!(accepted.principal.tenant.as_str(), "default");
}

#[tokio::test]
async fn a_claim_that_is_there_twice_is_refused() {
    let rig = rig(None);
    let claims = good_claims().to_string();
    let twice = claims.replacen('{', r#"{"sub":"mallory","#, 1);
    let header = encode(&json!({"alg": "EdDSA", "kid": "one"}));
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(twice));
    let signature = URL_SAFE_NO_PAD.encode(rig.key.sign("EdDSA", message.as_bytes()));
    let refused = rig.verifier.verify(&format!("{message}.{signature}")).await;
    assert_eq!(denied(refused), Denied::Claims);
}

/// Where a token says its keys are is of no interest: it is refused for its signature, and nothing
/// is fetched.
#[tokio::test]
async fn keys_that_the_token_brings_along_are_not_used() {
    let rig = rig(None);
    let canary = super::issuer::TestIssuer::start().await;
    let mallory = Key::ed25519();
    canary.publish(&[mallory.jwk("one")]);
    for (name, value) in [
        ("jku", json!(canary.url())),
        ("x5u", json!(canary.url())),
        ("jwk", mallory.jwk("one")),
        ("x5c", json!(["AAAA"])),
        ("iss", json!(canary.url())),
    ] {
        let mut header = json!({"alg": "EdDSA", "kid": "one"});
        header[name] = value;
        let token = mallory.token(&header, &good_claims());
        let refused = rig.verifier.verify(&token).await;
        assert_eq!(denied(refused), Denied::Signature, "{name}");
    }
    let foreign = claims_with(json!({"iss": canary.url()}));
    let token = rig
        .key
        .token(&json!({"alg": "EdDSA", "kid": "one"}), &foreign);
    assert_eq!(denied(rig.verifier.verify(&token).await), Denied::Issuer);
    assert_eq!(canary.asked(), 0);
}
