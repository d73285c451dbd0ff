//! What the registry has of a log: it follows, it catches up, and files are verified against it.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::mcp::Era;
use tokio::time::{Instant, sleep};

use super::{ON, log_in, one_call, tool};
use crate::deployment::{Deployment, Kind};
use crate::start::{Ended, run};

/// `dynamic-mcp audit WORDS...` beside whatever runs in the folder.
pub(super) async fn audit(folder: &Path, words: &[&str]) -> Ended {
    let words = [&["audit"], words].concat();
    run("dynamic-mcp", folder, &words, &[]).await
}

/// What `/health` says of shipping, once it is as wanted.
async fn shipping(deployment: &Deployment, wanted: impl Fn(&Value) -> bool) -> Value {
    // The ends of calls are written behind their answers.
    sleep(Duration::from_millis(500)).await;
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let (_, health) = deployment.get("/health").await;
        let health: Value = serde_json::from_str(&health).unwrap();
        let check = &health["checks"]["auditShipping"];
        if wanted(check) {
            return health["checks"].clone();
        }
        assert!(Instant::now() < end, "{health}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn caught_up(check: &Value) -> bool {
    check["acknowledged"].is_u64() && check["lagRecords"] == 0 && check["lagMs"] == 0
}

async fn query(folder: &Path, words: &[&str]) -> Vec<Value> {
    let words = [&["query", "--json", "--limit", "1000"], words].concat();
    let ended = audit(folder, &words).await;
    ended.assert(0, &[]);
    let answer: Value = serde_json::from_str(&ended.out).unwrap();
    answer["records"].as_array().unwrap().clone()
}

async fn follows(kind: Kind) {
    let deployment = Deployment::start(kind, &[ON]).await;
    let client = deployment.client(Era::Modern);
    client.ok("dynamic.tool.create", tool("copied.one")).await;
    one_call(&client).await;
    let checks = shipping(&deployment, caught_up).await;
    let head = checks["audit"]["head"].as_str().unwrap().to_owned();
    let folder = deployment.folder();
    let found = query(folder, &["--tool", "copied.one", "--outcome", "success"]).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["record"]["action"], "dynamic.tool.create");
    let name = std::fs::read_to_string(folder.join(".dynamic-mcp/audit.log.id")).unwrap();
    assert_eq!(found[0]["log"], name.trim());
    let file = std::fs::read_to_string(log_in(folder)).unwrap();
    let all = query(folder, &[]).await;
    assert_eq!(all.len(), file.lines().count());
    let newest: Value = serde_json::from_str(file.lines().last().unwrap()).unwrap();
    assert_eq!(all[0]["record"], newest, "the newest comes first");
    // While it is written: against the registry, and against the health page.
    let whole = ["the log is whole", "compared with 1 kept heads"];
    for words in [
        ["verify", "--heads", "registry"],
        ["verify", "--head", &head],
    ] {
        let ended = audit(folder, &words).await;
        ended.assert(0, &[]);
        for part in whole {
            assert!(ended.out.contains(part), "{ended:?}");
        }
    }
    let (_, metrics) = deployment.get("/metrics").await;
    let lines = file.lines().count();
    assert!(
        metrics.contains(&format!("mcp_audit_shipped_records_total {lines}")),
        "{metrics}"
    );
    assert!(
        metrics.contains("mcp_audit_ship_lag_records 0"),
        "{metrics}"
    );
    deployment.stop().await;
}

#[tokio::test]
async fn the_registry_follows_direct() {
    follows(Kind::Direct).await;
}

#[tokio::test]
async fn the_registry_follows_over_pipes() {
    follows(Kind::Pipes).await;
}

#[tokio::test]
async fn the_registry_follows_three_processes() {
    follows(Kind::Three).await;
}

#[tokio::test]
async fn an_outage_and_a_killed_gateway_lose_no_record() {
    let mut deployment = Deployment::start(Kind::Three, &[ON]).await;
    let client = deployment.client(Era::Modern);
    client.ok("dynamic.tool.create", tool("outage.one")).await;
    shipping(&deployment, caught_up).await;
    deployment.kill_registry().await;
    for _ in 0..30 {
        one_call(&client).await;
    }
    let behind =
        |check: &Value| check["lagRecords"].as_u64() > Some(30) && check["failingMs"].is_u64();
    shipping(&deployment, behind).await;
    // The gateway is killed with all of that unshipped.
    deployment.restart_registry();
    deployment.restart_gateway().await;
    let client = deployment.client(Era::Modern);
    one_call(&client).await;
    let checks = shipping(&deployment, caught_up).await;
    assert_eq!(checks["auditShipping"]["missed"], 0, "{checks}");
    let folder = deployment.stop_keeping().await;
    let folder = folder.path();
    let file = std::fs::read_to_string(log_in(folder)).unwrap();
    let records = query(folder, &["--action", "run_js_ephemeral"]).await;
    assert_eq!(records.len(), 2 * 31);
    let ended = audit(folder, &["heads"]).await;
    ended.assert(0, &[]);
    let heads: Value = serde_json::from_str(&ended.out).unwrap();
    let heads = heads["heads"].as_array().unwrap();
    assert_eq!(heads.len(), 1, "one segment: nothing was missed: {heads:?}");
    assert_eq!(
        (&heads[0]["start"], &heads[0]["firstSeq"]),
        (&json!("first"), &json!(1))
    );
    assert_eq!(
        query(folder, &[]).await.len(),
        file.lines().count(),
        "the last ones too"
    );
}

#[tokio::test]
async fn what_is_cut_off_the_end_shows_against_the_registry() {
    let deployment = Deployment::start(Kind::Three, &[ON]).await;
    let client = deployment.client(Era::Modern);
    client.ok("dynamic.tool.create", tool("cut.one")).await;
    one_call(&client).await;
    shipping(&deployment, caught_up).await;
    let folder = deployment.stop_keeping().await;
    let folder = folder.path();
    let path = log_in(folder);
    let ended = audit(folder, &["heads"]).await;
    std::fs::write(folder.join("heads.json"), &ended.out).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    std::fs::write(&path, lines[..lines.len() - 2].concat()).unwrap();
    audit(folder, &["verify"]).await.assert(0, &[]);
    for heads in ["registry", "heads.json"] {
        let ended = audit(folder, &["verify", "--heads", heads]).await;
        ended.assert(1, &[]);
        let at = format!("audit.log:{}: ", lines.len() - 2);
        for part in [&*at, "were removed from its end"] {
            assert!(ended.out.contains(part), "{part}: {ended:?}");
        }
    }
    // The last line made another one.
    let changed = text.replace("service.stop", "service.stap");
    std::fs::write(&path, changed).unwrap();
    let ended = audit(folder, &["verify", "--heads", "registry"]).await;
    ended.assert(1, &[]);
    let at = format!("audit.log:{}: ", lines.len());
    assert!(ended.out.contains(&at), "{ended:?}");
}

#[tokio::test]
async fn a_log_that_is_changed_under_its_gateway_stays_in_evidence() {
    let deployment = Deployment::start(Kind::Direct, &[ON]).await;
    one_call(&deployment.client(Era::Modern)).await;
    shipping(&deployment, caught_up).await;
    let folder = deployment.stop_keeping().await;
    let path = log_in(folder.path());
    let text = std::fs::read_to_string(&path).unwrap();
    let first: String = text.split_inclusive('\n').take(1).collect();
    std::fs::write(&path, first).unwrap();
    let deployment = Deployment::start_in(Kind::Direct, folder, &[ON]).await;
    let checks = shipping(&deployment, |check| check["changed"] == true).await;
    assert_eq!(checks["auditShipping"]["status"], "unhealthy", "{checks}");
    one_call(&deployment.client(Era::Modern)).await;
    let folder = deployment.stop_keeping().await;
    // The file is a whole chain again; what the registry saw is not undone.
    audit(folder.path(), &["verify"]).await.assert(0, &[]);
    let ended = audit(folder.path(), &["verify", "--heads", "registry"]).await;
    ended.assert(1, &[]);
    assert!(ended.out.contains("changed under the gateway"), "{ended:?}");
}

#[tokio::test]
async fn words_that_make_no_question_are_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (words, said) in [
        (vec!["query", "--since", "yesterday"], "30m, 12h, 7d"),
        (vec!["query", "--limit", "0"], "limit"),
        (vec!["query", "--tenant", "a b"], "--tenant"),
        (vec!["quary"], "query"),
        (vec!["verify", "nowhere.log"], "nowhere.log"),
        (vec!["verify", "--head", "7"], "SEQ:HASH"),
        (vec!["verify", "--heads", "nowhere.json"], "nowhere.json"),
    ] {
        let ended = audit(folder, &words).await;
        ended.assert(2, &[said]);
    }
    audit(folder, &["--help"]).await.assert(0, &[]);
    let ended = audit(folder, &["query"]).await;
    ended.assert(0, &[]);
    assert_eq!(ended.out, "no records\n");
}

#[tokio::test]
async fn every_command_of_the_document_works() {
    let document = include_str!("../../../../../docs/audit.md");
    let deployment = Deployment::start(Kind::Direct, &[ON]).await;
    one_call(&deployment.client(Era::Modern)).await;
    shipping(&deployment, caught_up).await;
    let mut commands = 0;
    let of_it = document
        .lines()
        .filter_map(|line| line.strip_prefix("dynamic-mcp audit "));
    for command in of_it {
        let (words, into) = command
            .split_once(" > ")
            .map_or((command, None), |(words, into)| (words, Some(into)));
        let words: Vec<&str> = words.split(' ').collect();
        let ended = audit(deployment.folder(), &words).await;
        ended.assert(0, &[]);
        assert!(!ended.out.is_empty(), "{command}");
        if let Some(into) = into {
            std::fs::write(deployment.folder().join(into), ended.out).unwrap();
        }
        commands += 1;
    }
    assert_eq!(commands, 6);
    deployment.stop().await;
}
