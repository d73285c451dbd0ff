//! Verdicts on machines that nobody has here.

use domain::runner::EngineKind;

use super::*;
use crate::WallStatus;
use crate::docker::Filtered;
use crate::doctor::facts::{
    Clear, DaemonFacts, Host, ImageFact, ImageThere, InstallFacts, RegistryFact, Wanted,
};
use crate::doctor::finding::State;
use crate::doctor::report::Report;

fn wall(name: &'static str, held: bool, required: bool) -> WallStatus {
    WallStatus {
        name,
        held,
        required,
        detail: if held {
            "open a file"
        } else {
            "it went through"
        }
        .to_owned(),
    }
}

fn image(name: &str, there: bool) -> ImageFact {
    ImageFact {
        name: name.to_owned(),
        there: there.then(|| ImageThere {
            id: format!("sha256:{}", "1f".repeat(32)),
            ..ImageThere::default()
        }),
        error: None,
    }
}

/// A machine on which nothing is to be said.
fn best() -> Facts {
    let text = |text: &str| Some(text.to_owned());
    Facts {
        wanted: Wanted {
            engine: Some(EngineKind::Docker),
            memory_bytes: 512 << 20,
            pool_size: 2,
            ..Wanted::default()
        },
        host: Host {
            kernel: text("6.12.1-amd64"),
            seccomp_actions: text("kill_process kill_thread errno allow"),
            max_user_namespaces: Some(10_000),
            userns_restricted: Some(false),
            lsm: text("lockdown,landlock,apparmor"),
            landlock_abi: Some(6),
            clock_source: text("tsc"),
            ptrace_scope: Some(1),
            unprivileged_bpf_disabled: Some(2),
            open_files: Some((65_536, 65_536)),
            uid: 1000,
            socket_for_all: Some(false),
            disk: Some((90 << 30, 100 << 30)),
        },
        daemon: Some(Ok(DaemonFacts {
            address: "unix:///run/docker.sock".to_owned(),
            version: "28.5.1".to_owned(),
            api: "1.51".to_owned(),
            kernel: text("6.12.1-amd64"),
            os: "Debian 13".to_owned(),
            runc: "1.3.3".to_owned(),
            runtimes: vec!["runc".to_owned(), "runsc".to_owned()],
            default_runtime: "runc".to_owned(),
            cgroup_version: text("2"),
            cgroup_driver: text("systemd"),
            limits: vec![
                ("memory", true),
                ("swap", true),
                ("processes", true),
                ("CPU", true),
            ],
            security: [
                "apparmor",
                "seccomp,profile=builtin",
                "rootless",
                "cgroupns",
            ]
            .map(|it| format!("name={it}"))
            .into(),
            storage_driver: "overlay2".to_owned(),
            storage: vec![("Backing Filesystem".to_owned(), "xfs".to_owned())],
            root_dir: text("/var/lib/docker"),
            log_driver: "local".to_owned(),
            live_restore: true,
            insecure_registries: vec!["127.0.0.0/8".to_owned(), "::1/128".to_owned()],
            skew: Some((0.01, 0.002)),
            memory_bytes: 16 << 30,
            cpus: 8,
            events_denied: None,
            clear: None,
        })),
        images: vec![image(&format!("node@sha256:{}", "1f".repeat(32)), true)],
        walls: Some(Ok(vec![
            wall("namespaces", true, false),
            wall("seccomp", true, true),
        ])),
        install: InstallFacts::default(),
    }
}

fn daemon(change: impl FnOnce(&mut DaemonFacts)) -> Facts {
    let mut facts = best();
    if let Some(Ok(daemon)) = &mut facts.daemon {
        change(daemon);
    }
    facts
}

fn host(change: impl FnOnce(&mut Host)) -> Facts {
    let mut facts = best();
    change(&mut facts.host);
    facts
}

fn with(change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = best();
    change(&mut facts);
    facts
}

/// The worst that a check says.
fn worst(facts: &Facts, check: &str) -> State {
    let findings = all(facts);
    let mine = findings.iter().filter(|it| it.check == check);
    mine.map(|it| it.state)
        .max()
        .expect("the check says something")
}

#[test]
fn a_good_machine_gets_no_word_of_blame() {
    let report = Report::new(all(&best()), Vec::new());
    assert_eq!(report.exit_code(), 0);
    assert!(report.findings().iter().all(|it| it.state == State::Ok));
    insta::assert_snapshot!("best", report.text());
}

#[test]
fn a_bad_machine_is_told_everything_with_reasons_and_fixes() {
    let facts = Facts {
        wanted: Wanted {
            engine: Some(EngineKind::Docker),
            runtime: Some("runsc".to_owned()),
            any_image: true,
            memory_bytes: 8 << 30,
            pool_size: 2,
            ..Wanted::default()
        },
        host: Host {
            kernel: Some("4.9.0".to_owned()),
            seccomp_actions: Some("kill trap errno".to_owned()),
            max_user_namespaces: Some(0),
            userns_restricted: Some(true),
            landlock_abi: Some(0),
            clock_source: Some("jiffies".to_owned()),
            ptrace_scope: Some(0),
            unprivileged_bpf_disabled: Some(0),
            open_files: Some((1_024, 4_096)),
            ..Host::default()
        },
        daemon: Some(Ok(DaemonFacts {
            address: "tcp://10.0.0.1:2375".to_owned(),
            version: "20.10.24+dfsg1".to_owned(),
            api: "1.41".to_owned(),
            kernel: Some("5.4.0".to_owned()),
            runc: "1.1.5+ds1-1+deb12u1".to_owned(),
            runtimes: vec!["runc".to_owned()],
            cgroup_version: Some("1".to_owned()),
            limits: vec![("memory", true), ("swap", false)],
            storage_driver: "vfs".to_owned(),
            insecure_registries: vec!["10.0.0.0/8".to_owned()],
            skew: Some((-90.0, 0.1)),
            events_denied: Some("the Docker daemon answered 403: no events".to_owned()),
            memory_bytes: 4 << 30,
            cpus: 2,
            ..DaemonFacts::default()
        })),
        images: vec![image("node:1", true), image("python:1", false)],
        walls: Some(Ok(vec![
            wall("namespaces", false, false),
            wall("seccomp", false, true),
        ])),
        install: InstallFacts {
            extra_ca: Some(("/ca.pem".to_owned(), Ok(0))),
            registries: vec![RegistryFact {
                key: "MCP_SANDBOX_PIP_INDEX",
                place: Ok(("http".to_owned(), "index".to_owned(), 80)),
                reached: Ok(()),
            }],
        },
    };
    let report = Report::new(all(&facts), Vec::new());
    assert_eq!(report.exit_code(), 2);
    for finding in report
        .findings()
        .iter()
        .filter(|it| it.state >= State::Advice)
    {
        assert!(finding.fix.is_some(), "{finding:?}");
    }
    insta::assert_snapshot!("worst", report.text());
}

/// Fault 56 among them: what each thing that is not as it should be comes to.
#[test]
fn fault_56_each_thing_is_told_for_what_it_is() {
    let runc = |version: &str| daemon(|it| it.runc = version.to_owned());
    let strict = |version: &str| {
        let mut facts = runc(version);
        facts.wanted.require_patched_runc = true;
        facts
    };
    for (what, facts, check, state) in [
        ("old", runc("1.1.11"), "runc", State::Weak),
        ("of 2024", runc("1.2.7"), "runc", State::Weak),
        ("safe", runc("v1.2.8-0-gabc"), "runc", State::Ok),
        ("a commit", runc("51d5e946"), "runc", State::Advice),
        ("refused", strict("1.3.2"), "runc", State::Fail),
        ("unknown, refused", strict(""), "runc", State::Fail),
        (
            "none",
            daemon(|it| it.security.clear()),
            "docker-seccomp",
            State::Fail,
        ),
        (
            "none",
            daemon(|it| it.security.clear()),
            "user-namespace",
            State::Weak,
        ),
        (
            "none",
            daemon(|it| it.security.clear()),
            "mandatory-access",
            State::Weak,
        ),
        (
            "no pids",
            daemon(|it| it.limits[2].1 = false),
            "limits",
            State::Fail,
        ),
        (
            "denied",
            daemon(|it| it.events_denied = Some("403".to_owned())),
            "memory-events",
            State::Advice,
        ),
        (
            "late",
            daemon(|it| it.skew = Some((60.0, 0.1))),
            "daemon-clock",
            State::Weak,
        ),
        (
            "unsure",
            daemon(|it| it.skew = Some((6.0, 4.0))),
            "daemon-clock",
            State::Ok,
        ),
        (
            "full",
            host(|it| it.disk = Some((1 << 20, 1 << 40))),
            "disk",
            State::Fail,
        ),
        (
            "nearly",
            host(|it| it.disk = Some((2 << 30, 1 << 40))),
            "disk",
            State::Weak,
        ),
        (
            "open",
            host(|it| it.socket_for_all = Some(true)),
            "docker-access",
            State::Weak,
        ),
        (
            "loopback",
            daemon(|it| it.address = "tcp://127.0.0.1:2375".to_owned()),
            "docker-access",
            State::Weak,
        ),
        (
            "TLS",
            daemon(|it| it.address = "tcp://far:2376 with TLS".to_owned()),
            "docker-access",
            State::Ok,
        ),
        (
            "v1",
            daemon(|it| it.cgroup_version = Some("1".to_owned())),
            "cgroup",
            State::Advice,
        ),
        (
            "old",
            host(|it| it.landlock_abi = Some(3)),
            "landlock",
            State::Advice,
        ),
        (
            "away",
            host(|it| it.landlock_abi = None),
            "landlock",
            State::Skipped,
        ),
        (
            "few",
            host(|it| it.open_files = Some((256, 512))),
            "open-files",
            State::Advice,
        ),
        ("root", host(|it| it.uid = 0), "process-user", State::Advice),
    ] {
        assert_eq!(worst(&facts, check), state, "{check}: {what}");
    }
}

/// Without TLS it is the filter that counts, and the network.
#[test]
fn a_daemon_in_the_clear_is_judged_by_its_filter() {
    let seen = |private, sandboxes, refused: &[&'static str], passed: &[&'static str]| {
        daemon(|it| {
            it.address = "tcp://filter:2375".to_owned();
            it.clear = Some(Clear {
                private,
                filter: Filtered {
                    sandboxes,
                    refused: refused.to_vec(),
                    passed: passed.to_vec(),
                },
            });
        })
    };
    let unknown = daemon(|it| it.address = "tcp://filter:2375".to_owned());
    for (facts, state, said) in [
        (unknown, State::Fail, "is root there"),
        (
            seen(true, true, &[], &["root"]),
            State::Fail,
            "is root there",
        ),
        (
            seen(true, true, &["a device", "root"], &[]),
            State::Advice,
            "refused all 2 things",
        ),
        (
            seen(false, true, &["root"], &[]),
            State::Fail,
            "at public addresses",
        ),
        (
            seen(true, false, &["root"], &[]),
            State::Fail,
            "refuses sandboxes too",
        ),
        (
            seen(true, true, &["root"], &["a device"]),
            State::Fail,
            "lets through: a device",
        ),
    ] {
        let found = all(&facts)
            .into_iter()
            .find(|it| it.check == "docker-access")
            .unwrap();
        assert_eq!(found.state, state, "{found:?}");
        assert!(found.found.contains(said), "{found:?}");
        assert!(found.fix.is_some(), "{found:?}");
    }
}

#[test]
fn an_image_is_missing_loose_pinned_or_misnamed() {
    let one = |image: ImageFact| with(|facts| facts.images = vec![image]);
    assert_eq!(worst(&one(image("node:1", false)), "image"), State::Advice);
    let loose = one(image("node:1", true));
    let finding = all(&loose)
        .into_iter()
        .find(|it| it.check == "image")
        .unwrap();
    assert_eq!(finding.state, State::Advice);
    let id = format!("sha256:{}", "1f".repeat(32));
    assert!(finding.fix.unwrap().contains(&id));
    // What is printed there can be written into the list: by the ID, with or without its prefix.
    for name in [&id, &id[7..]] {
        assert_eq!(worst(&one(image(name, true)), "image"), State::Ok, "{name}");
    }
    let mut known = image("node:1", true);
    let digest = format!("node@sha256:{}", "ab".repeat(32));
    known.there.as_mut().unwrap().digests = vec![digest.clone()];
    let finding = all(&one(known))
        .into_iter()
        .find(|it| it.check == "image")
        .unwrap();
    assert!(finding.fix.unwrap().contains(&digest));
    let mut wrong = image("-x", false);
    wrong.error = Some("invalid reference".to_owned());
    assert_eq!(worst(&one(wrong), "image"), State::Weak);
    let any = with(|facts| facts.wanted.any_image = true);
    assert_eq!(worst(&any, "allowed-images"), State::Weak);
}

#[test]
fn without_docker_it_depends_on_what_is_configured() {
    let away = |engine| {
        with(|facts| {
            facts.wanted.engine = engine;
            facts.daemon = match engine {
                Some(EngineKind::Isolate) => None,
                _ => Some(Err("no such file".to_owned())),
            };
        })
    };
    for (engine, state) in [
        (Some(EngineKind::Docker), State::Fail),
        (None, State::Advice),
        (Some(EngineKind::Isolate), State::Ok),
    ] {
        let facts = away(engine);
        assert_eq!(worst(&facts, "engine"), state, "{engine:?}");
        assert_eq!(worst(&facts, "runc"), State::Skipped);
    }
    let no_walls = |engine, allow| {
        let mut facts = away(engine);
        facts.walls = Some(Ok(vec![wall("seccomp", false, true)]));
        facts.wanted.allow_weaker_isolate = allow;
        facts
    };
    assert_eq!(worst(&no_walls(None, false), "engine"), State::Fail);
    let isolate = Some(EngineKind::Isolate);
    assert_eq!(worst(&no_walls(isolate, false), "engine"), State::Fail);
    assert_eq!(worst(&no_walls(isolate, true), "engine"), State::Ok);
    // With Docker they are told, and stop nobody.
    let docker = no_walls(Some(EngineKind::Docker), false);
    assert_eq!(worst(&docker, "isolate-walls"), State::Advice);
}

#[test]
fn an_empty_machine_panics_nobody() {
    let findings = all(&Facts::default());
    assert_eq!(
        findings
            .iter()
            .map(|it| it.check)
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        CHECKS.len(),
        "every check says something"
    );
}

#[test]
fn every_check_is_documented_with_its_reason() {
    let page = include_str!("../../../../../docs/doctor.md");
    for check in CHECKS {
        let row = format!("| `{}` | {} |", check.id, check.why);
        assert!(page.contains(&row), "docs/doctor.md lacks\n{row}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, CHECKS.len(), "it lists a check that there is not");
}
