//! A gateway that is killed while it writes and while it rotates: what was answered is in the log.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use super::copy::audit;
use super::{ON, log_in, tool};
use crate::start::serve;

/// Rounds: ten times as many with `MCP_TEST_SOAK=1`.
fn rounds() -> u32 {
    #[allow(clippy::disallowed_methods, reason = "a test has no configuration")]
    let soak = std::env::var_os("MCP_TEST_SOAK").is_some();
    if soak { 100 } else { 10 }
}

#[expect(clippy::print_stderr, reason = "the seed of a run is to be seen")]
fn print(text: &str) {
    eprintln!("{text}");
}

/// The text of every file of the log; what a kill has torn off at its end is in it.
fn text_of(path: &Path) -> String {
    let folder = path.parent().unwrap();
    let names = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = names.filter(|file| {
        let name = file.file_name().unwrap().to_str().unwrap();
        name.starts_with("audit.log") && !name.ends_with(".id")
    });
    files
        .map(|file| String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned())
        .collect()
}

#[tokio::test]
async fn what_was_answered_before_a_kill_is_recorded() {
    let seed = fastrand::u64(..);
    print(&format!("seed {seed}"));
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let path = log_in(folder.path());
    let env = [
        ON,
        // A rotation every thirty lines.
        ("MCP_AUDIT_MAX_FILE_BYTES", "10000"),
        ("MCP_AUDIT_MAX_FILES", "100"),
        ("MCP_DYNAMIC_MAX_TOOLS", "100000"),
        ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "1000000"),
    ];
    let mut answered_in_all = 0;
    for round in 0..rounds() {
        let (mut program, client) = serve(folder.path(), &env).await;
        let answered = Arc::<Mutex<BTreeSet<String>>>::default();
        let mut callers = JoinSet::new();
        for caller in 0..4 {
            let (client, answered) = (client.clone(), Arc::clone(&answered));
            callers.spawn(async move {
                for number in 0.. {
                    let name = format!("r{round}.c{caller}.n{number}");
                    let call = json!({"name": "dynamic.tool.create", "arguments": tool(&name)});
                    let Ok(answer) = client.attempt("tools/call", call, json!({})).await else {
                        return;
                    };
                    let Some(message) = answer.messages().pop() else {
                        return;
                    };
                    assert_ne!(message["result"]["isError"], true, "{message}");
                    answered.lock().unwrap().insert(name);
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(random.u64(30..400))).await;
        program.signal("KILL").await;
        program.ended(Duration::from_secs(5)).await;
        while let Some(ended) = callers.join_next().await {
            ended.unwrap();
        }
        let text = text_of(&path);
        let answered = answered.lock().unwrap();
        answered_in_all += answered.len();
        for name in answered.iter() {
            let recorded = format!("\"target\":\"{name}\",\"result\":\"success\"");
            assert!(
                text.contains(&recorded),
                "round {round}: {name} was answered and is not recorded"
            );
        }
    }
    assert!(answered_in_all > rounds() as usize, "{answered_in_all}");
    // The next start closes what the last kill has torn.
    let (program, _) = serve(folder.path(), &env).await;
    program.stop().await;
    let ended = audit(folder.path(), &["verify", "--heads", "registry"]).await;
    ended.assert(0, &[]);
    assert!(ended.out.contains("the log is whole"), "{ended:?}");
}
