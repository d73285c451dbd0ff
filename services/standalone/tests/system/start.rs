//! What a user sees when a program starts, or says why it does not.

mod configuration;
mod doctor;
mod engine;
mod import;
mod open_address;
mod store;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use testkit::mcp::{Client, Era};
use testkit::process::Program;
use tokio::process::Command;
use tokio::time::timeout;

use crate::deployment::binary;

/// Longest run of a program that is to end by itself.
const LIMIT: Duration = Duration::from_secs(60);

/// How a program ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// Checks the exit code and that stderr holds each of these.
    #[track_caller]
    pub(crate) fn assert(&self, code: i32, said: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for text in said {
            assert!(self.err.contains(text), "no {text:?} in {self:#?}");
        }
    }
}

/// Runs a program to its end with exactly these variables. Standard input is closed.
pub(crate) async fn run(
    program: &str,
    folder: &Path,
    arguments: &[&str],
    env: &[(&str, &str)],
) -> Ended {
    let running = Command::new(binary(program))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(LIMIT, running)
        .await
        .unwrap_or_else(|_| panic!("{program} {arguments:?} {env:?} has not ended"))
        .unwrap();
    Ended {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Starts `dynamic-mcp` on a free port and waits until it is ready.
pub(crate) async fn serve(folder: &Path, env: &[(&str, &str)]) -> (Program, Client) {
    let env = [&[("MCP_PORT", "0")], env].concat();
    let mut program = Program::start(&binary("dynamic-mcp"), folder, &[], &env);
    let address = program
        .field_of_line("\"listener\":\"http\"", "address")
        .await;
    program
        .field_of_line("\"message\":\"ready\"", "program")
        .await;
    (program, Client::new(&address, Era::Modern))
}
