//! `deploy/sandbox-images`: images that are the same each time, with nothing in them that gains rights.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed helper fails its test"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sha2::{Digest, Sha256};
use testkit::docker::{IMAGE, PYTHON_IMAGE};

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/sandbox-images/build.sh")
}

fn build(args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new("bash");
    // The umask is of the process: a shell sets it.
    let umask = environment.iter().find(|(name, _)| *name == "UMASK");
    let umask = umask.map_or("022", |(_, value)| value);
    command
        .args([
            "-c",
            "umask \"$1\"; shift; exec bash \"$@\"",
            "build",
            umask,
        ])
        .arg(script())
        .args(args)
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

/// Whether the full counts of the issue were asked for.
#[allow(
    clippy::disallowed_methods,
    reason = "the soak command tells tests by its environment"
)]
fn soak() -> bool {
    std::env::var_os("MCP_TEST_SOAK").is_some()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The real path of a program, and of what it is a link to.
fn real(program: &str) -> PathBuf {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$1\"", "sh", program])
        .output()
        .unwrap();
    Path::new(text(&found.stdout).trim())
        .canonicalize()
        .unwrap()
}

#[test]
fn mistakes_are_named_before_anything_is_done() {
    for (args, words) in [
        (&["ruby"][..], "usage: build.sh node|python"),
        (&["node", "--what", "x"], "--what"),
        (&["node", "--tag"], "--tag needs a value"),
        (
            &["node", "--output", "/x", "--tag", "Bad"],
            "--tag is name:tag",
        ),
        (
            &["node", "--output", "/x", "--epoch", "soon"],
            "--epoch is a number",
        ),
        (
            &["node", "--output", "/x", "--snapshot", "today"],
            "--snapshot is a time",
        ),
        (
            &["python", "--output", "/x", "--node", "/bin/sh"],
            "are for the image node",
        ),
        (
            &["node", "--output", "/x", "--node", "/nowhere", "--npm", "/"],
            "no program at '/nowhere'",
        ),
        (
            &[
                "node", "--output", "/x", "--node", "/bin/sh", "--npm", "/tmp",
            ],
            "no npm at '/tmp'",
        ),
    ] {
        let done = build(args, &[]);
        assert!(!done.status.success(), "{args:?}");
        let said = text(&done.stderr);
        assert!(said.contains(words), "{args:?}: {said}");
    }
}

/// Twice the same bytes, whatever differs around it; with `MCP_TEST_SOAK=1` every kind of image, else
/// the one that is made fastest.
#[test]
fn docker_archives_are_the_same_each_time_and_give_no_rights() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (node, npm) = (real("node"), real("npm"));
    let npm = npm.ancestors().nth(2).unwrap().to_owned();
    let release = [
        "--node",
        node.to_str().unwrap(),
        "--npm",
        npm.to_str().unwrap(),
    ];
    let mut kinds = vec![("node", &release[..])];
    if soak() {
        kinds.extend([("python", &[][..]), ("node", &[][..])]);
    }
    for (kind, more) in kinds {
        let mut made = Vec::new();
        let other = [
            ("TMPDIR", elsewhere.path().to_str().unwrap()),
            ("HOME", elsewhere.path().to_str().unwrap()),
            ("TZ", "Asia/Tokyo"),
            ("LANG", "tr_TR.UTF-8"),
            ("UMASK", "077"),
        ];
        for (name, environment) in [("one", &[][..]), ("two", &other[..])] {
            let file = folder.path().join(name);
            let mut args = vec![kind, "--output", file.to_str().unwrap()];
            args.extend(more);
            let done = build(&args, environment);
            assert!(done.status.success(), "{}", text(&done.stderr));
            let digest = Sha256::digest(std::fs::read(&file).unwrap());
            made.push((text(&done.stdout), digest));
        }
        assert_eq!(made[0], made[1], "{kind}");
        let said = &made[0].0;
        let shell = |script: &str| -> String {
            let mut command = Command::new("bash");
            command.args(["-euo", "pipefail", "-c", script]);
            let done = command.arg("look").arg(folder.path().join("one")).output();
            let done = done.unwrap();
            assert!(done.status.success(), "{script}: {}", text(&done.stderr));
            text(&done.stdout)
        };
        // The ID is that of the configuration, as Docker reckons it.
        let config = shell("tar -xOf \"$1\" --wildcards './*.json' --exclude ./manifest.json");
        let digest = Sha256::digest(&config);
        let id = digest.iter().map(|it| format!("{it:02x}"));
        assert!(
            said.contains(&format!("image sha256:{}\n", id.collect::<String>())),
            "{said}"
        );
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Healthcheck"]["Test"][0], "NONE");
        let layer = config["rootfs"]["diff_ids"][0].as_str().unwrap().to_owned();
        assert!(said.contains(&format!("layer {layer}\n")), "{said}");
        let files = shell("tar -xOf \"$1\" --wildcards '*/layer.tar' | tar -tv --full-time");
        let rights = files
            .lines()
            // On a folder the letter says whose new files are.
            .filter(|line| line.starts_with('-') && line[1..10].contains(['s', 'S']));
        assert_eq!(rights.count(), 0, "{kind}");
        for trace in ["var/log/", "var/cache/", "etc/machine-id", "var/lib/apt/"] {
            let found = files.lines().find(|line| {
                let name = line.rsplit(" ./").next().unwrap_or_default();
                name.starts_with(trace) && name != trace
            });
            assert_eq!(found, None, "{kind}");
        }
        assert!(files.lines().count() > 1_000);
    }
}

/// In every image of the tests the package manager works as it has to: another user, a root that is
/// read-only, a home elsewhere.
#[tokio::test]
async fn docker_package_managers_work_in_the_images() {
    let docker = testkit::docker::daemon();
    for (image, program, words) in [
        (IMAGE, "npm --version && node -p 1+1", "2"),
        (
            PYTHON_IMAGE,
            "python3 -m pip --version && python -c 'print(1 + 1)'",
            "2",
        ),
    ] {
        let said = docker
            .run(&[
                "run",
                "--rm",
                "--network",
                "none",
                "--read-only",
                "--user",
                "65532:65532",
                "--cap-drop",
                "ALL",
                "--security-opt",
                "no-new-privileges",
                "--tmpfs",
                "/tmp",
                "--env",
                "HOME=/tmp",
                image,
                "sh",
                "-c",
                program,
            ])
            .await;
        assert_eq!(said.lines().last(), Some(words), "{image}: {said}");
    }
}
