//! What has no valid identity does not get in, by any method.

use std::time::Duration;

use auth::internal::{Audience, Claims, SigningKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use domain::{Catalog as _, Scope};
use testkit::{FakeRunner, call, context, draft};
use tonic::Code;

use super::raw::{self, Named, reason};
use super::setup::{Transport, World, within};

const IDENTITY: &str = "dynamic-mcp-identity";
const DELETE: &str = "/dynamic_mcp.v1.Catalog/Delete";
const GET: &str = "/dynamic_mcp.v1.Catalog/Get";

const METHODS: [&str; 21] = [
    "/dynamic_mcp.v1.Runner/Run",
    "/dynamic_mcp.v1.Catalog/Create",
    "/dynamic_mcp.v1.Catalog/Update",
    DELETE,
    GET,
    "/dynamic_mcp.v1.Catalog/GetCode",
    "/dynamic_mcp.v1.Catalog/Watch",
    "/dynamic_mcp.v1.Fleet/Heartbeat",
    "/dynamic_mcp.v1.Fleet/Leave",
    "/dynamic_mcp.v1.Fleet/Watch",
    "/dynamic_mcp.v1.Audit/Head",
    "/dynamic_mcp.v1.Audit/Append",
    "/dynamic_mcp.v1.Audit/Segments",
    "/dynamic_mcp.v1.Audit/Search",
    "/dynamic_mcp.v1.Keys/Create",
    "/dynamic_mcp.v1.Keys/List",
    "/dynamic_mcp.v1.Keys/Revoke",
    "/dynamic_mcp.v1.Keys/Rotate",
    "/dynamic_mcp.v1.Keys/Watch",
    "/dynamic_mcp.v1.Keys/Touch",
    "/nothing.we.Know/Of",
];

/// How a test spoils good claims.
type Change = fn(&mut Claims);

fn named(name: &str) -> Named {
    Named {
        tenant: "default".to_owned(),
        name: name.to_owned(),
    }
}

fn claims(world: &World, path: &str, message: &Named) -> Claims {
    let admin = context(&[Scope::Admin]);
    world
        .identity
        .signer(Audience::Executor)
        .claims(&admin, path, &raw::bytes(message))
}

fn sign(world: &World, claims: &Claims) -> Vec<(&'static str, String)> {
    vec![(IDENTITY, world.identity.key().sign(claims).unwrap())]
}

#[tokio::test]
async fn no_method_answers_without_an_identity() {
    let world = World::with(Transport::Tcp, FakeRunner::answering("1")).await;
    let channel = raw::connect(world.address()).await;
    for path in METHODS {
        let forged = [
            vec![],
            vec![
                ("x-user", "admin".to_owned()),
                ("authorization", "Bearer x".to_owned()),
            ],
            vec![(IDENTITY, String::new())],
            vec![(IDENTITY, "x".repeat(9000))],
            vec![(IDENTITY, format!("{0}.{0}.{0}", "e30"))],
        ];
        for headers in forged {
            let status = raw::unary(&channel, path, &headers, named("abc"))
                .await
                .unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "{path} {headers:?}");
            assert_eq!(reason(&status), "unauthenticated");
        }
    }
    assert!(world.runner.calls().is_empty());
    let text = world.metrics.encode().unwrap();
    assert!(
        text.contains("code=\"UNAUTHENTICATED\",method=\"Delete\""),
        "refusals are counted"
    );
}

#[tokio::test]
async fn an_identity_is_good_for_exactly_its_request() {
    let world = World::new(Transport::Tcp).await;
    let admin = context(&[Scope::Admin]);
    world.catalog.create(&admin, draft("abc")).await.unwrap();
    let channel = raw::connect(world.address()).await;
    let message = named("abc");
    let changes: [(&str, Change); 10] = [
        ("expired", |claims| {
            (claims.iat, claims.exp) = (claims.iat - 100, claims.exp - 100)
        }),
        ("audience", |claims| claims.aud = "registry".to_owned()),
        ("method", |claims| claims.mth = GET.to_owned()),
        ("message", |claims| {
            claims.dig = auth::internal::digest(b"other")
        }),
        ("lifetime", |claims| claims.exp += 1),
        ("future", |claims| {
            (claims.iat, claims.exp) = (claims.iat + 50, claims.exp + 50)
        }),
        ("issuer", |claims| claims.iss = "other".to_owned()),
        ("tenant", |claims| claims.tenant = String::new()),
        ("subject", |claims| claims.sub = String::new()),
        ("call", |claims| claims.cid = "x".to_owned()),
    ];
    for (what, change) in changes {
        let mut claims = claims(&world, DELETE, &message);
        change(&mut claims);
        let headers = sign(&world, &claims);
        let status = raw::unary(&channel, DELETE, &headers, message.clone())
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{what}");
    }
    // Another key, and our key's name on a foreign or missing signature.
    let good = claims(&world, DELETE, &message);
    let stranger = SigningKey::generate().unwrap().sign(&good).unwrap();
    let body = BASE64.encode(serde_json::to_vec(&good).unwrap());
    let none = BASE64.encode(format!(
        r#"{{"alg":"none","kid":"{}"}}"#,
        world.identity.key().id()
    ));
    let stranger_signature = stranger.rsplit('.').next().unwrap().to_owned();
    let ours = world.identity.key().sign(&good).unwrap();
    let ours_header = ours.split('.').next().unwrap();
    for token in [
        stranger,
        format!("{none}.{body}."),
        format!("{ours_header}.{body}."),
        format!("{ours_header}.{body}.{stranger_signature}"),
    ] {
        let headers = [(IDENTITY, token.clone())];
        let status = raw::unary(&channel, DELETE, &headers, message.clone())
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{token}");
    }
    // Two identities, one of them good.
    let twice = [(IDENTITY, ours.clone()), (IDENTITY, ours.clone())];
    let status = raw::unary(&channel, DELETE, &twice, message.clone())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);

    assert!(
        world
            .catalog
            .get(&admin, &draft("abc").name, None)
            .await
            .is_ok(),
        "nothing was done"
    );
    raw::unary(&channel, DELETE, &[(IDENTITY, ours)], message)
        .await
        .unwrap();
    assert!(
        world
            .catalog
            .get(&admin, &draft("abc").name, None)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_request_with_effects_is_done_once() {
    let world = World::new(Transport::Tcp).await;
    let admin = context(&[Scope::Admin]);
    world.catalog.create(&admin, draft("abc")).await.unwrap();
    let channel = raw::connect(world.address()).await;
    let message = named("abc");

    let reading = sign(&world, &claims(&world, GET, &message));
    for _ in 0..2 {
        raw::unary(&channel, GET, &reading, message.clone())
            .await
            .unwrap();
    }
    let deleting = sign(&world, &claims(&world, DELETE, &message));
    raw::unary(&channel, DELETE, &deleting, message.clone())
        .await
        .unwrap();
    world.catalog.create(&admin, draft("abc")).await.unwrap();
    let status = raw::unary(&channel, DELETE, &deleting, message.clone())
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::AlreadyExists, "already_exists")
    );
    assert!(
        world
            .catalog
            .get(&admin, &draft("abc").name, None)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_message_may_not_name_another_tenant_than_the_identity() {
    let world = World::new(Transport::Tcp).await;
    let channel = raw::connect(world.address()).await;
    for (tenant, code) in [
        ("other", Code::PermissionDenied),
        ("", Code::InvalidArgument),
    ] {
        let message = Named {
            tenant: tenant.to_owned(),
            name: "abc".to_owned(),
        };
        let headers = sign(&world, &claims(&world, GET, &message));
        let status = raw::unary(&channel, GET, &headers, message)
            .await
            .unwrap_err();
        assert_eq!(status.code(), code, "{tenant:?}");
    }
}

#[tokio::test]
async fn headers_beside_the_identity_change_nothing_but_time_and_ids() {
    use domain::Runner as _;
    let world = World::with(Transport::Tcp, FakeRunner::hanging()).await;
    let mut caller = context(&[Scope::Invoke]);
    // An hour is more than any request gets; the server has its own bound.
    caller.budget = Duration::from_secs(3600);
    let run = world.runner_client().run(&caller, call("")).await.unwrap();
    let (seen, _) = world.runner.calls().remove(0);
    assert_eq!(seen.budget, Duration::from_secs(600));
    drop(run);

    let message = named("abc");
    let mut headers = sign(&world, &claims(&world, GET, &message));
    headers.push(("dynamic-mcp-budget-ms", "0".to_owned()));
    let channel = raw::connect(world.address()).await;
    let status = within(2, raw::unary(&channel, GET, &headers, message))
        .await
        .unwrap_err();
    // With no time at all it may or may not be done; it does not hang.
    assert!(
        matches!(status.code(), Code::DeadlineExceeded | Code::NotFound),
        "{status:?}"
    );
}
