//! The same with pip.

use domain::error::ErrorCode;
use domain::tool::Runtime;
use serde_json::json;
use sha2::Digest;

use crate::hostile::rig;
use crate::rig::{Rig, call};
use crate::server::{Page, Server, hex, wheel};

async fn refused(rig: &Rig, name: &str) -> domain::Error {
    let wanted = [(name, "1.0")];
    let lock = match rig.resolve(Runtime::Python, &wanted).await {
        Ok(lock) => lock,
        Err(error) => return error,
    };
    let call = call(Runtime::Python, &wanted, Some(&lock), "return 1");
    rig.run(call).await.expect_err(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_63_only_wheels_are_installed_so_that_nothing_of_a_package_runs() {
    let server = Server::start().await;
    let code = wheel(
        "good",
        &["needed>=1"],
        &[("good.py", b"import needed\nVALUE = needed.VALUE + 1\n")],
    );
    let needed = wheel("needed", &[], &[("needed.py", b"VALUE = 41\n")]);
    server.pypi(
        "good",
        &[
            ("good-1.0-py3-none-any.whl", &code),
            ("good-1.0-py2-none-any.whl", b"old"),
        ],
    );
    server.pypi("needed", &[("needed-1.0-py3-none-any.whl", &needed)]);
    server.pypi(
        "source",
        &[("source-1.0.tar.gz", b"import os; os.system('x')")],
    );
    let rig = rig(&server, |_| {}).await;
    let wanted = [("good", "1.0")];
    let lock = rig.resolve(Runtime::Python, &wanted).await.unwrap();
    let list: Vec<_> = lock
        .packages()
        .map(|it| (it.name.as_str(), it.integrity.len(), it.path.join(">")))
        .collect();
    assert_eq!(
        list,
        [
            ("good", 2, "good".to_owned()),
            ("needed", 1, "good>needed".to_owned())
        ]
    );
    let value = rig.value(call(
        Runtime::Python,
        &wanted,
        Some(&lock),
        "import good\nreturn good.VALUE",
    ));
    assert_eq!(value.await, 42);
    let error = refused(&rig, "source").await;
    assert_eq!(error.code(), ErrorCode::DependencyInstallFailed);
    assert!(
        error.to_string().contains("No matching distribution"),
        "{error}"
    );
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_64_66_wheels_from_elsewhere_or_with_other_bytes_are_refused() {
    let server = Server::start().await;
    let canary = Server::start().await;
    let address = format!(
        "elsewhere @ {}/elsewhere-1.0-py3-none-any.whl",
        canary.address()
    );
    let by_url = wheel("by_url", &[&address], &[("by_url.py", b"")]);
    server.pypi("by-url", &[("by_url-1.0-py3-none-any.whl", &by_url)]);
    let escape = wheel(
        "escape",
        &[],
        &[("../../escape.py", b""), ("/tmp/escape.py", b"")],
    );
    server.pypi("escape", &[("escape-1.0-py3-none-any.whl", &escape)]);
    let code = wheel("changed", &[], &[("changed.py", b"VALUE = 1\n")]);
    server.pypi("changed", &[("changed-1.0-py3-none-any.whl", &code)]);
    let blocked = wheel("top", &["node.PTY"], &[("top.py", b"")]);
    server.pypi("top", &[("top-1.0-py3-none-any.whl", &blocked)]);
    let pty = wheel("node_pty", &[], &[("pty.py", b"")]);
    server.pypi("node-pty", &[("node_pty-1.0-py3-none-any.whl", &pty)]);
    let rig = rig(&server, |settings| {
        settings.blocked = vec!["node-pty".to_owned()]
    })
    .await;
    for (name, words) in [("by-url", ""), ("escape", "")] {
        let error = refused(&rig, name).await;
        assert_eq!(error.code(), ErrorCode::DependencyInstallFailed, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(canary.connections(), 0, "nobody went there");
    let error = refused(&rig, "top").await;
    assert_eq!(error.code(), ErrorCode::PolicyDenied, "{error}");
    assert!(error.to_string().contains("top > node"), "{error}");

    let wanted = [("changed", "1.0")];
    let lock = rig.resolve(Runtime::Python, &wanted).await.unwrap();
    let other = wheel("changed", &[], &[("changed.py", b"VALUE = 'evil'\n")]);
    server.pypi("changed", &[("changed-1.0-py3-none-any.whl", &other)]);
    let run = rig
        .run(call(Runtime::Python, &wanted, Some(&lock), "return 1"))
        .await;
    let error = run.unwrap_err();
    assert_eq!(error.code(), ErrorCode::DependencyInstallFailed, "{error}");
    rig.only(0).await;
    rig.close().await;
}

/// A lock of another Python holds as long as that needs no other packages.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_another_python_is_installed_or_says_what_it_lacks() {
    let server = Server::start().await;
    let alone = wheel("alone", &[], &[("alone.py", b"VALUE = 1\n")]);
    server.pypi("alone", &[("alone-1.0-py3-none-any.whl", &alone)]);
    let needs = wheel("needs", &["alone"], &[("needs.py", b"")]);
    server.pypi("needs", &[("needs-1.0-py3-none-any.whl", &needs)]);
    let rig = rig(&server, |_| {}).await;
    let older = |lock: &domain::Lockfile, without: &str| {
        let mut value: serde_json::Value = serde_json::from_str(lock.text()).unwrap();
        value["python"] = json!("3.9");
        let packages = value["packages"].as_array_mut().unwrap();
        packages.retain(|package| package["name"] != without);
        for package in packages {
            package.as_object_mut().unwrap().remove("requires");
        }
        domain::Lockfile::parse(Runtime::Python, &value.to_string()).unwrap()
    };
    let wanted = [("alone", "1.0")];
    let lock = older(&rig.resolve(Runtime::Python, &wanted).await.unwrap(), "");
    let value = rig.value(call(
        Runtime::Python,
        &wanted,
        Some(&lock),
        "import alone\nreturn alone.VALUE",
    ));
    assert_eq!(value.await, 1);
    let wanted = [("needs", "1.0")];
    let lock = older(
        &rig.resolve(Runtime::Python, &wanted).await.unwrap(),
        "alone",
    );
    let run = rig
        .run(call(Runtime::Python, &wanted, Some(&lock), "return 1"))
        .await;
    let error = run.unwrap_err().to_string();
    assert!(error.contains("alone") && error.contains("hash"), "{error}");
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_65_an_index_may_keep_files_on_another_port_but_not_at_another_private_host() {
    let server = Server::start().await;
    let files = Server::start().await;
    let bytes = wheel("far", &[], &[("far.py", b"VALUE = 9\n")]);
    files.pypi("far", &[("far-1.0-py3-none-any.whl", &bytes)]);
    let digest = hex(&sha2::Sha256::digest(&bytes));
    let link = |host: &str| {
        let page = format!(
            "<a href=\"http://{host}:{}/files/far-1.0-py3-none-any.whl#sha256={digest}\">\
             far-1.0-py3-none-any.whl</a>",
            files.port
        );
        Page::Body("text/html", page.into_bytes())
    };
    let rig = rig(&server, |_| {}).await;
    server.put("/simple/far/", link("localhost"));
    let error = refused(&rig, "far").await;
    assert_eq!(error.code(), ErrorCode::DependencyInstallFailed, "{error}");
    assert_eq!(files.connections(), 0);
    server.put("/simple/far/", link("127.0.0.1"));
    let wanted = [("far", "==1.0")];
    let lock = rig.resolve(Runtime::Python, &wanted).await.unwrap();
    let value = rig.value(call(
        Runtime::Python,
        &wanted,
        Some(&lock),
        "import far\nreturn far.VALUE",
    ));
    assert_eq!(value.await, 9);
    rig.close().await;
}
