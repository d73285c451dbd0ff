//! 401, 400 and 403, and the challenges that say what to do.

use super::*;

const METADATA: &str =
    r#"resource_metadata="http://localhost/.well-known/oauth-protected-resource/mcp""#;

/// `(status, WWW-Authenticate)`.
async fn refused(guarded: &Guarded, request: Request<Body>) -> (u16, String) {
    let answer = guarded.rig.answer(request).await;
    let challenge = answer.header("www-authenticate").to_owned();
    let status = answer.status.as_u16();
    let body = answer.json();
    assert_eq!(body["error"]["code"], status, "{body}");
    let word = match status {
        400 => "invalid_argument",
        401 => "unauthenticated",
        _ => "permission_denied",
    };
    assert_eq!(body["error"]["data"]["code"], word, "{body}");
    (status, challenge)
}

#[tokio::test]
async fn without_a_credential_the_challenge_names_the_metadata_and_no_error() {
    let guarded = Guarded::new();
    let wanted = format!(r#"Bearer {METADATA}, scope="mcp:invoke""#);
    for method in ["POST", "GET", "DELETE", "PUT", "PATCH"] {
        let mut request = post(&[], "this is not even JSON");
        *request.method_mut() = method.parse().unwrap();
        assert_eq!(
            refused(&guarded, request).await,
            (401, wanted.clone()),
            "{method}"
        );
    }
    // Whoever has no token learns nothing else: not what is allowed as Host, nor what is too long.
    let foreign = post(&[("host", "evil.example.com")], "{}");
    let (status, challenge) = refused(&guarded, foreign).await;
    assert_eq!(status, 401);
    assert!(challenge.contains("http://evil.example.com/.well-known/"));
    for credential in ["Basic YTpi", "DPoP a.b.c", "Digest x"] {
        let (status, challenge) = refused(&guarded, with(ping(), credential)).await;
        assert_eq!((status, challenge), (401, wanted.clone()), "{credential}");
    }
}

#[tokio::test]
async fn the_body_is_not_read_before_the_caller_is_known() {
    let guarded = Guarded::new();
    let never = Body::from_stream(futures::stream::pending::<Result<&str, std::io::Error>>());
    assert_eq!(refused(&guarded, post(&[], never)).await.0, 401);
    assert_eq!(guarded.rig.fake.calls(), 0);
}

#[tokio::test]
async fn a_bad_token_is_invalid_and_is_told_why_but_not_shown() {
    let guarded = Guarded::new();
    let stranger = Issuer::default().token("alice", "mcp:admin", &json!({}));
    let past = jiff::Timestamp::now().as_second() - 31;
    let cases = [
        (String::new(), "no readable token"),
        ("garbage".to_owned(), "not a signed JWT"),
        ("a.b".to_owned(), "not a signed JWT"),
        ("\u{fc}.b.c".to_owned(), "no readable token"),
        ("x".repeat(15_000), "not a signed JWT"),
        (stranger, "signature of the token is wrong"),
        (guarded.token("", json!({ "exp": past })), "has expired"),
        (
            guarded.token("", json!({"iss": "https://evil.test/"})),
            "another issuer",
        ),
        (
            guarded.token("", json!({"aud": ["a", "b"]})),
            "another audience",
        ),
        (
            guarded.token("", json!({"exp": null})),
            "lacks iss, aud, exp or sub",
        ),
        (
            guarded.token("", json!({"tenant": "../x"})),
            "names no tenant",
        ),
    ];
    for (token, why) in cases {
        let answer = guarded
            .rig
            .answer(with(ping(), &format!("Bearer {token}")))
            .await;
        assert_eq!(answer.status, 401, "{why}");
        let challenge = answer.header("www-authenticate");
        let start = format!(r#"Bearer {METADATA}, scope="mcp:invoke", error="invalid_token", "#);
        assert!(challenge.starts_with(&start), "{challenge}");
        assert!(challenge.contains(why), "{challenge}: {why}");
        assert!(
            answer.json()["error"]["message"]
                .as_str()
                .unwrap()
                .contains(why)
        );
        if !token.is_empty() && token.is_ascii() {
            let body = String::from_utf8_lossy(&answer.body);
            assert!(!body.contains(&token) && !challenge.contains(&token));
        }
    }
    let long = with(ping(), &format!("Bearer {}", "x".repeat(64 * 1024)));
    assert_eq!(guarded.rig.answer(long).await.status, 431);
}

#[tokio::test]
async fn one_credential_in_one_place() {
    let guarded = Guarded::new();
    let bearer = format!("Bearer {}", guarded.token("mcp:invoke", json!({})));
    let twice = with(with(ping(), &bearer), &bearer);
    let (status, challenge) = refused(&guarded, twice).await;
    assert_eq!(status, 400);
    assert!(
        challenge.contains(r#"error="invalid_request""#),
        "{challenge}"
    );
    let token = guarded.token("mcp:invoke", json!({}));
    let in_query = || {
        let mut request = ping();
        *request.uri_mut() = format!("/mcp?access_token={token}").parse().unwrap();
        request
    };
    let (status, challenge) = refused(&guarded, in_query()).await;
    assert_eq!(status, 401);
    assert!(!challenge.contains("error="), "{challenge}");
    assert_eq!(refused(&guarded, with(in_query(), &bearer)).await.0, 400);
}

#[tokio::test]
async fn scopes_that_every_token_needs() {
    let guarded = Guarded::with(&["tools", "mcp:tools:read"], None);
    let challenge = format!(
        r#"Bearer {METADATA}, scope="tools mcp:tools:read", error="insufficient_scope", error_description="the token lacks a scope""#
    );
    for scope in [
        "",
        "tools",
        "mcp:tools:read",
        "mcp:admin",
        "Tools mcp:tools:read",
    ] {
        let token = guarded.token(scope, json!({}));
        let request = with(ping(), &format!("Bearer {token}"));
        assert_eq!(
            refused(&guarded, request).await,
            (403, challenge.clone()),
            "{scope:?}"
        );
    }
    for scope in [
        "tools mcp:tools:read",
        "mcp:tools:read x tools",
        "tools mcp:admin",
    ] {
        let answer = guarded.send(scope, ping()).await;
        assert_eq!(answer.status, 200, "{scope}");
    }
    let (_, first) = refused(&guarded, ping()).await;
    assert!(
        first.contains(r#"scope="tools mcp:tools:read mcp:invoke""#),
        "{first}"
    );
}

#[tokio::test]
async fn the_scope_of_a_method_or_built_in_is_asked_for() {
    let guarded = Guarded::with(&["tools"], None);
    let call = |name: &str| json!({"name": name, "arguments": {}});
    for (scope, method, params, needed) in [
        ("tools", "tools/call", call("echo"), "mcp:invoke"),
        ("tools", "tools/call", call("no.such.tool"), "mcp:invoke"),
        ("tools", "resources/list", json!({}), "mcp:invoke"),
        (
            "tools mcp:invoke",
            "tools/call",
            call("writes"),
            "mcp:tools:write",
        ),
    ] {
        for request in [
            modern(method, params.clone()),
            legacy(method, params.clone()),
        ] {
            let token = guarded.token(scope, json!({}));
            let request = with(request, &format!("Bearer {token}"));
            let answer = guarded.rig.answer(request).await;
            let body = answer.json();
            assert_eq!(answer.status, 403, "{body}");
            assert_eq!(body["error"]["data"]["scope"], needed, "{body}");
            assert!(body["id"] == 7 || body["id"] == "seven", "{body}");
            let challenge = answer.header("www-authenticate");
            let wanted = format!(
                r#"Bearer {METADATA}, scope="tools {needed}", error="insufficient_scope", "#
            );
            assert!(challenge.starts_with(&wanted), "{challenge}");
        }
    }
    assert_eq!(guarded.rig.fake.calls(), 0);
    let fine = guarded.send("tools", modern("tools/list", json!({}))).await;
    assert_eq!(fine.status, 200);
}

#[tokio::test]
async fn in_a_batch_the_lack_is_the_answer_of_its_message() {
    let guarded = Guarded::new();
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "ping"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "writes"}},
    ]);
    let answer = guarded
        .send("mcp:invoke", post(&[], batch.to_string()))
        .await;
    assert_eq!(answer.status, 200);
    let answers = answer.json();
    assert_eq!(answers[0]["result"], json!({}));
    assert_eq!(answers[1]["error"]["data"]["scope"], "mcp:tools:write");
}

#[tokio::test]
async fn a_host_that_could_break_out_of_the_challenge_is_left_out() {
    let guarded = Guarded::new();
    for host in ["a\"b", "a,b", "user@host", "a b", "x;y"] {
        let (status, challenge) = refused(&guarded, post(&[("host", host)], "{}")).await;
        assert_eq!(status, 401, "{host}");
        assert_eq!(challenge, r#"Bearer scope="mcp:invoke""#, "{host}");
    }
}
