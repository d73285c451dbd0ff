//! What a hostile registry, or a hostile package in it, can try with npm.

use std::process::{Command, Stdio};
use std::time::Duration;

use domain::error::{Error, ErrorCode};
use domain::tool::Runtime;
use sandbox::docker::InstallSettings;
use serde_json::json;
use tokio::time::Instant;

use crate::rig::{Rig, call, install};
use crate::server::{Entry, Page, Server, file, package, tar};

/// An engine whose registry is this one.
pub(crate) async fn rig(server: &Server, more: impl FnOnce(&mut InstallSettings)) -> Rig {
    let mut settings = InstallSettings {
        npm_registry: Some(server.address()),
        pip_index: Some(format!("{}/simple", server.address())),
        timeout: Duration::from_secs(60),
        ..install()
    };
    more(&mut settings);
    Rig::with(settings).await
}

/// Resolves and installs one package; the error, wherever it comes.
async fn refused(rig: &Rig, name: &str) -> Error {
    let wanted = [(name, "1.0.0")];
    let lock = match rig.resolve(Runtime::Node, &wanted).await {
        Ok(lock) => lock,
        Err(error) => return error,
    };
    let call = call(Runtime::Node, &wanted, Some(&lock), "return 1");
    rig.run(call).await.expect_err(name)
}

#[track_caller]
fn failed_with(error: &Error, words: &str) {
    assert_eq!(
        error.code(),
        ErrorCode::DependencyInstallFailed,
        "{error} {:?}",
        error.cause()
    );
    assert!(error.to_string().contains(words), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_63_no_script_of_a_package_runs() {
    let server = Server::start().await;
    let scripts = json!({
        "preinstall": "echo > pre; exit 1", "install": "echo > install; exit 1",
        "postinstall": "echo > post; exit 1", "prepare": "echo > prepare; exit 1"
    });
    let manifest = json!({"name": "evil", "version": "1.0.0", "scripts": scripts}).to_string();
    let gyp = br#"{"targets":[{"target_name":"x","actions":[]}]}"#;
    let bytes = tar([
        file("package/package.json", manifest.as_bytes()),
        file(
            "package/index.js",
            b"module.exports = require('fs').readdirSync(__dirname)",
        ),
        file("package/binding.gyp", gyp),
        file(
            "package/.npmrc",
            b"ignore-scripts=false\nscript-shell=/bin/sh\n",
        ),
    ]);
    server.npm(
        "evil",
        json!({"scripts": scripts, "hasInstallScript": true}),
        &bytes,
    );
    let rig = rig(&server, |_| {}).await;
    let wanted = [("evil", "1.0.0")];
    let lock = rig.resolve(Runtime::Node, &wanted).await.unwrap();
    let there = rig.value(call(
        Runtime::Node,
        &wanted,
        Some(&lock),
        "return require('evil').sort()",
    ));
    let there = there.await;
    assert_eq!(
        there,
        json!([".npmrc", "binding.gyp", "index.js", "package.json"])
    );
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_57_nothing_of_an_archive_lands_elsewhere_and_nothing_but_files_does() {
    let server = Server::start().await;
    let manifest = br#"{"name":"evil","version":"1.0.0","bin":{"../../escape-bin":"../../../x","sh":"index.js"}}"#;
    let bytes = tar([
        file("package/package.json", manifest),
        file("package/index.js", b"module.exports = 1"),
        file("package/../../../../escape-1", b"x"),
        file("/var/tmp/escape-2", b"x"),
        Entry(b'2', "package/link", "/etc", b""),
        file("package/link/escape-3", b"x"),
        Entry(b'2', "package/up", "../../..", b""),
        Entry(b'1', "package/hard", "/etc/passwd", b""),
        Entry(b'3', "package/device", "", b""),
        Entry(b'6', "package/fifo", "", b""),
    ]);
    server.npm("evil", json!({}), &bytes);
    let rig = rig(&server, |_| {}).await;
    let wanted = [("evil", "1.0.0")];
    let lock = rig.resolve(Runtime::Node, &wanted).await.unwrap();
    let code = "
        const fs = require('fs'), path = require('path');
        const all = [];
        const walk = (at) => {
            for (const name of fs.readdirSync(at)) {
                const file = path.join(at, name), stat = fs.lstatSync(file);
                if (stat.isSymbolicLink()) all.push(`${file} -> ${fs.realpathSync(file)}`);
                else if (stat.isDirectory()) walk(file);
                else if (!stat.isFile()) all.push(`${file} is special`);
                else all.push(`${file} ${stat.mode & 0o6000 ? 'setuid' : ''}`.trim());
            }
        };
        walk('/node_modules');
        return { all: all.sort(), required: require('evil') };";
    match rig
        .run(call(Runtime::Node, &wanted, Some(&lock), code))
        .await
    {
        Ok(outcome) => {
            let value = outcome.result.unwrap().unwrap();
            let value: serde_json::Value = serde_json::from_str(value.get()).unwrap();
            assert_eq!(value["required"], 1);
            for line in value["all"].as_array().unwrap() {
                let line = line.as_str().unwrap();
                assert!(
                    !line.contains("special") && !line.contains("setuid"),
                    "{value}"
                );
                let (_, target) = line.split_once(" -> ").unwrap_or(("", "/node_modules/"));
                assert!(target.starts_with("/node_modules/"), "{value}");
                assert!(!line.starts_with("/node_modules/escape"), "{value}");
            }
        }
        Err(error) => failed_with(&error, ""),
    }
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_66_other_bytes_than_the_locked_ones_are_refused() {
    let server = Server::start().await;
    server.npm("good", json!({}), &package("module.exports = 1"));
    let rig = rig(&server, |_| {}).await;
    let wanted = [("good", "1.0.0")];
    let lock = rig.resolve(Runtime::Node, &wanted).await.unwrap();
    // The registry now has something else under the same version, and says so.
    server.npm("good", json!({}), &package("module.exports = 'evil'"));
    let run = rig
        .run(call(Runtime::Node, &wanted, Some(&lock), "return 1"))
        .await;
    failed_with(&run.unwrap_err(), "EINTEGRITY");
    rig.only(0).await;
    // A registry that gives no good hash at all.
    server.npm_with(
        "weak",
        json!({}),
        &package(""),
        "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
    );
    failed_with(&refused(&rig, "weak").await, "SHA-512");
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_64_packages_from_elsewhere_are_refused_wherever_they_stand() {
    let server = Server::start().await;
    let canary = Server::start().await;
    let elsewhere = format!("{}/x.tgz", canary.address());
    canary.put(
        "/x.tgz",
        Page::Body("application/octet-stream", package("")),
    );
    let rig = rig(&server, |_| {}).await;
    for (name, spec) in [
        ("by-git", "git+https://127.0.0.1/x.git".to_owned()),
        ("by-shorthand", "someone/something".to_owned()),
        ("by-url", elsewhere),
        ("by-file", "file:../../../etc".to_owned()),
    ] {
        server.npm(name, json!({"dependencies": {"x": spec}}), &package(""));
        failed_with(&refused(&rig, name).await, "");
    }
    assert_eq!(canary.connections(), 0, "nobody went there");
    rig.only(0).await;
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_64_a_blocked_package_is_refused_behind_another_one() {
    let server = Server::start().await;
    server.npm("pm2", json!({}), &package(""));
    server.npm(
        "middle",
        json!({"dependencies": {"other": "npm:pm2@1"}}),
        &package(""),
    );
    server.npm(
        "top",
        json!({"dependencies": {"middle": "^1.0.0"}}),
        &package(""),
    );
    let rig = rig(&server, |settings| {
        settings.blocked = vec!["PM2".to_owned()]
    })
    .await;
    let error = refused(&rig, "top").await;
    assert_eq!(error.code(), ErrorCode::PolicyDenied);
    assert!(error.to_string().contains("top > middle > pm2"), "{error}");
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_65_a_redirect_into_the_house_leads_nowhere() {
    let server = Server::start().await;
    let canary = Server::start().await;
    canary.put("/secret", Page::Body("text/plain", b"secret".to_vec()));
    let rig = rig(&server, |_| {}).await;
    for (name, to) in [
        ("to-canary", format!("{}/secret", canary.address())),
        (
            "to-name",
            format!("http://localhost:{}/secret", canary.port),
        ),
        (
            "to-metadata",
            "http://169.254.169.254/latest/meta-data".to_owned(),
        ),
        ("to-docker", "http://172.17.0.1:2375/info".to_owned()),
        ("to-tls", "https://10.0.0.1/".to_owned()),
    ] {
        server.npm(name, json!({}), &package(""));
        let lock = rig
            .resolve(Runtime::Node, &[(name, "1.0.0")])
            .await
            .unwrap();
        server.put(&format!("/{name}/-/{name}-1.0.0.tgz"), Page::Redirect(to));
        let run = rig
            .run(call(
                Runtime::Node,
                &[(name, "1.0.0")],
                Some(&lock),
                "return 1",
            ))
            .await;
        let error = run.unwrap_err();
        failed_with(&error, "were refused: only the package registry");
        assert!(!error.to_string().contains("secret\""));
    }
    assert_eq!(canary.connections(), 0, "nobody went there");
    rig.only(0).await;
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_65_the_password_of_a_registry_is_nowhere_to_be_seen() {
    let server = Server::start().await;
    server.demand("Basic bWU6aHVudGVyMg==");
    server.npm("good", json!({}), &package("module.exports = 7"));
    server.npm("slow", json!({}), &package(""));
    let with = |user: &str| format!("http://{user}@127.0.0.1:{}/", server.port);
    let rig = rig(&server, |settings| {
        settings.npm_registry = Some(with("me:hunter2"));
        settings.timeout = Duration::from_secs(8);
    })
    .await;
    let wanted = [("good", "1.0.0")];
    let lock = rig.resolve(Runtime::Node, &wanted).await.unwrap();
    assert!(!lock.text().contains("hunter2") && !lock.text().contains("127.0.0.1"));
    let value = rig.value(call(
        Runtime::Node,
        &wanted,
        Some(&lock),
        "return require('good')",
    ));
    assert_eq!(value.await, 7);
    // While an install hangs, the daemon's own view of its container and volume is read.
    let lock = rig
        .resolve(Runtime::Node, &[("slow", "1.0.0")])
        .await
        .unwrap();
    server.put("/slow/-/slow-1.0.0.tgz", Page::Hang);
    let hanging = rig.run(call(
        Runtime::Node,
        &[("slow", "1.0.0")],
        Some(&lock),
        "return 1",
    ));
    let look = async {
        let daemon = testkit::docker::daemon();
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if server.asked("/slow/-/slow-1.0.0.tgz") == 0 {
                continue;
            }
            let mut seen = String::new();
            for container in rig.containers().await {
                seen += &daemon.run(&["inspect", &container]).await;
            }
            for volume in rig.volumes().await {
                seen += &daemon.run(&["volume", "inspect", &volume]).await;
            }
            return seen;
        }
    };
    let (error, seen) = tokio::join!(hanging, look);
    assert!(
        seen.contains("npm ci") || seen.contains("dynamic-mcp.lock"),
        "{seen}"
    );
    for secret in ["hunter2", "bWU6aHVudGVyMg"] {
        assert!(!seen.contains(secret));
    }
    let error = error.unwrap_err();
    failed_with(&error, "was not done after 8 s");
    rig.close().await;

    let rig = self::rig(&server, |settings| {
        settings.npm_registry = Some(with("me:wrong-one"))
    })
    .await;
    let error = refused(&rig, "good").await;
    failed_with(&error, "401");
    assert!(!format!("{error:?}").contains("wrong-one"), "{error:?}");
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_58_68_what_is_too_large_or_too_much_or_never_ends_leaves_nothing() {
    let server = Server::start().await;
    let manifest = br#"{"name":"x","version":"1.0.0"}"#;
    let names: Vec<String> = (0..30_000)
        .map(|number| format!("package/{}/{number}", number % 97))
        .collect();
    let many = names.iter().map(|name| file(name, b""));
    let many = tar(std::iter::once(file("package/package.json", manifest)).chain(many));
    server.npm("many", json!({}), &many);
    server.npm("large", json!({}), &vec![0; 40 << 20]);
    let zeros = vec![0; 120 << 20];
    let bomb = tar([
        file("package/package.json", manifest),
        file("package/zeros", &zeros),
    ]);
    server.npm("bomb", json!({}), &gzip(&bomb));
    server.npm("hangs", json!({}), &package(""));
    let rig = rig(&server, |settings| {
        settings.max_bytes = 32 << 20;
        settings.max_files = 5_000;
        settings.timeout = Duration::from_secs(20);
    })
    .await;
    failed_with(
        &refused(&rig, "many").await,
        "too many files (allowed: 5000)",
    );
    failed_with(
        &refused(&rig, "large").await,
        "too large to fetch (allowed: 33554432 bytes)",
    );
    failed_with(
        &refused(&rig, "bomb").await,
        "too large (allowed: 33554432 bytes)",
    );
    let lock = rig
        .resolve(Runtime::Node, &[("hangs", "1.0.0")])
        .await
        .unwrap();
    server.put("/hangs/-/hangs-1.0.0.tgz", Page::Hang);
    let begun = Instant::now();
    let run = rig
        .run(call(
            Runtime::Node,
            &[("hangs", "1.0.0")],
            Some(&lock),
            "return 1",
        ))
        .await;
    failed_with(&run.unwrap_err(), "was not done after 20 s");
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    rig.only(0).await;
    assert_eq!(rig.metrics.dependency_volumes.get(), 0);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_66_native_code_is_told_and_refused_where_it_is_not_allowed() {
    let server = Server::start().await;
    let manifest = br#"{"name":"x","version":"1.0.0"}"#;
    let bytes = tar([
        file("package/package.json", manifest),
        file("package/build/x.node", b"\x7fELF"),
        file("package/program", b"\x7fELF and so on"),
    ]);
    server.npm("native", json!({}), &bytes);
    let strict = rig(&server, |settings| settings.allow_native = false).await;
    let error = refused(&strict, "native").await;
    assert_eq!(error.code(), ErrorCode::PolicyDenied, "{error}");
    assert!(error.to_string().contains("native/"), "{error}");
    strict.only(0).await;
    strict.close().await;
    let rig = rig(&server, |_| {}).await;
    let wanted = [("native", "1.0.0")];
    let lock = rig.resolve(Runtime::Node, &wanted).await.unwrap();
    let code = "return JSON.parse(require('fs').readFileSync('/node_modules/.dynamic-mcp-installed')).native.sort()";
    let value = rig
        .value(call(Runtime::Node, &wanted, Some(&lock), code))
        .await;
    assert_eq!(value, json!(["native/build/x.node", "native/program"]));
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_a_package_manager_says_so() {
    let server = Server::start().await;
    let rig = rig(&server, |_| {}).await;
    let mut call = call(Runtime::Node, &[("x", "1.0.0")], None, "return 1");
    call.image = testkit::docker::BARE_IMAGE.to_owned();
    failed_with(&rig.run(call).await.unwrap_err(), "has no npm");
    rig.close().await;
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip")
        .arg("-1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || std::io::Write::write_all(&mut input, bytes).unwrap());
        child.wait_with_output().unwrap()
    });
    output.stdout
}
