//! Dependencies: resolved before a tool is stored, kept with its revision, handed over with each call.

use domain::tool::Runtime;
use domain::{Error, ErrorCode, Lockfile};
use serde_json::{Value, json};

use super::rig::{Rig, rig};

const HASH: &str = "sha512-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";

/// What `version` of the package `top` comes to: it needs `inner`.
fn lock(version: &str) -> Lockfile {
    let package = |more: Value| {
        let mut package = json!({"version": "1.0.0", "integrity": HASH});
        super::rig::merge(&mut package, more);
        package
    };
    let text = json!({"lockfileVersion": 3, "packages": {
        "": {"dependencies": {"top": version}},
        "node_modules/inner": package(json!({})),
        "node_modules/top": package(json!({"dependencies": {"inner": "^1.0.0"}}))
    }});
    Lockfile::parse(Runtime::Node, &text.to_string()).unwrap()
}

fn needs(version: &str) -> Value {
    json!({"dependencies": [{"name": "top", "version": version}]})
}

async fn got(rig: &Rig) -> Value {
    let got = rig
        .ok("dynamic.tool.get", json!({"name": "with.lock"}))
        .await;
    got.structured["tool"].clone()
}

#[tokio::test]
async fn a_tool_is_stored_with_its_lock_and_each_call_brings_it_along() {
    let rig = rig(|_| {}).await;
    rig.executor.resolve_to(Ok(lock("^1")));
    let created = rig.create("with.lock", needs("^1")).await;
    assert!(created.get("lockfile").is_none(), "as it always was");
    assert_eq!(rig.executor.resolved()[0].image, "node:lts-slim");
    let shown = got(&rig).await["lockfile"].clone();
    assert_eq!(shown["digest"], lock("^1").digest());
    let packages = json!([
        {"name": "inner", "version": "1.0.0", "integrity": [HASH]},
        {"name": "top", "version": "1.0.0", "integrity": [HASH]}
    ]);
    assert_eq!(shown["packages"], packages);
    for _ in 0..2 {
        rig.ok("with.lock", json!({})).await;
        let (_, run) = rig.executor.calls().pop().unwrap();
        assert_eq!(run.lock, Some(lock("^1")));
    }
    assert_eq!(rig.executor.resolved().len(), 1, "once");

    // What does not touch the dependencies does not resolve; what does, does.
    let patch = |patch: Value| json!({"name": "with.lock", "patch": patch});
    rig.ok("dynamic.tool.update", patch(json!({"code": "return 2"})))
        .await;
    rig.ok("dynamic.tool.update", patch(needs("^1"))).await;
    assert_eq!(rig.executor.resolved().len(), 1);
    rig.executor.resolve_to(Ok(lock("^1.1")));
    rig.ok("dynamic.tool.update", patch(needs("^1.1"))).await;
    assert_eq!(rig.executor.resolved().len(), 2);
    assert_eq!(got(&rig).await["lockfile"]["digest"], lock("^1.1").digest());

    let plain = rig.create("plain.tool", json!({})).await;
    assert_eq!(plain["dependencies"], json!([]));
    assert_eq!(rig.executor.resolved().len(), 2);
}

#[tokio::test]
async fn fault_64_what_cannot_be_resolved_is_not_stored() {
    let rig = rig(|_| {}).await;
    let create = |version: &str| {
        let mut tool = json!({"name": "with.lock", "description": "d", "code": "1"});
        super::rig::merge(&mut tool, needs(version));
        json!({ "tool": tool })
    };
    rig.refused("dynamic.tool.create", create("latest"), "invalid_argument")
        .await;
    assert!(
        rig.executor.resolved().is_empty(),
        "nothing was fetched for that"
    );
    let failed = Error::new(
        ErrorCode::DependencyInstallFailed,
        "npm could not find the packages",
    );
    for (error, code) in [
        (
            failed.with_field("dependencies"),
            "dependency_install_failed",
        ),
        (Error::unavailable("executor"), "unavailable"),
        (
            Error::new(ErrorCode::PolicyDenied, "native").with_field("dependencies"),
            "policy_denied",
        ),
    ] {
        rig.executor.resolve_to(Err(error));
        rig.refused("dynamic.tool.create", create("^1"), code).await;
    }
    assert!(rig.listed().is_empty());
    // A blocked package behind another one, by this gateway's own list.
    let strict =
        super::rig::rig(|settings| settings.policy.blocked_packages = vec!["INNER".into()]).await;
    strict.executor.resolve_to(Ok(lock("^1")));
    let refused = strict
        .refused("dynamic.tool.create", create("^1"), "policy_denied")
        .await;
    assert!(
        refused["fix"].as_str().unwrap().contains("top > inner"),
        "{refused}"
    );
}

/// As on the isolate engine, and for what was taken over from elsewhere.
#[tokio::test]
async fn a_tool_without_a_lock_gets_one_when_somebody_can_make_it() {
    let rig = rig(|_| {}).await;
    rig.create("with.lock", needs("^1")).await;
    assert!(got(&rig).await.get("lockfile").is_none());
    rig.ok("with.lock", json!({})).await;
    let (_, run) = rig.executor.calls().pop().unwrap();
    assert_eq!(run.lock, None, "the executor says what it lacks");
    rig.executor.resolve_to(Ok(lock("^1")));
    rig.ok("with.lock", json!({})).await;
    let (_, run) = rig.executor.calls().pop().unwrap();
    assert_eq!(run.lock, Some(lock("^1")));
    assert_eq!(got(&rig).await["lockfile"]["digest"], lock("^1").digest());
    let failed = Error::new(ErrorCode::DependencyInstallFailed, "x").with_field("dependencies");
    rig.executor.resolve_to(Err(failed));
    rig.ok("with.lock", json!({})).await;
    assert_eq!(rig.executor.resolved().len(), 3, "it is kept");
}
