//! Gateways and registries killed with -9 while tools are made, changed and deleted on both sides
//! (threat 112). What writers were told is held against what the database has: nothing that was
//! acknowledged is lost, nothing is there that nobody sent, revisions have no gap, and the audit logs
//! are whole.

mod database;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;
use testkit::issuer::{AUDIENCE, ISSUER, Issuer};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::writer::{Account, Writer};
use crate::deployment::binary;
use crate::pairs::{More, Pairs};
use crate::production::soak;

const WRITERS: usize = 6;

/// The seed of a run: that of `MCP_TEST_SEED`, or a new one.
#[allow(
    clippy::disallowed_methods,
    reason = "a test has no configuration of its own"
)]
fn seed() -> u64 {
    let given = std::env::var("MCP_TEST_SEED").ok();
    given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap())
}

async fn start(issuer: &Issuer) -> Pairs {
    let key = issuer.public_pem();
    let gateway = [
        ("MCP_AUTH_MODE", "jwt"),
        ("MCP_AUTH_PUBLIC_KEY", &key),
        ("MCP_AUTH_ISSUER", ISSUER),
        ("MCP_AUTH_AUDIENCE", AUDIENCE),
        ("MCP_AUTH_MAX_FAILURES_PER_MINUTE", "0"),
        ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "1000000"),
        ("MCP_TOOL_MAX_CONCURRENCY", "1000"),
        ("MCP_AUDIT_MAX_FILE_BYTES", "1000000000"),
        ("LOG_LEVEL", "info"),
    ];
    let registry = [
        ("MCP_DYNAMIC_MAX_TOOLS", "100000"),
        ("MCP_DYNAMIC_MAX_REVISIONS", "100000"),
    ];
    let executor = [("MCP_EXECUTION_ENGINE", "isolate")];
    let more = More {
        gateway: &gateway,
        registry: &registry,
        executor: &executor,
        verify_keys: None,
    };
    Pairs::start(tempfile::tempdir().unwrap(), more).await
}

/// Kills one of the four after the other, and starts it again.
async fn kill(pairs: &mut Pairs, kills: usize, rng: &mut Rng, places: &watch::Sender<[String; 2]>) {
    let folder = pairs.folder().to_owned();
    for _ in 0..kills {
        sleep(Duration::from_millis(rng.u64(50..400))).await;
        let at = rng.usize(..2);
        let is_gateway = rng.bool();
        let all = if is_gateway {
            &mut pairs.gateways
        } else {
            &mut pairs.registries
        };
        let process = &mut all[at];
        process.kill().await;
        sleep(Duration::from_millis(rng.u64(..200))).await;
        process.again(&folder);
        process.ready().await;
        if is_gateway {
            let address = process.address.clone();
            places.send_modify(|places| places[at] = address);
        }
    }
}

async fn verify_audit(pairs: &Pairs) {
    for at in 0..2 {
        let log = pairs.folder().join(format!("audit{at}.log"));
        let verified = Command::new(binary("dynamic-mcp"))
            .args(["audit", "verify"])
            .arg(&log)
            .current_dir(pairs.folder())
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&verified.stdout).into_owned()
            + &String::from_utf8_lossy(&verified.stderr);
        assert!(verified.status.success(), "{}: {said}", log.display());
    }
}

/// Every write that was acknowledged is in an audit log, as a success: its record is on disk before
/// the answer.
fn all_audited(pairs: &Pairs, accounts: &[Account]) {
    let mut logged = String::new();
    for at in 0..2 {
        let log = pairs.folder().join(format!("audit{at}.log"));
        logged += &std::fs::read_to_string(log).unwrap();
    }
    let requests: std::collections::HashSet<&str> = logged
        .lines()
        .filter_map(|line| line.split_once("\"requestId\":\"")?.1.split('"').next())
        .collect();
    let acknowledged = accounts.iter().flat_map(Account::acknowledged_requests);
    let missing: Vec<&str> = acknowledged.filter(|id| !requests.contains(id)).collect();
    assert!(
        missing.is_empty(),
        "acknowledged and in no audit log: {missing:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(
    clippy::print_stderr,
    reason = "the seed and what came of it are shown"
)]
async fn threat_112_nothing_acknowledged_is_lost_when_gateways_and_registries_are_killed() {
    let (seed, kills) = (seed(), if soak() { 200 } else { 10 });
    eprintln!("MCP_TEST_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let issuer = Issuer::default();
    let mut pairs = start(&issuer).await;
    let token = issuer.token("writer", "mcp:tools:read mcp:tools:write", &json!({}));
    let addresses = [0, 1].map(|at: usize| pairs.gateways[at].address.clone());
    let places = Arc::new(watch::Sender::new(addresses));
    let stop = watch::Sender::new(false);
    let mut writers = JoinSet::new();
    for at in 0..WRITERS {
        let rng = rng.fork();
        let writer = Writer::new(at, rng, &token, places.subscribe());
        writers.spawn(writer.work(stop.subscribe()));
    }
    kill(&mut pairs, kills, &mut rng, &places).await;
    stop.send_replace(true);
    let accounts: Vec<Account> = writers.join_all().await;
    let tally = database::check(&pairs.postgres, &accounts).await;
    eprintln!("{kills} kills, {tally:?}");
    assert!(tally.acknowledged > 2 * kills, "{tally:?}");
    all_audited(&pairs, &accounts);
    verify_audit(&pairs).await;
    pairs.stop().await;
}
