//! The installer. In CI in a container with a `systemctl` that only writes down what it is told; in the
//! soak from end to end, where systemd is process 1.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::deployment::{IMAGE, binary};
use crate::production::soak;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy/systemd")
        .join(name)
        .canonicalize()
        .unwrap()
}

fn run(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output.status.code(), text)
}

#[test]
fn the_installer_says_what_it_needs_and_takes_nothing_else() {
    let install = |arguments: &[&str]| {
        let mut command = Command::new("bash");
        run(command.arg(script("install")).args(arguments))
    };
    let (code, help) = install(&["--help"]);
    assert_eq!(code, Some(0));
    for word in [
        "--from",
        "--services",
        "--engine",
        "--check",
        "--uninstall",
        "--purge",
    ] {
        assert!(help.contains(word), "{help}");
    }
    for (arguments, why) in [
        (&["--wrong"][..], "unknown argument --wrong"),
        (&["--from"][..], "--from needs a value"),
        (&["--purge"][..], "--purge goes with --uninstall"),
    ] {
        let (code, text) = install(arguments);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(why), "{text}");
    }
}

/// What is done to files, with the real programs; a first, a second and a changed install, and the removal.
#[test]
fn the_installer_keeps_what_is_there_and_restarts_what_has_changed() {
    let programs = binary("dynamic-mcp");
    let programs = programs.parent().unwrap().display();
    let units = script("install");
    let units = units.parent().unwrap().display();
    let (code, text) = run(Command::new("docker").args([
        "run",
        "--rm",
        "--network=none",
        &format!("--volume={programs}:/programs:ro"),
        &format!("--volume={units}:/units:ro"),
        "--entrypoint=bash",
        IMAGE,
        "/units/try-without-systemd",
    ]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.ends_with("all of it works\n"), "{text}");
    if soak() {
        let mut command = Command::new("bash");
        let whole = script("try-in-container");
        let (code, text) = run(command.arg(whole).arg(programs.to_string()).arg("--remove"));
        assert_eq!(code, Some(0), "{text}");
        assert!(text.ends_with("all of it works\n"), "{text}");
    }
}
