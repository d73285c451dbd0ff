//! One tool, one caller.

use domain::{CodeDigest, ErrorCode, Revision};
use serde_json::json;

use super::{Catalogs, Rules, admin, caller, draft, name, patch, refused, small};

/// The life of a tool; what a write answers is what a read answers.
pub async fn a_tool_is_made_read_changed_and_deleted(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let (catalog, me) = (&subject.catalog, admin());
    let spec = json!({
        "title": "One", "description": "first", "timeoutMs": 5000, "tags": ["b", "a"],
        "inputSchema": {"type": "object", "properties": {"x": {"type": "integer"}}},
        "rateLimit": {"maxCalls": 3, "windowMs": 1000},
    });
    let made = catalog
        .create(&me, draft("my.tool", &spec, "return args.x"))
        .await
        .unwrap();
    assert_eq!(made.revision, Revision(1));
    assert_eq!(made.created_at, made.updated_at);
    assert_eq!(made.code_digest, CodeDigest::of("return args.x"));
    assert_eq!(made.code_size_bytes, 13);
    let read = catalog.get(&me, &name("my.tool"), None).await.unwrap();
    assert_eq!((&read.record, &*read.code), (&made, "return args.x"));

    let change = patch(&json!({ "description": "second", "code": "return 2" }));
    let changed = catalog
        .update(&me, &made.name, change, Some(Revision(1)))
        .await
        .unwrap();
    assert_eq!(changed.revision, Revision(2));
    assert_eq!(changed.created_at, made.created_at);
    assert!(changed.updated_at >= made.updated_at && changed.version > made.version);
    let read = catalog.get(&me, &made.name, None).await.unwrap();
    assert_eq!((&read.record, &*read.code), (&changed, "return 2"));
    let code = catalog.code(&me, &made.name, Revision(2)).await.unwrap();
    assert_eq!(&*code, "return 2");

    let deleted = catalog
        .delete(&me, &made.name, Some(Revision(2)))
        .await
        .unwrap();
    assert!(deleted.version > changed.version);
    refused(
        catalog.get(&me, &made.name, None).await,
        ErrorCode::NotFound,
    );
    refused(
        catalog.delete(&me, &made.name, None).await,
        ErrorCode::NotFound,
    );
}

/// Absent fields stay, `null` clears, enabling is a patch like any other.
pub async fn a_patch_changes_what_it_names_and_nothing_else(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let (catalog, me) = (&subject.catalog, admin());
    let spec = json!({
        "title": "T", "description": "d", "outputSchema": {"type": "object"}, "tags": ["x"],
        "cache": {"ttlSeconds": 9}, "requiredScopes": ["team:a"],
    });
    let made = catalog
        .create(&me, draft("patched", &spec, "return {}"))
        .await
        .unwrap();
    let off = catalog
        .update(&me, &made.name, patch(&json!({ "enabled": false })), None)
        .await
        .unwrap();
    let mut wanted = made.spec.clone();
    wanted.enabled = false;
    assert_eq!(
        (&off.spec, off.code_digest),
        (&wanted, made.code_digest),
        "only enabled"
    );
    let cleared = json!({ "title": null, "outputSchema": null, "cache": null, "tags": [] });
    let cleared = catalog
        .update(&me, &made.name, patch(&cleared), None)
        .await
        .unwrap();
    wanted.title = None;
    wanted.output_schema = None;
    wanted.cache = None;
    wanted.tags.clear();
    assert_eq!(cleared.spec, wanted);
    assert_eq!(
        catalog.get(&me, &made.name, None).await.unwrap().record,
        cleared
    );
}

/// Every method names what it did not find.
pub async fn what_is_not_there_is_not_found(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let (catalog, me, none) = (&subject.catalog, admin(), name("not.there"));
    let change = patch(&json!({ "enabled": true }));
    for error in [
        refused(catalog.get(&me, &none, None).await, ErrorCode::NotFound),
        refused(
            catalog.update(&me, &none, change.clone(), None).await,
            ErrorCode::NotFound,
        ),
        refused(
            catalog.update(&me, &none, change, Some(Revision(1))).await,
            ErrorCode::NotFound,
        ),
        refused(catalog.delete(&me, &none, None).await, ErrorCode::NotFound),
        refused(
            catalog.delete(&me, &none, Some(Revision(1))).await,
            ErrorCode::NotFound,
        ),
    ] {
        assert_eq!(error.message(), "Dynamic tool not found: not.there");
    }
    refused(
        catalog.code(&me, &none, Revision(1)).await,
        ErrorCode::NotFound,
    );
    catalog.create(&me, small("is.there")).await.unwrap();
    for revision in [0, 2, u64::MAX] {
        let revision = Revision(revision);
        refused(
            catalog.get(&me, &name("is.there"), Some(revision)).await,
            ErrorCode::NotFound,
        );
        refused(
            catalog.code(&me, &name("is.there"), revision).await,
            ErrorCode::NotFound,
        );
    }
}

/// A second tool of the same name is refused and changes nothing.
pub async fn a_name_is_taken_once(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let (catalog, me) = (&subject.catalog, admin());
    let made = catalog.create(&me, small("taken")).await.unwrap();
    let other = draft("taken", &json!({ "description": "other" }), "return 2");
    let error = refused(catalog.create(&me, other).await, ErrorCode::AlreadyExists);
    assert_eq!(error.message(), "Dynamic tool already exists: taken");
    assert_eq!(
        catalog.get(&me, &made.name, None).await.unwrap().record,
        made
    );
}

/// Names are case-sensitive.
pub async fn names_differ_by_case(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let (catalog, me) = (&subject.catalog, admin());
    let lower = catalog.create(&me, small("case")).await.unwrap();
    let upper = draft("CASE", &json!({ "description": "upper" }), "return 2");
    let upper = catalog.create(&me, upper).await.unwrap();
    catalog.delete(&me, &lower.name, None).await.unwrap();
    assert_eq!(
        catalog.get(&me, &upper.name, None).await.unwrap().record,
        upper
    );
}

/// The same name in two tenants is two tools, and nothing of one is reachable from the other.
pub async fn tenants_do_not_see_each_other(catalogs: &dyn Catalogs) {
    let rules = Rules {
        max_tools: 1,
        ..Rules::default()
    };
    let subject = catalogs.make(rules).await;
    let catalog = &subject.catalog;
    let (red, blue) = (
        caller("red", &["mcp:admin"]),
        caller("blue", &["mcp:admin"]),
    );
    let of_red = catalog.create(&red, small("shared")).await.unwrap();
    let shared = &of_red.name;
    refused(catalog.get(&blue, shared, None).await, ErrorCode::NotFound);
    refused(
        catalog.code(&blue, shared, Revision(1)).await,
        ErrorCode::NotFound,
    );
    refused(
        catalog
            .update(&blue, shared, patch(&json!({ "enabled": false })), None)
            .await,
        ErrorCode::NotFound,
    );
    refused(
        catalog.delete(&blue, shared, None).await,
        ErrorCode::NotFound,
    );
    // The limit of one tenant is not used up by another, and the same code is kept for each.
    let of_blue = catalog.create(&blue, small("shared")).await.unwrap();
    assert_eq!(
        (of_blue.tenant.as_str(), of_blue.revision),
        ("blue", Revision(1))
    );
    refused(
        catalog.create(&blue, small("second")).await,
        ErrorCode::LimitExceeded,
    );
    catalog.delete(&blue, shared, None).await.unwrap();
    let kept = catalog.get(&red, shared, None).await.unwrap();
    assert_eq!((&kept.record, &*kept.code), (&of_red, "return 1"));
}
