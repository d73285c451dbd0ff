//! The start-up probe, with every wall and with each one left out.

use std::path::PathBuf;

use sandbox::isolate::probe_walls;

fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_sandbox-guest").into()
}

/// What may be missing: settings of the host, without which the engine runs and says so.
const OPTIONAL: [&str; 3] = ["namespaces", "processes", "user"];

fn missing(walls: &[sandbox::WallStatus]) -> Vec<&'static str> {
    let missing = walls.iter().filter(|wall| !wall.held);
    missing.map(|wall| wall.name).collect()
}

/// 43, 45, 46, 47, 48, 49: what the probe tries and what stops it, by the wall.
#[tokio::test]
async fn fault_43_45_46_47_48_49_every_wall_holds_here() {
    let walls = probe_walls(program(), None).await.unwrap();
    assert_eq!(walls.len(), 9);
    for wall in &walls {
        assert_eq!(wall.required, !OPTIONAL.contains(&wall.name), "{wall:?}");
        assert!(wall.held || !wall.required, "{wall:?}");
    }
    let tried = [
        ("capabilities", "hold a capability"),
        ("no_new_privileges", "gain a right"),
        ("limits", "start processes"),
        ("limits", "outlive the engine when memory is short"),
        ("isolation", "hold a file of the engine's"),
        ("landlock", "read the program"),
        ("seccomp", "open a file"),
        ("seccomp", "make a socket of the kernel's cryptography"),
        ("seccomp", "start a program"),
        ("seccomp", "start a thread"),
        ("seccomp", "trace the engine"),
        ("seccomp", "signal the engine"),
        ("seccomp", "signal all processes"),
        ("seccomp", "read the engine's environment"),
        ("seccomp", "let itself be looked into"),
        ("seccomp", "make memory executable"),
        ("seccomp", "mount"),
    ];
    for (name, attempt) in tried {
        let wall = walls.iter().find(|wall| wall.name == name).unwrap();
        assert!(wall.detail.contains(attempt), "{attempt}: {wall:?}");
    }
}

/// Each wall is left out in turn: the probe finds that one and no other.
#[tokio::test]
async fn the_probe_finds_each_wall_that_is_missing() {
    let walls = probe_walls(program(), None).await.unwrap();
    let without_any = missing(&walls);
    let is_root = rustix::process::geteuid().is_root();
    for wall in &walls {
        let found = probe_walls(program(), Some(wall.name)).await.unwrap();
        let mut wanted = without_any.clone();
        // Who is not root has nobody to stop being.
        if !wanted.contains(&wall.name) && (is_root || wall.name != "user") {
            wanted.push(wall.name);
            wanted.sort_by_key(|name| walls.iter().position(|it| it.name == *name));
        }
        assert_eq!(missing(&found), wanted, "{found:#?}");
    }
}
