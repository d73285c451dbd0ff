//! One install for everybody; what an earlier life left; what goes when there is too much.

use std::time::Duration;

use domain::tool::Runtime;
use serde_json::json;

use crate::hostile::rig;
use crate::rig::{NODE, Rig, call};
use crate::server::{Page, Server, file, package, tar};

#[tokio::test(flavor = "multi_thread")]
async fn fault_67_many_first_calls_install_once_and_who_gives_up_stops_nobody() {
    let server = Server::start().await;
    server.npm("one", json!({}), &package("module.exports = 1"));
    // One that can be imported and not required.
    let manifest =
        br#"{"name":"two","version":"1.0.0","type":"module","exports":{"import":"./index.mjs"}}"#;
    let module = tar([
        file("package/package.json", manifest),
        file(
            "package/index.mjs",
            b"export const two = await Promise.resolve(2)",
        ),
    ]);
    server.npm("two", json!({}), &module);
    let rig = rig(&server, |_| {}).await;
    let wanted = [("one", "1.0.0"), ("two", "1.0.0")];
    let lock = rig.resolve(Runtime::Node, &wanted).await.unwrap();
    let code = "let required = true; try { require('two') } catch { required = false } \
        const { two } = await import('two'); return required ? 0 : two - require('one')";
    let call = || call(Runtime::Node, &wanted, Some(&lock), code);
    let impatient = tokio::time::timeout(Duration::from_millis(100), rig.run(call()));
    assert!(impatient.await.is_err());
    let all = futures::future::join_all((0..6).map(|_| rig.value(call()))).await;
    assert!(all.iter().all(|value| *value == 1));
    assert_eq!(server.asked("/one/-/one-1.0.0.tgz"), 1);
    rig.only_sets(1).await;
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_68_the_set_that_was_not_used_for_longest_goes_first() {
    let server = Server::start().await;
    for name in ["a", "b"] {
        server.npm(name, json!({}), &package("module.exports = 1"));
    }
    let rig = rig(&server, |settings| settings.cache_bytes = 1).await;
    for name in ["a", "b", "a"] {
        // None goes right after its use.
        tokio::time::sleep(Duration::from_secs(11)).await;
        let wanted = [(name, "1.0.0")];
        let lock = rig.resolve(Runtime::Node, &wanted).await.unwrap();
        let code = format!("return require('{name}')");
        assert_eq!(
            rig.value(call(Runtime::Node, &wanted, Some(&lock), &code))
                .await,
            1
        );
    }
    assert_eq!(
        server.asked("/a/-/a-1.0.0.tgz"),
        2,
        "it went, and came again"
    );
    let gone = rig
        .metrics
        .dependency_evictions
        .with_label_values(&["size"])
        .get();
    assert!(gone >= 1, "{gone}");
    rig.close().await;
}

/// What a killed executor leaves: a complete set, one that was being installed, and scratch.
#[tokio::test(flavor = "multi_thread")]
async fn fault_68_a_new_life_finds_complete_sets_again_and_removes_all_others() {
    let server = Server::start().await;
    server.npm("one", json!({}), &package("module.exports = 1"));
    let first = rig(&server, |_| {}).await;
    let wanted = [("one", "1.0.0")];
    let lock = first.resolve(Runtime::Node, &wanted).await.unwrap();
    let call = || call(Runtime::Node, &wanted, Some(&lock), "return require('one')");
    assert_eq!(first.value(call()).await, 1);
    let volume = first.volumes().await.into_iter().next().unwrap();
    let daemon = testkit::docker::daemon();
    let labels = daemon
        .run(&["volume", "inspect", "-f", "{{json .Labels}}", &volume])
        .await;
    let mut labels: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&labels).unwrap();
    // The same, by an executor of that name which does not live any more.
    let owner = uuid::Uuid::new_v4().to_string();
    labels["dynamic-mcp.owner"] = owner.clone().into();
    labels["dynamic-mcp.epoch"] = "00-1-1-abc".into();
    let name = || format!("dynamic-mcp-sandbox-{}", uuid::Uuid::new_v4().simple());
    let make = async |labels: &serde_json::Map<String, serde_json::Value>| {
        let name = name();
        let labels: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("--label={key}={}", value.as_str().unwrap()))
            .collect();
        let mut arguments = vec!["volume", "create"];
        arguments.extend(labels.iter().map(String::as_str));
        arguments.push(&name);
        daemon.run(&arguments).await;
        name
    };
    let whole = make(&labels).await;
    let (from, to) = (format!("{volume}:/from:ro"), format!("{whole}:/to"));
    let copy = [
        "run",
        "--rm",
        "-v",
        &from,
        "-v",
        &to,
        "--entrypoint",
        "sh",
        NODE,
        "-c",
        "cp -a /from/. /to/",
    ];
    daemon.run(&copy).await;
    make(&labels).await;
    // Complete, and not what its label says.
    labels["dynamic-mcp.lock"] = "0".repeat(64).into();
    let other = make(&labels).await;
    let to = format!("{other}:/to");
    let copy = [
        "run",
        "--rm",
        "-v",
        &from,
        "-v",
        &to,
        "--entrypoint",
        "sh",
        NODE,
        "-c",
        "cp -a /from/. /to/",
    ];
    daemon.run(&copy).await;
    labels["dynamic-mcp.packages"] = "scratch".into();
    make(&labels).await;
    // Somebody else's, whose executor is not here.
    labels["dynamic-mcp.owner"] = "somebody".into();
    let foreign = make(&labels).await;
    let asked = server.asked("/one/-/one-1.0.0.tgz");

    let second = Rig::owned(
        owner,
        sandbox::docker::InstallSettings {
            npm_registry: Some(server.address()),
            ..crate::rig::install()
        },
    )
    .await;
    second.only(1).await;
    assert_eq!(second.volumes().await.into_iter().next().unwrap(), whole);
    server.put("/one/-/one-1.0.0.tgz", Page::Hang);
    assert_eq!(second.value(call()).await, 1);
    assert_eq!(
        server.asked("/one/-/one-1.0.0.tgz"),
        asked,
        "not installed again"
    );
    daemon.run(&["volume", "rm", &foreign]).await;
    second.close().await;
    first.close().await;
}

/// Somebody tidies up by hand.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_was_removed_by_hand_is_installed_again() {
    let server = Server::start().await;
    server.npm("one", json!({}), &package("module.exports = 1"));
    let rig = rig(&server, |_| {}).await;
    let wanted = [("one", "1.0.0")];
    let lock = rig.resolve(Runtime::Node, &wanted).await.unwrap();
    let call = || call(Runtime::Node, &wanted, Some(&lock), "return require('one')");
    assert_eq!(rig.value(call()).await, 1);
    rig.only(1).await;
    let daemon = testkit::docker::daemon();
    for volume in rig.volumes().await {
        daemon.run(&["volume", "rm", &volume]).await;
    }
    let error = rig.run(call()).await.unwrap_err();
    assert_eq!(error.code(), domain::ErrorCode::Unavailable, "{error}");
    assert!(error.to_string().contains("installed anew"), "{error}");
    assert_eq!(rig.value(call()).await, 1);
    assert_eq!(server.asked("/one/-/one-1.0.0.tgz"), 2);
    rig.close().await;
}
