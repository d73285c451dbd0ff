//! What is refused, to whom.

use domain::catalog::CatalogChange;
use domain::{CallContext, CatalogVersion, ErrorCode, Revision};
use futures::StreamExt;
use serde_json::{Value, json};

use super::{Catalogs, Rules, Subject, admin, caller, draft, name, patch, refused, service, small};

/// Read-only mode refuses each write with a sentence that says how to change that.
pub async fn read_only_refuses_every_write(catalogs: &dyn Catalogs) {
    let rules = Rules {
        read_only: true,
        ..Rules::default()
    };
    let subject = catalogs.make(rules).await;
    let (catalog, me, tool) = (&subject.catalog, admin(), name("any"));
    let update = |json: Value| {
        let (me, tool) = (&me, &tool);
        async move { catalog.update(me, tool, patch(&json), None).await }
    };
    let denied = ErrorCode::PolicyDenied;
    for (error, verb) in [
        (
            refused(catalog.create(&me, small("any")).await, denied),
            "create",
        ),
        (
            refused(update(json!({ "title": "x" })).await, denied),
            "update",
        ),
        (
            refused(update(json!({ "enabled": true })).await, denied),
            "enable/disable",
        ),
        (
            refused(catalog.delete(&me, &tool, None).await, denied),
            "delete",
        ),
    ] {
        assert_eq!(
            error.message(),
            format!(
                "Dynamic registry is read-only; cannot {verb} tools while \
                 MCP_DYNAMIC_READ_ONLY is enabled."
            )
        );
    }
    refused(catalog.get(&me, &tool, None).await, ErrorCode::NotFound);
    let mut feed = catalog.watch(&service(), CatalogVersion(0)).await.unwrap();
    assert_eq!(feed.next().await.unwrap().unwrap(), CatalogChange::Reset);
}

/// Fields, one wrong value each, and what names it: code and field.
fn faults() -> Vec<(Value, ErrorCode, &'static str)> {
    use ErrorCode::{InvalidArgument as Invalid, PolicyDenied as Denied};
    let many: Vec<Value> = (0..65)
        .map(|at| json!({ "name": format!("p{at}"), "version": "1.0.0" }))
        .collect();
    let dependency = |name: &str, version: &str| json!({ "dependencies": [{ "name": name, "version": version }] });
    vec![
        (json!({ "title": "" }), Invalid, "title"),
        (json!({ "title": "x".repeat(121) }), Invalid, "title"),
        (json!({ "description": "" }), Invalid, "description"),
        (
            json!({ "description": "ü".repeat(4001) }),
            Invalid,
            "description",
        ),
        (json!({ "code": "" }), Invalid, "code"),
        (json!({ "code": "x".repeat(200_001) }), Invalid, "code"),
        (json!({ "timeoutMs": 999 }), Invalid, "timeoutMs"),
        (json!({ "timeoutMs": 120_001 }), Invalid, "timeoutMs"),
        (json!({ "image": "--privileged" }), Invalid, "image"),
        (json!({ "image": "" }), Invalid, "image"),
        (json!({ "image": "alpine:latest" }), Denied, "image"),
        (json!({ "dependencies": many }), Invalid, "dependencies"),
        (
            json!({ "dependencies": many[..33] }),
            Denied,
            "dependencies",
        ),
        (dependency("pm2", "5.0.0"), Denied, "dependencies/0/name"),
        (dependency("PM2", "5.0.0"), Denied, "dependencies/0/name"),
        (dependency("../x", "1.0.0"), Invalid, "dependencies/0/name"),
        (
            dependency("zod", "latest"),
            Invalid,
            "dependencies/0/version",
        ),
        (
            dependency("zod", "npm:pm2@5"),
            Invalid,
            "dependencies/0/version",
        ),
        (
            dependency("zod", "https://x.test/a.tgz"),
            Invalid,
            "dependencies/0/version",
        ),
        (
            dependency("zod", "git+ssh://x"),
            Invalid,
            "dependencies/0/version",
        ),
        (
            dependency("zod", "file:../x"),
            Invalid,
            "dependencies/0/version",
        ),
        (json!({ "tags": ["a b"] }), Invalid, "tags"),
        (json!({ "requiredScopes": [""] }), Invalid, "requiredScopes"),
        (
            json!({ "rateLimit": { "maxCalls": 0, "windowMs": 1000 } }),
            Invalid,
            "rateLimit/maxCalls",
        ),
        (
            json!({ "cache": { "ttlSeconds": 0 } }),
            Invalid,
            "cache/ttlSeconds",
        ),
        (json!({ "isolation": "tool" }), Denied, "isolation"),
        (json!({ "annotations": [] }), Invalid, "annotations"),
    ]
}

/// Each fault is refused with its code and its field, and nothing is stored.
pub async fn every_limit_is_checked_on_create(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let (catalog, me) = (&subject.catalog, admin());
    for (fields, code, field) in faults() {
        let mut spec = json!({ "description": "d" });
        for (key, value) in fields.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let source = spec.as_object_mut().unwrap().remove("code");
        let source = source
            .as_ref()
            .map_or("return 1", |code| code.as_str().unwrap());
        let error = refused(
            catalog.create(&me, draft("faulty", &spec, source)).await,
            code,
        );
        assert_eq!(error.field(), Some(field), "{error}");
    }
    for schema in [json!("string"), json!({ "type": "no-such-type" })] {
        let spec = json!({ "description": "d", "inputSchema": schema });
        let bad = draft("faulty", &spec, "return 1");
        refused(catalog.create(&me, bad).await, ErrorCode::InvalidArgument);
    }
    for reserved in [
        "system.health",
        "DEV.echo",
        "dynamic.tool.mine",
        "sandbox.files.list",
    ] {
        let error = refused(
            catalog.create(&me, small(reserved)).await,
            ErrorCode::PolicyDenied,
        );
        assert_eq!(error.field(), Some("name"));
    }
    refused(
        catalog.get(&me, &name("faulty"), None).await,
        ErrorCode::NotFound,
    );
}

/// The same in a patch.
pub async fn every_limit_is_checked_on_update(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let (catalog, me) = (&subject.catalog, admin());
    let made = catalog.create(&me, small("sound")).await.unwrap();
    for (fields, code, field) in faults() {
        let change = patch(&fields);
        let error = refused(catalog.update(&me, &made.name, change, None).await, code);
        assert_eq!(error.field(), Some(field), "{error}");
    }
    assert_eq!(
        catalog.get(&me, &made.name, None).await.unwrap().record,
        made
    );
}

/// Nothing that was refused moves the catalogue's version or a revision.
pub async fn a_refused_change_changes_nothing(catalogs: &dyn Catalogs) {
    let subject = catalogs
        .make(Rules {
            max_tools: 1,
            ..Rules::default()
        })
        .await;
    let (catalog, me) = (&subject.catalog, admin());
    let made = catalog.create(&me, small("only")).await.unwrap();
    let bad = patch(&json!({ "timeoutMs": 1 }));
    refused(
        catalog.update(&me, &made.name, bad, None).await,
        ErrorCode::InvalidArgument,
    );
    let stale = patch(&json!({ "title": "x" }));
    let old = Some(Revision(9));
    refused(
        catalog.update(&me, &made.name, stale, old).await,
        ErrorCode::RevisionConflict,
    );
    refused(
        catalog.delete(&me, &made.name, old).await,
        ErrorCode::RevisionConflict,
    );
    refused(
        catalog.create(&me, small("only")).await,
        ErrorCode::AlreadyExists,
    );
    refused(
        catalog.create(&me, small("more")).await,
        ErrorCode::LimitExceeded,
    );
    let next = catalog
        .update(&me, &made.name, patch(&json!({})), None)
        .await
        .unwrap();
    assert_eq!(next.revision, Revision(2));
    assert_eq!(next.version.0, made.version.0 + 1);
}

/// Each method with every scope but the one that it needs.
pub async fn every_method_needs_its_scope(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let catalog = &subject.catalog;
    let made = catalog.create(&admin(), small("scoped")).await.unwrap();
    let tool = &made.name;
    let denied = ErrorCode::PermissionDenied;

    let nobody_writes = [
        "mcp:invoke",
        "mcp:tools:read",
        "mcp:sandbox",
        "dynamic-mcp:internal",
    ];
    for me in [
        caller("default", &nobody_writes),
        caller("default", &[]),
        service(),
    ] {
        refused(catalog.create(&me, small("scoped2")).await, denied);
        let change = patch(&json!({ "enabled": false }));
        refused(catalog.update(&me, tool, change, None).await, denied);
        refused(catalog.delete(&me, tool, None).await, denied);
    }
    let nobody_reads = [
        "mcp:invoke",
        "mcp:tools:write",
        "mcp:sandbox",
        "dynamic-mcp:internal",
    ];
    refused(
        catalog
            .get(&caller("default", &nobody_reads), tool, None)
            .await,
        denied,
    );
    let outsiders = [
        "mcp:invoke",
        "mcp:tools:read",
        "mcp:tools:write",
        "mcp:admin",
    ];
    for me in [caller("default", &outsiders), caller("default", &[])] {
        let refusal = catalog.watch(&me, CatalogVersion(0)).await.err();
        assert_eq!(refusal.map(|error| error.code()), Some(denied));
    }
    // And with it alone.
    let writer = caller("default", &["mcp:tools:write"]);
    catalog
        .update(&writer, tool, patch(&json!({})), None)
        .await
        .unwrap();
    catalog
        .get(&caller("default", &["mcp:tools:read"]), tool, None)
        .await
        .unwrap();
    assert!(catalog.watch(&service(), CatalogVersion(0)).await.is_ok());
}

async fn code(subject: &Subject, me: &CallContext, revision: u64) -> Option<String> {
    let found = subject
        .catalog
        .code(me, &name("secret"), Revision(revision))
        .await;
    match found {
        Ok(code) => Some((*code).to_owned()),
        Err(error) => {
            assert_eq!(error.code(), ErrorCode::NotFound, "{error}");
            None
        }
    }
}

/// Code for a call needs the right to use the tool and no right to read definitions; to all others
/// the tool does not exist, in no revision.
pub async fn code_is_for_those_who_may_use_the_tool(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    subject
        .catalog
        .create(&admin(), small("secret"))
        .await
        .unwrap();
    let anyone = caller("default", &["mcp:invoke"]);
    let team = caller("default", &["mcp:invoke", "team:a"]);
    assert!(code(&subject, &anyone, 1).await.is_some());
    assert!(
        code(&subject, &caller("default", &["team:a"]), 1)
            .await
            .is_none()
    );
    let closed = patch(&json!({ "requiredScopes": ["team:a"], "code": "return 2" }));
    subject
        .catalog
        .update(&admin(), &name("secret"), closed, None)
        .await
        .unwrap();
    for revision in [1, 2] {
        assert!(
            code(&subject, &anyone, revision).await.is_none(),
            "{revision}"
        );
        assert!(
            code(&subject, &team, revision).await.is_some(),
            "{revision}"
        );
    }
}
