//! The metadata of RFC 9728.

use super::*;
use gateway::http::BadTokenAuth;

const PATH: &str = "/.well-known/oauth-protected-resource";

fn get(path: &str) -> Request<Body> {
    Request::get(path)
        .header("host", "localhost:8788")
        .body(Body::empty())
        .unwrap()
}

#[tokio::test]
async fn it_is_there_without_a_token_under_both_paths() {
    let guarded = Guarded::with(&["tools"], None);
    for path in [PATH.to_owned(), format!("{PATH}/mcp")] {
        let answer = guarded.rig.answer(get(&path)).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(
            answer.json(),
            json!({
                "resource": "http://localhost:8788/mcp",
                "authorization_servers": [ISSUER],
                "scopes_supported": ["tools", "mcp:invoke"],
                "bearer_methods_supported": ["header"],
                "resource_name": "dynamic-mcp",
            })
        );
        let mut head = get(&path);
        *head.method_mut() = http::Method::HEAD;
        let answer = guarded.rig.answer(head).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
        let mut post = get(&path);
        *post.method_mut() = http::Method::POST;
        assert_eq!(guarded.rig.answer(post).await.status, 405);
    }
    for path in [
        format!("{PATH}/"),
        format!("{PATH}/other"),
        format!("{PATH}x"),
    ] {
        assert_eq!(guarded.rig.answer(get(&path)).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn the_configured_url_is_the_resource_whatever_the_host_is() {
    let resource = "https://tools.example.com/team/mcp";
    let guarded = Guarded::with(&[], Some(resource));
    for path in [
        PATH.to_owned(),
        format!("{PATH}/mcp"),
        format!("{PATH}/team/mcp"),
    ] {
        let answer = guarded.rig.answer(get(&path)).await;
        assert_eq!(answer.json()["resource"], resource, "{path}");
    }
    let challenge = guarded.rig.answer(ping()).await;
    let wanted = r#"Bearer resource_metadata="https://tools.example.com/.well-known/oauth-protected-resource/team/mcp", "#;
    assert!(challenge.header("www-authenticate").starts_with(wanted));

    let root = Guarded::with(&[], Some("https://tools.example.com/"));
    let answer = root.rig.answer(get(PATH)).await;
    assert_eq!(answer.json()["resource"], "https://tools.example.com");
    let challenge = root.rig.answer(ping()).await;
    let wanted = r#"Bearer resource_metadata="https://tools.example.com/.well-known/oauth-protected-resource", "#;
    assert!(challenge.header("www-authenticate").starts_with(wanted));
}

#[tokio::test]
async fn it_is_not_there_without_tokens() {
    let rig = Rig::new(true);
    for path in [PATH.to_owned(), format!("{PATH}/mcp")] {
        assert_eq!(rig.answer(get(&path)).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn it_is_measured_as_one_route() {
    let guarded = Guarded::new();
    guarded.rig.answer(get(&format!("{PATH}/mcp"))).await;
    let line = format!(
        r#"mcp_request_duration_seconds_count{{method="GET",route="{PATH}",status_code="200"}}"#
    );
    assert_eq!(count(&guarded.rig, &line).await, 1);
}

#[test]
fn settings_that_cannot_be_used_are_refused() {
    let make = |scope: &str, resource: &str| {
        let issuer = Issuer::default();
        let keys = TokenSettings {
            keys: KeySource::PublicKeys(issuer.public_pem()),
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            tenant_claim: None,
            role_claim: None,
            roles: domain::principal::Roles::default(),
        };
        let build = BuildInfo {
            service: "gateway",
            version: "0",
            commit: "test",
        };
        let metrics = Arc::new(Metrics::new(build).unwrap());
        let verifier = Arc::new(TokenVerifier::new(keys, metrics).unwrap());
        let scopes = vec![scope.to_owned()];
        TokenAuth::new(verifier, ISSUER.to_owned(), scopes, Some(resource))
    };
    let good = "https://tools.example.com/mcp";
    assert!(make("a:b/c", good).is_ok());
    for scope in ["", "a b", "a\"b", "a\\b", "ü", "a\n"] {
        let refused = make(scope, good).unwrap_err();
        assert!(matches!(refused, BadTokenAuth::Scope(_)), "{scope:?}");
    }
    for resource in [
        "",
        "tools.example.com/mcp",
        "ftp://tools.example.com/mcp",
        "https://tools.example.com/mcp?x=1",
        "https://tools.example.com/mcp#x",
        "https://user@tools.example.com/mcp",
        "https:///mcp",
    ] {
        let refused = make("a", resource).unwrap_err();
        assert!(matches!(refused, BadTokenAuth::Resource(_)), "{resource}");
    }
}
