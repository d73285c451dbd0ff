//! Callers with API keys, alone and beside tokens: who gets in, and what the others are told.

use std::collections::BTreeSet;
use std::sync::Arc;

use auth::MadeKey;
use auth::token::{KeySource, TokenSettings, TokenVerifier};
use axum::body::Body;
use domain::TenantId;
use domain::keys::{ApiKeyRecord, KeptKey, NewKey};
use domain::principal::Roles;
use gateway::http::{HttpAuth, TokenAuth};
use gateway::keys::KeyRing;
use http::{HeaderValue, Request};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use telemetry::{BuildInfo, Metrics};
use testkit::issuer::{AUDIENCE, ISSUER, Issuer};

use super::rig::{Answer, Rig, legacy, modern, settings};

fn metrics() -> Arc<Metrics> {
    let build = BuildInfo {
        service: "gateway",
        version: "0",
        commit: "test",
    };
    Arc::new(Metrics::new(build).unwrap())
}

/// A key of the tenant `acme` and its text.
fn key(scopes: &[&str], change: impl FnOnce(&mut ApiKeyRecord)) -> (String, KeptKey) {
    let made = MadeKey::generate().unwrap();
    let key = NewKey {
        prefix: made.prefix,
        digest: made.digest,
        name: "test".to_owned(),
        subject: Some("robot".to_owned()),
        scopes: scopes
            .iter()
            .map(|&scope| scope.to_owned())
            .collect::<BTreeSet<_>>(),
        role: None,
        tier: Some("gold".to_owned()),
        expires_at: None,
    };
    let tenant = TenantId::parse("acme").unwrap();
    let mut record = ApiKeyRecord::made(key, tenant, "test", Timestamp::now());
    change(&mut record);
    let digest = made.digest;
    (
        made.text.expose_secret().to_owned(),
        KeptKey { record, digest },
    )
}

fn rig(keys: Vec<KeptKey>, issuer: Option<&Issuer>) -> Rig {
    let ring = Arc::new(KeyRing::new(keys, metrics()));
    let mut settings = settings(true);
    settings.auth = match issuer {
        None => HttpAuth::Keys(ring),
        Some(issuer) => {
            let keys = TokenSettings {
                keys: KeySource::PublicKeys(issuer.public_pem()),
                issuer: ISSUER.to_owned(),
                audience: AUDIENCE.to_owned(),
                tenant_claim: None,
                role_claim: None,
                roles: Roles::default(),
            };
            let verifier = Arc::new(TokenVerifier::new(keys, metrics()).unwrap());
            let tokens = TokenAuth::new(verifier, ISSUER.to_owned(), Vec::new(), None).unwrap();
            HttpAuth::TokensAndKeys(Arc::new(tokens), ring)
        }
    };
    Rig::with(settings)
}

fn with(mut request: Request<Body>, headers: &[(&'static str, &str)]) -> Request<Body> {
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        request.headers_mut().append(*name, value);
    }
    request
}

async fn ping(rig: &Rig, headers: &[(&'static str, &str)]) -> Answer {
    rig.answer(with(legacy("ping", json!({})), headers)).await
}

async fn count(rig: &Rig, line: &str) -> u64 {
    let metrics = Request::get("/metrics").body(Body::empty()).unwrap();
    let answer = rig.answer(metrics).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let value = text.lines().find_map(|of| of.strip_prefix(line));
    value.map_or(0, |value| value.trim().parse().unwrap())
}

#[tokio::test]
async fn the_caller_is_whom_the_key_names() {
    let (text, kept) = key(&["mcp:invoke"], |_| {});
    let rig = rig(vec![kept], None);
    let bearer = format!("Bearer {text}");
    for headers in [
        [("x-api-key", text.as_str())],
        [("authorization", bearer.as_str())],
    ] {
        let call = modern("tools/call", json!({"name": "whoami"}));
        let answer = rig.answer(with(call, &headers)).await;
        assert_eq!(answer.result()["structuredContent"]["admin"], false);
        let principal = rig.fake.last.lock().clone().unwrap().principal;
        assert_eq!(principal.subject, "robot");
        assert_eq!(principal.tenant.as_str(), "acme");
        assert_eq!(principal.tier.as_deref(), Some("gold"));
        assert_eq!(Vec::from_iter(&principal.scopes), ["mcp:invoke"]);
    }
    let line = "mcp_auth_decisions_total{decision=\"accepted\",method=\"api_key\"} ";
    assert_eq!(count(&rig, line).await, 2);
}

#[tokio::test]
async fn every_form_of_a_bad_key_is_told_apart() {
    let (text, kept) = key(&["mcp:invoke"], |_| {});
    let (other, _) = key(&[], |_| {});
    let past = Timestamp::now() - SignedDuration::from_secs(1);
    let (expired, old) = key(&["mcp:invoke"], |record| record.expires_at = Some(past));
    let (revoked, gone) = key(&["mcp:invoke"], |record| record.revoked_at = Some(past));
    let rig = rig(vec![kept, old, gone], None);
    let mixed = format!("{}{}", &text[..14], &other[14..]);
    let short = &text[..56];
    let bearer = format!("Bearer {text}");
    for (headers, status, decision) in [
        (vec![], 401, "missing"),
        (vec![("x-api-key", mixed.as_str())], 401, "wrong"),
        (vec![("x-api-key", expired.as_str())], 401, "expired"),
        (vec![("x-api-key", revoked.as_str())], 401, "revoked"),
        (vec![("x-api-key", other.as_str())], 401, "keys_unavailable"),
        (vec![("x-api-key", short)], 401, "malformed"),
        (vec![("x-api-key", "")], 401, "malformed"),
        (vec![("x-api-key", "\u{fc}")], 401, "malformed"),
        (vec![("x-api-key", bearer.as_str())], 401, "malformed"),
        (vec![("authorization", text.as_str())], 401, "scheme"),
        (vec![("authorization", "Basic YTpi")], 401, "scheme"),
        (
            vec![("authorization", "Bearer eyJ.e30.x")],
            401,
            "malformed",
        ),
        (vec![("authorization", "Bearer ")], 401, "malformed"),
        (
            vec![("x-api-key", text.as_str()), ("x-api-key", text.as_str())],
            400,
            "several",
        ),
        (
            vec![
                ("x-api-key", text.as_str()),
                ("authorization", bearer.as_str()),
            ],
            400,
            "several",
        ),
    ] {
        let line =
            format!("mcp_auth_decisions_total{{decision=\"{decision}\",method=\"api_key\"}} ");
        let before = count(&rig, &line).await;
        let answer = ping(&rig, &headers).await;
        assert_eq!(answer.status, status, "{headers:?}");
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{headers:?}");
        assert_eq!(
            count(&rig, &line).await,
            before + 1,
            "{decision}: {headers:?}"
        );
        let body = String::from_utf8(answer.body.to_vec()).unwrap();
        for secret in [&text, &other, &expired, &revoked] {
            assert!(!body.contains(&secret[14..]), "{body}");
        }
    }
    let request = legacy("ping", json!({}));
    let (mut parts, body) = request.into_parts();
    parts.uri = format!("/mcp?access_token={text}").parse().unwrap();
    let answer = rig.answer(Request::from_parts(parts, body)).await;
    assert_eq!(answer.status, 401, "a key in the query string");
    assert_eq!(ping(&rig, &[("x-api-key", &text)]).await.status, 200);
}

#[tokio::test]
async fn a_key_that_lacks_a_scope_is_told_which() {
    let (text, kept) = key(&["mcp:tools:read"], |_| {});
    let rig = rig(vec![kept], None);
    let call = modern("tools/call", json!({"name": "whoami"}));
    let answer = rig.answer(with(call, &[("x-api-key", &text)])).await;
    assert_eq!(answer.status, 403);
    let challenge = answer.header("www-authenticate");
    assert!(challenge.contains("scope=\"mcp:invoke\""), "{challenge}");
    assert!(
        challenge.contains("error=\"insufficient_scope\""),
        "{challenge}"
    );
    assert!(!challenge.contains("resource_metadata"), "{challenge}");
}

#[tokio::test]
async fn tokens_and_keys_go_side_by_side() {
    let issuer = Issuer::default();
    let (text, kept) = key(&["mcp:invoke"], |_| {});
    let rig = rig(vec![kept], Some(&issuer));
    let token = issuer.token("alice", "mcp:invoke", &Value::Null);
    let (by_key, by_token) = (format!("Bearer {text}"), format!("Bearer {token}"));
    let subject = || {
        rig.fake
            .last
            .lock()
            .clone()
            .unwrap()
            .principal
            .subject
            .clone()
    };
    for (headers, wanted) in [
        (vec![("authorization", by_key.as_str())], "robot"),
        (vec![("x-api-key", text.as_str())], "robot"),
        (vec![("authorization", by_token.as_str())], "alice"),
    ] {
        let call = modern("tools/call", json!({"name": "whoami"}));
        let answer = rig.answer(with(call, &headers)).await;
        assert_eq!(answer.status, 200, "{headers:?}");
        assert_eq!(subject(), wanted);
    }
    for (headers, status) in [
        (vec![], 401),
        (vec![("x-api-key", token.as_str())], 401),
        (vec![("authorization", "Bearer eyJ.e30.x")], 401),
        (
            vec![
                ("x-api-key", text.as_str()),
                ("authorization", by_token.as_str()),
            ],
            400,
        ),
    ] {
        assert_eq!(ping(&rig, &headers).await.status, status, "{headers:?}");
    }
    let nobody = ping(&rig, &[]).await;
    let challenge = nobody.header("www-authenticate");
    assert!(challenge.contains("resource_metadata="), "{challenge}");
}
