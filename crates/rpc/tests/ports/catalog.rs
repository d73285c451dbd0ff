//! The catalogue through gRPC.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::tool::{CachePolicy, CacheScope, Change, EngineChoice, Isolation, RateLimit, Runtime};
use domain::{
    Catalog, CatalogChange, CatalogVersion, Error, ErrorCode, Revision, Scope, ToolName, ToolPatch,
};
use futures::StreamExt as _;
use testkit::{context, draft, raw};

use super::setup::{TRANSPORTS, Transport, World, within};

#[tokio::test]
async fn every_method_round_trips_on_every_transport() {
    for transport in TRANSPORTS {
        let world = World::new(transport).await;
        let client = world.catalog_client();
        let admin = context(&[Scope::Admin]);
        let mut full = draft("full.tool");
        full.code = Arc::from("return 'ünï 🦀\\u0000';");
        full.spec.title = Some("Titel".to_owned());
        full.spec.input_schema = Some(Arc::from(raw(r#"{ "type": "object",  "x": 1e400 }"#)));
        full.spec.output_schema = Some(Arc::from(raw("true")));
        full.spec.annotations = Some(Arc::from(raw(r#"{"readOnlyHint":true}"#)));
        full.spec.runtime = Runtime::Python;
        full.spec.engine = EngineChoice::Docker;
        full.spec.isolation = Isolation::Tool;
        full.spec.enabled = false;
        full.spec.tags = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        full.spec.rate_limit = Some(RateLimit {
            max_calls: 3,
            window_ms: 1000,
        });
        full.spec.cache = Some(CachePolicy {
            ttl_seconds: 9,
            scope: CacheScope::Tenant,
        });
        full.spec.required_scopes = BTreeSet::from(["team:x".to_owned()]);
        full.spec.dependencies = vec![domain::dependency::Dependency {
            name: "lodash".to_owned(),
            version: "^4".to_owned(),
        }];

        let created = client.create(&admin, full.clone()).await.unwrap();
        assert_eq!(created.spec, full.spec);
        let direct = world.catalog.get(&admin, &full.name, None).await.unwrap();
        let got = client
            .get(&admin, &full.name, Some(Revision(1)))
            .await
            .unwrap();
        assert_eq!(got, direct);
        assert_eq!(got.record, created);
        assert_eq!(
            client.code(&admin, &full.name, Revision(1)).await.unwrap(),
            full.code
        );

        let patch = ToolPatch {
            title: Change::Clear,
            description: Some("Neu".to_owned()),
            input_schema: Change::Set(Arc::from(raw("{}"))),
            output_schema: Change::Clear,
            rate_limit: Change::Clear,
            cache: Change::Set(CachePolicy {
                ttl_seconds: 1,
                scope: CacheScope::Caller,
            }),
            dependencies: Some(Vec::new()),
            tags: Some(BTreeSet::new()),
            enabled: Some(true),
            ..ToolPatch::default()
        };
        let expected = patch
            .clone()
            .apply(full.name.clone(), full.spec.clone(), full.code.clone());
        let updated = client
            .update(&admin, &full.name, patch, Some(Revision(1)))
            .await
            .unwrap();
        assert_eq!(updated.spec, expected.spec);
        assert_eq!(
            (updated.revision, updated.created_at),
            (Revision(2), created.created_at)
        );

        let deleted = client
            .delete(&admin, &full.name, Some(Revision(2)))
            .await
            .unwrap();
        assert_eq!(deleted.version, CatalogVersion(3));
        let gone = client.get(&admin, &full.name, None).await.unwrap_err();
        assert_eq!(gone.code(), ErrorCode::NotFound);
    }
}

#[tokio::test]
async fn errors_arrive_as_they_were_made() {
    let world = World::new(Transport::Pipe).await;
    let client = world.catalog_client();
    for code in ErrorCode::ALL {
        let made = Error::new(*code, "Fehler: ü")
            .with_field("/spec")
            .with_limit("1-2")
            .with_fix("do this")
            .with_retry_after(std::time::Duration::from_millis(70))
            .with_cause("never sent");
        world.catalog.fail_with(Some(made.clone()));
        let got = client
            .create(&context(&[Scope::Admin]), draft("abc"))
            .await
            .unwrap_err();
        assert_eq!((got.code(), got.to_string()), (*code, made.to_string()));
        assert_eq!(got.retry_after(), made.retry_after());
        assert!(got.cause().is_none());
    }
}

#[tokio::test]
async fn who_may_not_is_refused_by_the_service_itself() {
    let world = World::new(Transport::Pipe).await;
    let client = world.catalog_client();
    let reader = context(&[Scope::ToolsRead]);
    let error = client.create(&reader, draft("abc")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::PermissionDenied);
    let error = client
        .watch(&reader, CatalogVersion(0))
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::PermissionDenied);
}

#[tokio::test]
async fn the_feed_tells_every_change_and_that_it_lives() {
    let world = World::new(Transport::Unix).await;
    let client = world.catalog_client();
    let admin = context(&[Scope::Admin]);
    client.create(&admin, draft("before")).await.unwrap();
    let service = context(&[Scope::Internal]);
    let mut feed = client.watch(&service, CatalogVersion(0)).await.unwrap();
    let mut next = async || within(2, feed.next()).await.unwrap().unwrap();
    assert!(
        matches!(next().await, CatalogChange::Upserted(tool) if tool.name.as_str() == "before")
    );
    assert_eq!(next().await, CatalogChange::Synced(CatalogVersion(1)));
    assert_eq!(
        next().await,
        CatalogChange::Synced(CatalogVersion(1)),
        "a sign of life"
    );
    let name = ToolName::parse("before").unwrap();
    client.delete(&admin, &name, None).await.unwrap();
    loop {
        match next().await {
            CatalogChange::Synced(CatalogVersion(1)) => {}
            CatalogChange::Removed {
                tenant,
                name: removed,
                version,
            } => {
                assert_eq!((tenant.as_str(), removed), ("default", name));
                assert_eq!(version, CatalogVersion(2));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
}
