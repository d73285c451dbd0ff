//! Archives that a store of packages would never hand out, given to the agents.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::TenantId;
use domain::error::{ErrorCode, Result};
use domain::session::{Exec, Network};
use futures::{StreamExt, stream};
use telemetry::{BuildInfo, Metrics};
use testkit::docker::{IMAGE, PYTHON_IMAGE};
use tokio::time::Instant;

use super::actor::Request;
use super::handle::DockerSession;
use crate::docker::{DockerEngine, DockerEngineSettings};
use crate::{Engine, OpenSession, Session, Stage};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// One entry of a tar.
fn entry(kind: u8, name: &str, linked: &str, mode: u32, content: &[u8], size: usize) -> Vec<u8> {
    let mut head = vec![0_u8; 512];
    head[..name.len()].copy_from_slice(name.as_bytes());
    head[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
    head[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    head[156] = kind;
    head[157..157 + linked.len()].copy_from_slice(linked.as_bytes());
    head[257..263].copy_from_slice(b"ustar\0");
    head[148..156].fill(b' ');
    let sum: u32 = head.iter().map(|&byte| u32::from(byte)).sum();
    head[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    head.extend_from_slice(content);
    head.resize(head.len().next_multiple_of(512), 0);
    head
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    entry(b'0', name, "", 0o644, content, content.len())
}

fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut all = entries.concat();
    all.resize(all.len() + 1_024, 0);
    all
}

/// What gives the next entry a path of its own, of more than 90 bytes.
fn pax(path: &str) -> Vec<u8> {
    let line = format!("{} path={path}\n", path.len() + 10);
    assert_eq!(line.len(), path.len() + 10);
    entry(b'x', "m/pax", "", 0, line.as_bytes(), line.len())
}

async fn engine() -> DockerEngine {
    testkit::docker::daemon();
    let build = BuildInfo {
        service: "test",
        version: "0",
        commit: "0",
    };
    let settings = DockerEngineSettings {
        owner: uuid::Uuid::new_v4().to_string(),
        pool_size: 0,
        memory_bytes: 256 << 20,
        allowed_images: vec![IMAGE.to_owned(), PYTHON_IMAGE.to_owned()],
        ..DockerEngineSettings::default()
    };
    let metrics = Arc::new(Metrics::new(build).unwrap());
    DockerEngine::launch(settings, metrics).await.unwrap()
}

async fn session(engine: &DockerEngine, image: &str) -> DockerSession {
    let open = OpenSession {
        tenant: TenantId::default(),
        image: image.to_owned(),
        network: Network::None,
        env: BTreeMap::new(),
        lock: None,
        memory_bytes: 256 << 20,
        cpu_millis: 1_000,
        lifetime: Duration::from_secs(300),
        deadline: soon(),
        slot: None,
    };
    engine.open_here(open).await.unwrap()
}

async fn unpack(session: &DockerSession, tar: &[u8], piece: usize) -> Result<()> {
    let pieces: Vec<io::Result<Bytes>> = tar
        .chunks(piece)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    let permit = session.turn(soon()).await.unwrap();
    let request = |reply| Request::Unpack {
        target: "node_modules",
        most: 100 << 20,
        tar: stream::iter(pieces).boxed(),
        until: soon(),
        reply,
    };
    session.ask(&permit, Stage::Write, request).await
}

async fn sh(session: &DockerSession, command: &str) -> String {
    let exec = Exec {
        commands: vec![command.to_owned()],
        timeout: Duration::from_secs(10),
    };
    let results = session.exec(exec, 10_000, soon()).await.unwrap();
    results[0].stdout.clone()
}

/// The agent says nothing before it has all of an archive, and reads more slowly than one is handed out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_57_an_archive_larger_than_what_may_wait_comes_through() {
    let engine = engine().await;
    let content: Vec<u8> = (0..8_u32 << 20).map(|at| (at >> 8) as u8).collect();
    let large = tar(&[file("m/large", &content)]);
    for image in [IMAGE, PYTHON_IMAGE] {
        let session = session(&engine, image).await;
        unpack(&session, &large, 64 << 10).await.unwrap();
        let sum = sh(&session, "cksum < node_modules/large").await;
        assert!(sum.trim().ends_with(" 8388608"), "{image}: {sum}");
        session.stop().await;
    }
    engine.shutdown().await;
}

/// 57, 58: an archive is taken as a whole or not at all, and nothing of it is anywhere else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_57_58_archives_are_whole_and_inside_or_refused() {
    let engine = engine().await;
    let link = |name: &str, to: &str| entry(b'2', name, to, 0o777, b"", 0);
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("..", tar(&[file("m/../../x", b"x")])),
        ("absolute", tar(&[file("/etc/x", b"x")])),
        ("link out", tar(&[link("m/a", "../../etc")])),
        ("absolute link", tar(&[link("m/a", "/etc/passwd")])),
        (
            "link then write",
            tar(&[link("m/a", "b"), file("m/a/x", b"x")]),
        ),
        (
            "hard link",
            tar(&[entry(b'1', "m/a", "m/b", 0o644, b"", 0)]),
        ),
        ("device", tar(&[entry(b'3', "m/a", "", 0o644, b"", 0)])),
        ("pipe", tar(&[entry(b'6', "m/a", "", 0o644, b"", 0)])),
        ("sparse", tar(&[entry(b'S', "m/a", "", 0o644, b"", 0)])),
        ("setuid", tar(&[entry(b'0', "m/a", "", 0o4755, b"x", 1)])),
        ("twice", tar(&[file("m/a", b"x"), file("m/a", b"y")])),
        (
            "huge",
            tar(&[entry(b'0', "m/a", "", 0o644, b"", 8_000_000_000)]),
        ),
        (
            "large header",
            tar(&[entry(b'x', "m/a", "", 0o644, b"", 1 << 20)]),
        ),
        (
            "bad header",
            tar(&[
                entry(b'x', "m/a", "", 0o644, b"99 path=x\n", 10),
                file("m/a", b""),
            ]),
        ),
        ("no end", file("m/a", b"x")),
        ("damaged", {
            let mut damaged = tar(&[file("m/a", b"x")]);
            damaged[3] ^= 1;
            damaged
        }),
        (
            "too deep",
            tar(&[pax(&format!("m/{}x", "e/".repeat(75))), file("m/q", b"")]),
        ),
    ];
    for image in [IMAGE, PYTHON_IMAGE] {
        let session = session(&engine, image).await;
        for (name, archive) in &bad {
            let refused = unpack(&session, archive, 1_000).await;
            let refused = refused
                .err()
                .unwrap_or_else(|| panic!("{image}: {name} was taken"));
            assert_eq!(
                refused.code(),
                ErrorCode::DependencyInstallFailed,
                "{image}: {name}: {refused}"
            );
            assert_eq!(
                sh(&session, "ls -A /workspace /tmp").await,
                "/tmp:\n\n/workspace:\n",
                "{image}: {name}"
            );
        }
        let long = format!("m/{}/f", "l".repeat(120));
        let good = tar(&[
            entry(b'5', "m/", "", 0o755, b"", 0),
            file("m/a/index.js", &[b'x'; 700]),
            file("m/empty", b""),
            entry(b'0', "m/a/run", "", 0o755, b"#!/bin/sh\necho ran\n", 19),
            link("m/.bin/run", "../a/run"),
            pax(&long),
            file("m/short", b"long"),
        ]);
        for piece in [100_000, 511] {
            unpack(&session, &good, piece).await.unwrap();
            let seen = sh(
                &session,
                "cd node_modules; wc -c <a/index.js; cat l*/f; echo; .bin/run; ls -A",
            )
            .await;
            let names = format!(".bin\na\nempty\n{}\n", "l".repeat(120));
            assert_eq!(seen, format!("700\nlong\nran\n{names}"), "{image}");
        }
        session.stop().await;
    }
    engine.shutdown().await;
}
