//! Packages: mounted from the start, and brought later.

use domain::dependency::Dependency;
use domain::runner::Resolve;
use domain::session::Network;
use domain::tool::Runtime;
use domain::{Call, ErrorCode, Lockfile};
use sandbox::Engine;
use serde_json::json;

use crate::code::{job, outcome, value};
use crate::rig::{NODE, PYTHON, Rig, exec, sh, soon};

async fn lock(
    rig: &Rig,
    image: &str,
    runtime: Runtime,
    name: &str,
    version: &str,
) -> (Vec<Dependency>, Lockfile) {
    let dependencies = vec![Dependency {
        name: name.to_owned(),
        version: version.to_owned(),
    }];
    let resolve = Resolve {
        runtime,
        image: image.to_owned(),
        dependencies: dependencies.clone(),
    };
    let lock = rig.engine.resolve(resolve, soon(90)).await;
    (
        dependencies,
        lock.unwrap_or_else(|error| panic!("{error} {:?}", error.cause())),
    )
}

/// What is named at the start is mounted; what comes later is unpacked into the workspace, replaces
/// what is mounted, and is there for commands too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_packages_are_mounted_and_come_later() {
    let rig = Rig::new().await;
    for (image, runtime, name, versions, code, shell) in [
        (
            NODE,
            Runtime::Node,
            "is-number",
            ["7.0.0", "6.0.0"],
            "return require('is-number/package.json').version",
            "node -p \"require('is-number/package.json').version\"",
        ),
        (
            PYTHON,
            Runtime::Python,
            "six",
            ["1.16.0", "1.15.0"],
            "import six\nreturn six.__version__",
            "python3 -c 'import six; print(six.__version__)'",
        ),
    ] {
        let (_, first) = lock(&rig, image, runtime, name, versions[0]).await;
        let (dependencies, second) = lock(&rig, image, runtime, name, versions[1]).await;
        let mut wanted = Rig::wanted(image);
        wanted.lock = Some(first);
        wanted.deadline = soon(90);
        let session = rig.engine.open_session(wanted).await.unwrap();
        let mounted = sh(&*session, shell).await;
        assert_eq!(mounted.stdout.trim(), versions[0], "{mounted:?}");
        let run = |dependencies: Vec<Dependency>, lock: Option<Lockfile>| {
            let mut job = job(runtime, code, 60_000);
            job.call = Call {
                dependencies,
                lock,
                ..job.call
            };
            session.run(job)
        };
        let ended = outcome(run(Vec::new(), None).await.unwrap()).await.0;
        assert_eq!(value(&ended), json!(versions[0]));
        for _ in 0..2 {
            let ended = outcome(
                run(dependencies.clone(), Some(second.clone()))
                    .await
                    .unwrap(),
            )
            .await
            .0;
            assert_eq!(value(&ended), json!(versions[1]), "{image}");
        }
        assert_eq!(sh(&*session, shell).await.stdout.trim(), versions[1]);
        session.stop().await;
    }
    rig.close().await;
    rig.remove_volumes();
}

/// 57: the workspace is full, or a directory of that name is none: nothing is left of what came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_57_packages_that_cannot_be_unpacked_leave_nothing() {
    let rig = Rig::new().await;
    let (dependencies, lock) = lock(&rig, NODE, Runtime::Node, "is-number", "7.0.0").await;
    for (spoil, code) in [
        (
            "ln -s /tmp node_modules",
            ErrorCode::DependencyInstallFailed,
        ),
        ("echo x >node_modules", ErrorCode::DependencyInstallFailed),
        (
            "head -c 500000000 /dev/zero >full; true",
            ErrorCode::LimitExceeded,
        ),
    ] {
        let session = rig.open(NODE).await;
        exec(&*session, &[spoil], 20_000).await.unwrap();
        let mut job = job(Runtime::Node, "return 1", 60_000);
        job.call.dependencies = dependencies.clone();
        job.call.lock = Some(lock.clone());
        let refused = session.run(job).await.unwrap_err();
        assert_eq!(refused.code(), code, "{spoil}: {refused}");
        let left = sh(
            &*session,
            "ls -A | grep -v full | grep -v node_modules | wc -l; ls -A /tmp | wc -l",
        )
        .await;
        assert_eq!(left.stdout, "0\n0\n", "{spoil}");
        session.stop().await;
    }
    rig.close().await;
    rig.remove_volumes();
}

/// With a bridge, where that is allowed, package managers work in the shell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_a_session_with_a_bridge_installs_in_its_shell() {
    let rig = Rig::new().await;
    for (image, commands) in [
        (
            NODE,
            "npm install --no-audit --no-fund is-number@7.0.0 && node -p \"require('is-number')(5)\" | tail -1",
        ),
        (
            PYTHON,
            "python3 -m pip install --no-cache-dir --break-system-packages --target here six==1.16.0 && \
             PYTHONPATH=here python3 -c 'import six; print(\"True\".lower())'",
        ),
    ] {
        let mut wanted = Rig::wanted(image);
        wanted.network = Network::Bridge;
        let session = rig.engine.open_session(wanted).await.unwrap();
        let installed = exec(&*session, &[commands], 60_000).await.unwrap();
        assert!(
            installed[0].stdout.ends_with("true\n"),
            "{image}: {installed:?}"
        );
        session.stop().await;
        let without = rig.open(image).await;
        let refused = exec(&*without, &[commands], 20_000).await.unwrap();
        assert!(
            !refused[0].stdout.ends_with("true\n"),
            "{image}: {refused:?}"
        );
        without.stop().await;
    }
    rig.close().await;
}
