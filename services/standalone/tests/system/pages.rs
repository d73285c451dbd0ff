//! The pages for operators, run as they stand: `docs/deployment.md` from nothing to a stack, and on that
//! stack `docs/production-runbook.md` with its roll-out, failover and scaling.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::deployment::binary;

/// Lines of output that a failure shows.
const SHOWN: usize = 80;

/// Every block of commands of both pages, and with the full counts roll-outs that have to be undone
/// while calls go on. The script takes its stack away however it ends; each page has its deadline
/// there.
#[test]
fn alone_every_command_of_both_pages_works_on_the_stack() {
    let faults = crate::production::soak();
    let ended = Command::new("bash")
        .args(["deploy/run-pages.sh", "--programs"])
        .arg(binary("gateway").parent().unwrap())
        .args(faults.then_some("--faults"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    let last = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
    assert!(ended.status.success(), "{}\n{last}", ended.status);
    for page in ["docs/deployment.md", "docs/production-runbook.md"] {
        assert!(
            said.contains(&format!("\n{page}: ")),
            "{page} was not run: {last}"
        );
    }
    let undone = said.matches(": undone in ").count();
    assert_eq!(undone, if faults { 3 } else { 0 }, "{last}");
}
