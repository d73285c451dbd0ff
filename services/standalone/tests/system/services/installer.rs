//! The installer, run from end to end where systemd is process 1: in a container of Debian, in the soak.

use std::path::Path;
use std::process::Command;

use crate::deployment::binary;

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/systemd").join(name)
}

#[test]
fn the_installer_says_what_it_needs_and_takes_nothing_else() {
    let run = |arguments: &[&str]| {
        let output = Command::new("bash").arg(script("install")).args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (code, help) = run(&["--help"]);
    assert_eq!(code, Some(0));
    for word in ["--from", "--services", "--engine", "--check", "--uninstall", "--purge"] {
        assert!(help.contains(word), "{help}");
    }
    for (arguments, why) in [
        (&["--wrong"][..], "unknown argument --wrong"),
        (&["--from"][..], "--from needs a value"),
        (&["--purge"][..], "--purge goes with --uninstall"),
    ] {
        let (code, text) = run(arguments);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(why), "{text}");
    }
}

/// Takes some minutes, most of them for the Debian that it runs in.
#[test]
fn the_installer_installs_checks_updates_and_removes() {
    if std::env::var("MCP_TEST_SOAK").is_err() {
        return;
    }
    let programs = binary("dynamic-mcp");
    let output = Command::new("bash")
        .arg(script("try-in-container"))
        .arg(programs.parent().unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.ends_with("all of it works\n"), "{text}");
}
