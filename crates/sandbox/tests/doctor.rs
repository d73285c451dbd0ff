//! The doctor on this machine: its daemon, no daemon, one that hangs; and its attacks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed helper fails its test"
)]

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::runner::EngineKind;
use sandbox::docker::{DockerEngineSettings, DockerSettings};
use sandbox::doctor::{DoctorSettings, Finding, Held, InstallSources, Report, State, examine};
use sandbox::isolate::IsolateSettings;
use telemetry::{BuildInfo, Metrics};
use testkit::docker::{BARE_IMAGE, IMAGE, PYTHON_IMAGE};
use tokio::time::Instant;

fn settings(engine: Option<EngineKind>, host: Option<String>) -> DoctorSettings {
    DoctorSettings {
        engine,
        docker: DockerEngineSettings {
            docker: DockerSettings {
                host,
                ..DockerSettings::default()
            },
            allowed_images: vec![PYTHON_IMAGE.to_owned(), IMAGE.to_owned()],
            ..DockerEngineSettings::default()
        },
        isolate: IsolateSettings {
            program: PathBuf::from(env!("CARGO_BIN_EXE_sandbox-guest")),
            ..IsolateSettings::default()
        },
        install: InstallSources::default(),
    }
}

async fn look(settings: DoctorSettings, attack: bool) -> Report {
    let build = BuildInfo {
        service: "test",
        version: "0",
        commit: "0",
    };
    examine(settings, attack, Arc::new(Metrics::new(build).unwrap())).await
}

#[track_caller]
fn finding<'a>(report: &'a Report, check: &str) -> &'a Finding {
    let found = report.findings().iter().find(|it| it.check == check);
    found.unwrap_or_else(|| panic!("{check} says nothing: {}", report.text()))
}

/// What the doctor says of the daemon is what the `docker` program says.
#[tokio::test]
async fn fault_56_docker_the_daemon_of_the_tests_is_told_as_it_is() {
    let docker = testkit::docker::daemon();
    let format =
        "{{.ServerVersion}}|{{.CgroupVersion}}|{{.RuncCommit.ID}}|{{.Driver}}|{{.DockerRootDir}}";
    let said = docker.run(&["info", "--format", format]).await;
    let said: Vec<&str> = said.split('|').collect();
    let report = look(settings(Some(EngineKind::Docker), None), false).await;
    let engine = finding(&report, "engine");
    assert_eq!(engine.state, State::Ok, "{engine:?}");
    for (check, part) in [
        ("docker-version", said[0]),
        ("cgroup", said[1]),
        ("storage", said[3]),
        ("disk", said[4]),
    ] {
        let found = finding(&report, check);
        assert!(found.found.contains(part), "{check}: {part} in {found:?}");
    }
    let runc = finding(&report, "runc");
    if said[2].starts_with("1.1.") {
        assert_eq!(runc.state, State::Weak);
        assert_eq!(report.exit_code(), 1, "{}", report.text());
    }
    for check in [
        "limits",
        "docker-seccomp",
        "daemon-clock",
        "kernel",
        "isolate-walls",
    ] {
        assert_eq!(finding(&report, check).state, State::Ok, "{check}");
    }
    // The ID that it prints is one that pins.
    let images = report.findings().iter().filter(|it| it.check == "image");
    let fixes: Vec<&str> = images.filter_map(|it| it.fix.as_deref()).collect();
    assert_eq!(fixes.len(), 2);
    let pinned = fixes
        .iter()
        .map(|fix| fix.rsplit(' ').next().unwrap().to_owned());
    let mut pinning = settings(Some(EngineKind::Docker), None);
    pinning.docker.allowed_images = pinned.collect();
    let report = look(pinning, false).await;
    assert_eq!(
        finding(&report, "image").state,
        State::Ok,
        "{}",
        report.text()
    );
}

#[tokio::test]
async fn docker_that_refuses_an_old_runc_is_told_to_fail() {
    testkit::docker::daemon();
    let mut strict = settings(Some(EngineKind::Docker), None);
    strict.docker.require_patched_runc = true;
    let report = look(strict.clone(), false).await;
    let safe = finding(&report, "runc").state == State::Ok;
    assert_eq!(report.exit_code() == 2, !safe, "{}", report.text());
    // And so it is: the engine starts if the doctor says so.
    let build = BuildInfo {
        service: "test",
        version: "0",
        commit: "0",
    };
    let metrics = Arc::new(Metrics::new(build).unwrap());
    let launched = sandbox::docker::DockerEngine::launch(strict.docker, metrics).await;
    match launched {
        Ok(engine) => {
            assert!(safe);
            sandbox::Engine::shutdown(&engine).await;
        }
        Err(error) => {
            assert!(!safe);
            assert_eq!(error.field(), Some("MCP_SANDBOX_REQUIRE_PATCHED_RUNC"));
        }
    }
}

#[tokio::test]
async fn without_a_daemon_it_says_what_runs_then() {
    let nowhere = || Some("unix:///nowhere/docker.sock".to_owned());
    let report = look(settings(Some(EngineKind::Docker), nowhere()), false).await;
    assert_eq!(finding(&report, "engine").state, State::Fail);
    assert_eq!(report.exit_code(), 2);
    let report = look(settings(None, nowhere()), false).await;
    let engine = finding(&report, "engine");
    assert_eq!(engine.state, State::Advice, "{engine:?}");
    assert!(engine.found.contains("/nowhere/docker.sock"), "{engine:?}");
    assert_eq!(finding(&report, "runc").state, State::Skipped);
    let report = look(settings(Some(EngineKind::Isolate), nowhere()), false).await;
    assert_eq!(finding(&report, "engine").state, State::Ok);
}

/// It takes connections and never says a word.
#[tokio::test]
async fn a_daemon_that_hangs_does_not_hold_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let begun = Instant::now();
    let host = format!("unix://{}", path.display());
    let report = look(settings(None, Some(host)), true).await;
    assert!(begun.elapsed() < Duration::from_secs(60));
    let engine = finding(&report, "engine");
    assert_eq!(engine.state, State::Advice, "{engine:?}");
    let engines: Vec<&str> = report.attacks().iter().map(|it| it.engine).collect();
    assert_eq!(engines, ["isolate"], "what is not there is not attacked");
}

#[tokio::test]
async fn sources_of_packages_are_looked_at_and_their_credentials_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, "no certificate").unwrap();
    let mut given = settings(Some(EngineKind::Isolate), None);
    given.install = InstallSources {
        extra_ca_certs: Some(file),
        npm_registry: Some("http://user:canary-secret@127.0.0.1:1/".to_owned()),
        pip_index: Some("canary-secret".to_owned()),
    };
    let report = look(given, false).await;
    let mine = report
        .findings()
        .iter()
        .filter(|it| it.check == "install-sources");
    let states: Vec<State> = mine.map(|it| it.state).collect();
    assert_eq!(states, [State::Fail, State::Weak, State::Fail]);
    assert_eq!(report.exit_code(), 2);
    let shown = format!("{}{}", report.text(), report.json());
    assert!(!shown.contains("canary-secret"), "{shown}");
}

/// Faults 1 to 50 as far as one host can try them in half a minute; every attempt is made and held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_and_isolate_alone_hold_against_every_attack() {
    let docker = testkit::docker::daemon();
    let report = look(settings(None, None), true).await;
    let text = report.text();
    let engines: Vec<&str> = report.attacks().iter().map(|it| it.engine).collect();
    assert_eq!(engines, ["docker", "isolate"], "{text}");
    for (attacks, least) in report.attacks().iter().zip([120, 35]) {
        let bad = attacks.attacks.iter().filter(|it| it.held != Held::Yes);
        let bad: Vec<_> = bad.collect();
        assert!(bad.is_empty(), "{bad:#?}");
        let (held, all) = attacks.score();
        assert_eq!(held, all);
        assert!(all >= least, "{all} attacks on {}", attacks.engine);
    }
    // The first allowed image has no Node.js; the second was taken.
    assert_eq!(report.attacks()[0].place, IMAGE);
    let json = report.json();
    assert_eq!(json["exitCode"], report.exit_code());
    assert_eq!(json["attacks"][0]["held"], json["attacks"][0]["of"]);
    let left = docker.labelled("dynamic-mcp.sandbox=1").await;
    let ours = left.iter().filter(|name| name.contains("doctor"));
    assert_eq!(ours.count(), 0, "{left:?}");
}

/// An image without a shell is attacked just as well, and one that is named by its ID.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_alone_holds_in_an_image_with_nothing_but_node() {
    let docker = testkit::docker::daemon();
    let id = ["image", "inspect", "--format", "{{.Id}}", BARE_IMAGE];
    let mut bare = settings(Some(EngineKind::Docker), None);
    bare.docker.allowed_images = vec![docker.run(&id).await];
    let report = look(bare, true).await;
    let attacks = &report.attacks()[0];
    let bad: Vec<_> = attacks
        .attacks
        .iter()
        .filter(|it| it.held != Held::Yes)
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(attacks.attacks.len() >= 120);
}

/// The code of the attacks, in containers without walls: it finds that they are not there. A doctor
/// that never saw anything broken would prove nothing.
#[tokio::test]
async fn docker_without_walls_is_seen_to_be_open() {
    let docker = testkit::docker::daemon();
    let run = async |name: &str| -> Vec<serde_json::Value> {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/doctor/attack/");
        let code = std::fs::read_to_string(format!("{file}{name}.js")).unwrap();
        let args = r#"{"port": 1, "hosts": [], "abstract": "x", "environment": []}"#;
        let program = format!(
            "(async (args) => {{{code}\n}})({args}).then((said) => console.log(JSON.stringify(said)))"
        );
        let said = docker
            .run(&[
                "run",
                "--rm",
                "--user",
                "0",
                "--security-opt",
                "seccomp=unconfined",
                "--pid",
                "host",
                "--tmpfs",
                "/workspace:exec",
                "--env",
                "SECRET=1",
                IMAGE,
                "node",
                "-e",
                &program,
            ])
            .await;
        serde_json::from_str(&said).unwrap()
    };
    let broken = |said: &[serde_json::Value]| -> Vec<String> {
        let broken = said.iter().filter(|it| it["held"] == false);
        broken
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let look = broken(&run("look").await);
    for name in [
        "user",
        "capabilities",
        "no-new-privileges",
        "seccomp",
        "become-root",
        "setuid-programs",
        "root-file-system",
        "write /etc/passwd",
        "writable-places",
        "environment",
        "processes",
        "interfaces",
    ] {
        assert!(
            look.iter().any(|it| it == name),
            "{name} is not seen: {look:?}"
        );
    }
    let calls = broken(&run("syscalls").await);
    for name in [
        "chroot",
        "clone3",
        "memfd_create",
        "shmget",
        "setuid",
        "ptrace",
        "socket AF_PACKET",
        "keyctl",
    ] {
        let name = format!("system call {name}");
        assert!(calls.contains(&name), "{name} is not seen: {calls:?}");
    }
}
