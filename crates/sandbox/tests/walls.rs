//! The start-up probe, with every wall and with each one left out.

use std::path::PathBuf;

use sandbox::isolate::probe_walls;

fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_sandbox-guest").into()
}

#[tokio::test]
async fn every_wall_holds_here() {
    let walls = probe_walls(program(), None).await.unwrap();
    assert_eq!(walls.len(), 7);
    for wall in walls {
        // Namespaces are a setting of the host; the engine goes without and says so.
        assert!(
            wall.held || !wall.required,
            "{}: {}",
            wall.name,
            wall.detail
        );
    }
}

/// Each wall is left out in turn: the probe finds that one and no other.
#[tokio::test]
async fn the_probe_finds_each_wall_that_is_missing() {
    for wall in probe_walls(program(), None).await.unwrap() {
        let found = probe_walls(program(), Some(wall.name)).await.unwrap();
        let missing: Vec<_> = found
            .iter()
            .filter(|it| !it.held)
            .map(|it| it.name)
            .collect();
        assert_eq!(missing, [wall.name], "{found:#?}");
    }
}
