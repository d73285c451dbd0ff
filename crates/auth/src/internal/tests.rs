//! Every way in which an identity can be wrong.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use domain::{CallContext, ErrorCode, RequestId, Scope};
use http::{HeaderMap, HeaderValue};
use jsonwebtoken::{EncodingKey, Header, get_current_timestamp};
use sha2::{Digest as _, Sha256};

use super::*;

const METHOD: &str = "/dynamic_mcp.v1.Runner/Run";
const MESSAGE: &[u8] = b"the first message";

struct Setup {
    key: Arc<SigningKey>,
    verifier: Verifier,
    context: CallContext,
}

fn setup() -> Setup {
    let key = Arc::new(SigningKey::generate().unwrap());
    let mut principal = Principal::anonymous(&[Scope::Invoke, Scope::ToolsRead]);
    principal.client_id = Some("client".to_owned());
    Setup {
        verifier: Verifier::new(VerifyKeys::of(&key), Audience::Executor),
        context: CallContext::new(
            Arc::new(principal),
            RequestId::random(),
            std::time::Duration::from_secs(1),
        ),
        key,
    }
}

impl Setup {
    fn claims(&self) -> Claims {
        Signer::new(Arc::clone(&self.key), Audience::Executor).claims(
            &self.context,
            METHOD,
            MESSAGE,
        )
    }

    fn present(&self, token: &str) -> domain::Result<Caller> {
        self.present_once(token, false)
    }

    fn present_once(&self, token: &str, once: bool) -> domain::Result<Caller> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_str(token).unwrap());
        let claims = self.verifier.check_headers(&headers, METHOD)?;
        self.verifier
            .check_message(claims, &Sha256::digest(MESSAGE).into(), once)
    }

    fn refusal(&self, change: impl FnOnce(&mut Claims)) -> String {
        let mut claims = self.claims();
        change(&mut claims);
        let error = self.present(&self.key.sign(&claims).unwrap()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unauthenticated);
        error.message().to_owned()
    }
}

#[test]
fn a_good_token_names_the_caller() {
    let setup = setup();
    let caller = setup
        .present(&setup.key.sign(&setup.claims()).unwrap())
        .unwrap();
    assert_eq!(caller.principal, setup.context.principal);
    assert_eq!(caller.call_id, setup.context.call_id);
}

#[test]
fn claims_that_do_not_fit_are_refused() {
    let setup = setup();
    let now = get_current_timestamp();
    let cases = [
        setup.refusal(|claims| (claims.iat, claims.exp) = (now - 120, now - 60)),
        setup.refusal(|claims| claims.aud = "registry".to_owned()),
        setup.refusal(|claims| claims.mth = "/dynamic_mcp.v1.Catalog/Create".to_owned()),
        setup.refusal(|claims| claims.dig = digest(b"another message")),
        setup.refusal(|claims| claims.dig = String::new()),
        setup.refusal(|claims| claims.exp += 3600),
        setup.refusal(|claims| (claims.iat, claims.exp) = (now + 600, now + 660)),
        setup.refusal(|claims| claims.exp = claims.iat - 1),
        setup.refusal(|claims| claims.iss = "someone".to_owned()),
        setup.refusal(|claims| claims.jti = "1".to_owned()),
        setup.refusal(|claims| claims.cid = "1".to_owned()),
        setup.refusal(|claims| claims.sub = String::new()),
        setup.refusal(|claims| claims.sub = "x".repeat(257)),
        setup.refusal(|claims| claims.tenant = "../other".to_owned()),
        setup.refusal(|claims| claims.scopes = vec!["x".repeat(100); 100]),
    ];
    assert_eq!(
        cases,
        [
            "the identity has expired",
            "the identity is for another service",
            "the identity is for another method",
            "the identity is for another message",
            "the identity is for another message",
            "the identity's times are out of range",
            "the identity's times are out of range",
            "the identity's times are out of range",
            "the identity's issuer is not its key",
            "the identity has no id",
            "the identity names no proper principal",
            "the identity names no proper principal",
            "the identity names no proper principal",
            "the identity names no proper principal",
            "the identity is too long",
        ]
    );
}

#[test]
fn a_token_of_another_key_or_algorithm_is_refused() {
    let setup = setup();
    let claims = setup.claims();
    let refusal = |token: &str| setup.present(token).unwrap_err().message().to_owned();

    let stranger = SigningKey::generate().unwrap();
    let mut foreign = claims.clone();
    foreign.iss = stranger.id();
    assert_eq!(
        refusal(&stranger.sign(&foreign).unwrap()),
        "the identity's key is not known"
    );

    // A stranger who names our key.
    let forged = token(
        &format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, setup.key.id()),
        &claims,
        &[7; 64],
    );
    assert_eq!(refusal(&forged), "the identity's signature is wrong");

    // alg none, with and without a signature.
    for signature in [&[][..], &[7; 64]] {
        let header = format!(r#"{{"alg":"none","kid":"{}"}}"#, setup.key.id());
        assert_eq!(
            refusal(&token(&header, &claims, signature)),
            "the identity is malformed"
        );
    }

    // HS256 with the public key as the secret, in each form in which somebody may have it.
    let pem = setup.key.public_pem();
    let block = pem::parse(&pem).unwrap();
    for secret in [pem.as_bytes(), block.contents(), &block.contents()[12..]] {
        let mut header = Header::new(jsonwebtoken::Algorithm::HS256);
        header.kid = Some(setup.key.id());
        let token =
            jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret)).unwrap();
        assert_eq!(refusal(&token), "the identity's algorithm is not accepted");
    }
}

#[test]
fn a_changed_or_malformed_token_is_refused() {
    let setup = setup();
    let good = setup.key.sign(&setup.claims()).unwrap();
    let mut parts: Vec<&str> = good.split('.').collect();
    let mut claims = setup.claims();
    claims.scopes.push("mcp:admin".to_owned());
    let changed = BASE64.encode(serde_json::to_vec(&claims).unwrap());
    parts[1] = &changed;
    for bad in [
        "",
        ".",
        "..",
        "a.b.c",
        &good[..good.len() - 9],
        &parts.join("."),
        &format!("{good}.x"),
    ] {
        let error = setup.present(bad).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unauthenticated, "{bad}");
    }
    // A claim of the wrong type is not "absent".
    let text = serde_json::to_string(&setup.claims()).unwrap();
    let exp = format!("\"exp\":{}", setup.claims().exp);
    assert!(text.contains(&exp));
    let wrong_type = text.replace(&exp, "\"exp\":\"never\"");
    let mut header = Header::new(jsonwebtoken::Algorithm::EdDSA);
    header.kid = Some(setup.key.id());
    let raw: serde_json::Value = serde_json::from_str(&wrong_type).unwrap();
    let token = setup.key.sign_raw(&raw);
    assert_eq!(
        setup.present(&token).unwrap_err().code(),
        ErrorCode::Unauthenticated
    );
}

#[test]
fn the_header_has_to_be_there_once() {
    let setup = setup();
    let mut headers = HeaderMap::new();
    let refusal = |headers: &HeaderMap| {
        setup
            .verifier
            .check_headers(headers, METHOD)
            .unwrap_err()
            .message()
            .to_owned()
    };
    assert_eq!(refusal(&headers), "the request carries no identity");
    let token = HeaderValue::from_str(&setup.key.sign(&setup.claims()).unwrap()).unwrap();
    headers.append(HEADER, token.clone());
    assert!(setup.verifier.check_headers(&headers, METHOD).is_ok());
    headers.append(HEADER, token);
    assert_eq!(refusal(&headers), "the request carries several identities");
}

#[test]
fn a_token_with_effects_is_accepted_once() {
    let setup = setup();
    let token = setup.key.sign(&setup.claims()).unwrap();
    assert!(setup.present_once(&token, true).is_ok());
    let again = setup.present_once(&token, true).unwrap_err();
    assert_eq!(again.code(), ErrorCode::AlreadyExists);
    // The next request of the same call has a token of its own.
    let next = setup.key.sign(&setup.claims()).unwrap();
    assert!(setup.present_once(&next, true).is_ok());
}

fn token(header: &str, claims: &Claims, signature: &[u8]) -> String {
    let claims = serde_json::to_vec(claims).unwrap();
    [
        BASE64.encode(header),
        BASE64.encode(claims),
        BASE64.encode(signature),
    ]
    .join(".")
}

/// Claims of a principal of `tenant` with these scopes, for `audience`.
pub(crate) fn claims_of(audience: &str, tenant: &str, scopes: &[&str]) -> Claims {
    let mut claims = setup().claims();
    audience.clone_into(&mut claims.aud);
    tenant.clone_into(&mut claims.tenant);
    claims.scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
    claims
}

/// A verifier of the executor that lists the key of `setup` as the one of `billing`.
fn listed(setup: &Setup) -> Verifier {
    let text = format!(
        "[[keys]]\nissuer = \"billing\"\naudiences = [\"executor\"]\nscopes = [\"mcp:invoke\"]\n\
         tenants = [\"acme\"]\npublic_key = \"\"\"{}\"\"\"\n",
        setup.key.public_pem()
    );
    Verifier::new(VerifyKeys::parse(&text).unwrap(), Audience::Executor)
}

#[test]
fn a_principal_beyond_its_keys_bounds_is_refused() {
    let mut setup = setup();
    setup.verifier = listed(&setup);
    let good = |change: fn(&mut Claims)| {
        let mut claims = setup.claims();
        claims.tenant = "acme".to_owned();
        claims.scopes = vec!["mcp:invoke".to_owned()];
        change(&mut claims);
        setup.present(&setup.key.sign(&claims).unwrap())
    };
    assert!(good(|_| {}).is_ok());
    assert!(good(|claims| claims.iss = "billing".to_owned()).is_ok());
    let changes: [fn(&mut Claims); 3] = [
        |claims| claims.tenant = "default".to_owned(),
        |claims| claims.scopes.push("mcp:admin".to_owned()),
        |claims| claims.scopes = vec!["dynamic-mcp:internal".to_owned()],
    ];
    for change in changes {
        let error = good(change).unwrap_err();
        assert_eq!(error.code(), ErrorCode::PermissionDenied, "{error}");
    }
    let error = good(|claims| claims.iss = "gateway".to_owned()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unauthenticated);
}

#[test]
fn keys_are_replaced_while_requests_come() {
    let setup = setup();
    let next = SigningKey::generate().unwrap();
    let of_next = |iss: String| Claims {
        iss,
        ..setup.claims()
    };
    let old = setup.key.sign(&setup.claims()).unwrap();
    let new = next.sign(&of_next(next.id())).unwrap();
    assert!(setup.present(&new).is_err());
    let both = setup.key.public_pem() + &next.public_pem();
    setup
        .verifier
        .replace_keys(VerifyKeys::parse(&both).unwrap());
    assert!(setup.present(&old).is_ok() && setup.present(&new).is_ok());
    setup.verifier.replace_keys(VerifyKeys::of(&next));
    assert!(setup.present(&old).is_err() && setup.present(&new).is_ok());

    let shared = SharedKey::from(Arc::clone(&setup.key));
    let signer = Signer::new(shared.clone(), Audience::Executor);
    let signed = |signer: &Signer| {
        let token = signer.sign(&setup.context, METHOD, MESSAGE).unwrap();
        setup.present(token.to_str().unwrap())
    };
    assert!(
        signed(&signer).is_err(),
        "the old key is not known any more"
    );
    shared.replace(next);
    assert!(
        signed(&signer).is_ok(),
        "a signer made before has the new key"
    );
}
