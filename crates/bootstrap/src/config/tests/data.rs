//! Folders of data for sandboxes.

use super::*;

fn mounts(value: &str) -> [(&'static str, &str); 2] {
    [
        ("MCP_SANDBOX_DATA_MOUNTS", value),
        ("MCP_EXECUTION_ENGINE", "docker"),
    ]
}

#[test]
fn folders_are_read_from_one_variable() {
    let loaded = start("", &mounts("models=/srv/models, sets=/srv/sets/")).standalone();
    let seen: Vec<(String, String)> = loaded
        .config
        .engine
        .data_mounts
        .iter()
        .map(|mount| (mount.target(), mount.path().to_owned()))
        .collect();
    let expected = [("/data/models", "/srv/models"), ("/data/sets", "/srv/sets")];
    assert_eq!(seen, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

#[test]
fn what_no_sandbox_may_see_does_not_start() {
    for (value, why) in [
        ("models", "is not name=/absolute/path"),
        ("a=/", "other than /"),
        ("a=/srv/../etc", "not plain"),
        ("a=/var/run", "docker.sock"),
        ("a=/srv,a=/opt", "is there twice"),
    ] {
        let text = start("", &mounts(value)).refused::<StandaloneConfig>();
        assert!(text.contains("MCP_SANDBOX_DATA_MOUNTS"), "{value}: {text}");
        assert!(text.contains(why), "{value}: {text}");
    }
    let mut elsewhere = mounts("a=/srv/sockets").to_vec();
    elsewhere.push(("DOCKER_HOST", "unix:///srv/sockets/docker.sock"));
    let text = start("", &elsewhere).refused::<StandaloneConfig>();
    assert!(text.contains("/srv/sockets/docker.sock"), "{text}");
}

#[test]
fn the_isolate_engine_has_no_files() {
    for engine in ["isolate", "node"] {
        let variables = [
            ("MCP_SANDBOX_DATA_MOUNTS", "a=/srv"),
            ("MCP_EXECUTION_ENGINE", engine),
        ];
        let text = start("", &variables).refused::<StandaloneConfig>();
        assert!(text.contains("needs the Docker engine"), "{text}");
    }
}
