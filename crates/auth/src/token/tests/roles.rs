//! Roles that a token names, and what they give.

use super::*;

/// What a token with these claims gives, or why it is refused; roles are in the claim `claim`.
async fn given(claim: Option<&str>, entries: &[&str], claims: Value) -> Result<String, Denied> {
    let key = Key::ed25519();
    let mut verifier = knows(&[key.jwk("one")], None);
    verifier.expected.role_claim = claim.map(str::to_owned);
    let entries: Vec<String> = entries.iter().map(|&entry| entry.to_owned()).collect();
    verifier.expected.roles = Roles::with(&entries).unwrap();
    let header = json!({"alg": "EdDSA", "kid": "one"});
    let token = key.token(&header, &claims_with(claims));
    let accepted = verifier.verify(&token).await?;
    let scopes: Vec<&str> = accepted
        .principal
        .scopes
        .iter()
        .map(String::as_str)
        .collect();
    Ok(scopes.join(" "))
}

#[tokio::test]
async fn roles_give_their_scopes_besides_those_of_the_token() {
    let viewer = "mcp:tools:read";
    let operator = "mcp:invoke mcp:sandbox mcp:tools:read";
    for (claims, wanted) in [
        (json!({"scope": "", "roles": "viewer"}), viewer),
        (
            json!({"scope": "", "roles": ["viewer", "operator"]}),
            operator,
        ),
        (json!({"scope": "", "roles": "viewer operator"}), operator),
        (json!({"scope": "x", "roles": ["admin"]}), "mcp:admin x"),
        (json!({"scope": "x", "roles": []}), "x"),
        (json!({"scope": "x"}), "x"),
        // Nobody knows these.
        (
            json!({"scope": "", "roles": ["Admin", "root", "mcp:admin", ""]}),
            "",
        ),
        // And this one is not the claim.
        (
            json!({"scope": "", "role": "admin", "groups": ["admin"]}),
            "",
        ),
    ] {
        let found = given(Some("roles"), &[], claims.clone()).await;
        assert_eq!(found.as_deref(), Ok(wanted), "{claims}");
    }
}

#[tokio::test]
async fn without_the_setting_no_claim_gives_a_role() {
    let claims = json!({"scope": "x", "roles": ["admin"], "realm_access": {"roles": ["admin"]}});
    assert_eq!(given(None, &[], claims).await.as_deref(), Ok("x"));
}

#[tokio::test]
async fn the_claim_may_be_within_an_object_or_have_dots_in_its_name() {
    let nested = json!({"scope": "", "realm_access": {"roles": ["viewer"]}});
    for (claim, claims) in [
        ("realm_access.roles", nested.clone()),
        (
            "https://example.com/roles",
            json!({"scope": "", "https://example.com/roles": ["viewer"]}),
        ),
    ] {
        let found = given(Some(claim), &[], claims).await;
        assert_eq!(found.as_deref(), Ok("mcp:tools:read"), "{claim}");
    }
    for missing in [
        "realm_access.groups",
        "realm_access",
        "roles",
        "a.b.c.d",
        ".",
    ] {
        let found = given(Some(missing), &[], nested.clone()).await;
        let refused = (missing == "realm_access").then_some(Denied::Claims);
        assert_eq!(found.err(), refused, "{missing}");
    }
}

#[tokio::test]
async fn a_claim_of_a_wrong_type_is_refused() {
    for roles in [
        json!(1),
        json!(true),
        json!({"admin": true}),
        json!([1]),
        json!([["admin"]]),
    ] {
        let found = given(Some("roles"), &[], json!({ "roles": roles })).await;
        assert_eq!(found, Err(Denied::Claims), "{roles}");
    }
}

#[tokio::test]
async fn what_roles_mean_is_configured() {
    let entries = ["viewer=mcp:invoke", "team=team:a team:b", "admin="];
    for (role, wanted) in [
        ("viewer", "mcp:invoke"),
        ("team", "team:a team:b"),
        ("admin", ""),
    ] {
        let found = given(Some("roles"), &entries, json!({"scope": "", "roles": role})).await;
        assert_eq!(found.as_deref(), Ok(wanted), "{role}");
    }
    // All together fit into the identity that our services show each other, or the token is refused.
    let large = format!("large={}", "x".repeat(2_000));
    let claims = json!({"scope": "y".repeat(4_000), "roles": "large"});
    assert_eq!(
        given(Some("roles"), &[&large], claims).await,
        Err(Denied::Scopes)
    );
}
