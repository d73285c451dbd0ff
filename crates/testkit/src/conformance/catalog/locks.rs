//! Lockfiles of revisions.

use domain::tool::Runtime;
use domain::{ErrorCode, Lockfile, Revision, ToolDraft};
use serde_json::json;

use super::{Catalogs, Rules, admin, caller, draft, name, patch, refused};

/// A lockfile of `lodash` at a version, for a tool of [`with_dependencies`].
fn lockfile(version: &str) -> Lockfile {
    lockfile_for("^4.17.0", version)
}

fn lockfile_for(asked: &str, version: &str) -> Lockfile {
    let integrity = format!("sha512-{}==", "A".repeat(86));
    let lock = json!({
        "lockfileVersion": 3,
        "packages": {
            "": { "dependencies": { "lodash": asked } },
            "node_modules/lodash": { "version": version, "integrity": integrity },
        },
    });
    Lockfile::parse(Runtime::Node, &lock.to_string()).unwrap()
}

fn with_dependencies(lock: Option<Lockfile>) -> ToolDraft {
    let dependencies = json!([{ "name": "lodash", "version": "^4.17.0" }]);
    let spec = json!({ "description": "a tool", "dependencies": dependencies });
    ToolDraft {
        lock,
        ..draft("locked", &spec, "return 1")
    }
}

/// A lockfile is stored with its revision, stays while the dependencies do, and goes with them.
pub async fn a_lockfile_stays_as_long_as_its_dependencies(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let (catalog, me, tool) = (&subject.catalog, &admin(), &name("locked"));
    let first = lockfile("4.17.20");
    let made = catalog
        .create(me, with_dependencies(Some(first.clone())))
        .await
        .unwrap();
    let of = async |revision| subject.other.lock(me, tool, revision).await.unwrap();
    assert_eq!(of(made.revision).await, Some(first.clone()));

    let kept = catalog
        .update(me, tool, patch(&json!({ "description": "another" })), None)
        .await
        .unwrap();
    assert_eq!(of(kept.revision).await, Some(first.clone()));

    let none = catalog
        .update(me, tool, patch(&json!({ "dependencies": [] })), None)
        .await
        .unwrap();
    assert_eq!(of(none.revision).await, None);
    assert_eq!(of(made.revision).await, Some(first));

    let second = lockfile_for("4.17.21", "4.17.21");
    let mut change =
        patch(&json!({ "dependencies": [{ "name": "lodash", "version": "4.17.21" }] }));
    change.lock = Some(second.clone());
    let changed = catalog.update(me, tool, change, None).await.unwrap();
    assert_eq!(of(changed.revision).await, Some(second));
}

/// A revision without a lockfile gets the first one that comes, whoever else comes with another.
pub async fn the_first_lockfile_is_kept(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let (me, tool) = (&admin(), &name("locked"));
    let made = subject
        .catalog
        .create(me, with_dependencies(None))
        .await
        .unwrap();
    let revision = made.revision;
    assert_eq!(
        subject.catalog.lock(me, tool, revision).await.unwrap(),
        None
    );
    let (one, two) = (lockfile("4.17.20"), lockfile("4.17.21"));
    let (left, right) = futures::join!(
        subject.catalog.set_lock(me, tool, revision, one.clone()),
        subject.other.set_lock(me, tool, revision, two.clone()),
    );
    let kept = left.unwrap();
    assert_eq!(kept, right.unwrap());
    assert!(kept == one || kept == two);
    let read = subject.other.lock(me, tool, revision).await.unwrap();
    assert_eq!(read, Some(kept));
}

/// A lockfile is for those who may use the tool, and only for a tool that has dependencies.
pub async fn a_lockfile_is_for_those_who_may_use_the_tool(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let catalog = &subject.catalog;
    let (me, tool) = (&admin(), &name("locked"));
    let mut secret = with_dependencies(Some(lockfile("4.17.20")));
    secret.spec.required_scopes = ["team:special".to_owned()].into();
    let made = catalog.create(me, secret).await.unwrap();
    let revision = made.revision;

    let special = caller("default", &["mcp:invoke", "team:special"]);
    assert!(
        catalog
            .lock(&special, tool, revision)
            .await
            .unwrap()
            .is_some()
    );
    for other in [
        caller("default", &["mcp:invoke"]),
        caller("elsewhere", &["mcp:admin"]),
    ] {
        refused(
            catalog.lock(&other, tool, revision).await,
            ErrorCode::NotFound,
        );
        let set = catalog.set_lock(&other, tool, revision, lockfile("4.17.21"));
        refused(set.await, ErrorCode::NotFound);
    }
    let never = catalog.lock(me, tool, Revision(99)).await;
    refused(never, ErrorCode::NotFound);

    let mut bare = with_dependencies(Some(lockfile("4.17.20")));
    bare.spec.dependencies.clear();
    bare.name = name("bare");
    refused(catalog.create(me, bare).await, ErrorCode::InvalidArgument);
}
