//! Row 103: certificates, authority and keys are replaced while calls go on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use auth::internal::{Audience, SigningKey, VerifyKeys};
use domain::{Catalog as _, ErrorCode, Scope};
use rpc::client::CatalogClient;
use serde_json::json;
use testkit::certificates::write;
use testkit::context;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::rig::{Rig, certs};
use crate::production::soak;

/// Calls through all three without a pause, until told to stop.
struct Load {
    stop: watch::Sender<bool>,
    callers: JoinSet<()>,
    calls: Arc<AtomicU32>,
}

/// How often everything changes: ten times with `MCP_TEST_SOAK=1`.
fn rounds() -> usize {
    if soak() { 10 } else { 1 }
}

/// How many calls there have to be at least, those before, during and after the changes.
const CALLS: u32 = 50;

impl Load {
    async fn start(rig: &Rig, callers: usize) -> Self {
        rig.works("under.load").await;
        let (stop, stopped) = watch::channel(false);
        let mut running = JoinSet::new();
        let calls = Arc::<AtomicU32>::default();
        for _ in 0..callers {
            let (client, stopped) = (rig.client(), stopped.clone());
            let calls = Arc::clone(&calls);
            running.spawn(async move {
                while !*stopped.borrow() {
                    let answer = client.ok("under.load", json!({"args": {}})).await;
                    assert_eq!(answer["result"], 42, "{answer}");
                    // What the snapshot does not answer.
                    let got = client
                        .ok("dynamic.tool.get", json!({"name": "under.load"}))
                        .await;
                    assert_eq!(got["tool"]["name"], "under.load", "{got}");
                    calls.fetch_add(2, Ordering::Relaxed);
                }
            });
        }
        Self {
            stop,
            callers: running,
            calls,
        }
    }

    /// Goes on until there were enough calls; each has to have succeeded.
    async fn finish(mut self) {
        let end = Instant::now() + Duration::from_secs(60);
        while self.calls.load(Ordering::Relaxed) < CALLS {
            assert!(Instant::now() < end, "too slow: {:?}", self.calls);
            sleep(Duration::from_millis(20)).await;
        }
        self.stop.send_replace(true);
        while let Some(done) = self.callers.join_next().await {
            done.unwrap();
        }
    }
}

/// The ports of those who are connected to `address` now.
fn connected(address: &str) -> BTreeSet<u16> {
    let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
    let text = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port_of = |field: &str| u16::from_str_radix(field.rsplit(':').next()?, 16).ok();
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // 01 is established.
            let is_open = fields[3] == "01" && port_of(fields[2])? == port;
            is_open.then(|| port_of(fields[1]))?
        })
        .collect()
}

/// A new authority: first everybody trusts both, then everybody shows the new one's certificate, then
/// nobody trusts the old one. The connections of before end, without anybody having been cut off.
async fn renew_certificates(rig: &Rig, round: usize) {
    let before = [connected(&rig.registry_at), connected(&rig.executor_at)];
    assert!(before.iter().all(|ports| !ports.is_empty()), "{before:?}");
    let folder = rig.folder.path();
    let next = format!("next{round}");
    certs(folder, &["ca", "--out", &next]).await;
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let first = read("certs/ca.pem");
    let second = read(&format!("{next}/ca.pem"));
    write(&rig.file("ca.pem"), &format!("{first}{second}"));
    rig.reload().await;
    rig.reread("internal", 3 * round + 1).await;
    for name in ["registry", "executor", "gateway"] {
        certs(folder, &["leaf", name, "--out", &next]).await;
        // The key first: between the two the files do not fit, and what is in use stays.
        for kind in ["key", "pem"] {
            write(
                &rig.file(&format!("{name}.{kind}")),
                &read(&format!("{next}/{name}.{kind}")),
            );
        }
        // Without a signal: the files are looked at anyway.
    }
    rig.reread("internal", 3 * round + 2).await;
    sleep(Duration::from_millis(500)).await;
    write(&rig.file("ca.pem"), &second);
    rig.reload().await;
    rig.reread("internal", 3 * round + 3).await;

    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let now = [connected(&rig.registry_at), connected(&rig.executor_at)];
        if now
            .iter()
            .zip(&before)
            .all(|(now, before)| now.is_disjoint(before))
        {
            return;
        }
        assert!(Instant::now() < end, "{before:?} {now:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_their_authority_change_and_no_call_fails() {
    let rig = Rig::start(&[]).await;
    let old = rig.link(Audience::Registry, "gateway", "gateway");
    let load = Load::start(&rig, 4).await;
    for round in 0..rounds() {
        renew_certificates(&rig, round).await;
    }
    load.finish().await;
    // Who holds the old certificate is let in no more.
    let catalog = CatalogClient::new(old);
    let name = testkit::draft("under.load").name;
    let refused = catalog
        .get(&context(&[Scope::ToolsRead]), &name, None)
        .await;
    assert_eq!(refused.unwrap_err().code(), ErrorCode::Unavailable);
    rig.stop().await;
}

/// A new signing key: first it is accepted beside the old one, then used, then the old one is not
/// accepted any more.
async fn renew_signing_key(rig: &Rig, round: usize) {
    let pem = std::fs::read_to_string(rig.file("gateway-signing.pem")).unwrap();
    let old = SigningKey::from_pem(&pem).unwrap().public_pem();
    let (next, private) = SigningKey::generate_pem().unwrap();
    let keys = std::fs::read_to_string(rig.file("verify.toml")).unwrap();
    let both = format!("{}{keys}", next.public_pem());
    assert!(VerifyKeys::parse(&both).is_ok());
    write(&rig.file("verify.toml"), &both);
    rig.reload().await;
    rig.reread("verify_keys", 2 * round + 1).await;
    write(&rig.file("gateway-signing.pem"), &private);
    rig.reload().await;
    rig.reread("signing_key", round + 1).await;
    sleep(Duration::from_millis(300)).await;
    let without = both.replace(&old, "");
    assert_ne!(without, both);
    write(&rig.file("verify.toml"), &without);
    rig.reload().await;
    rig.reread("verify_keys", 2 * round + 2).await;
    sleep(Duration::from_millis(300)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_keys_change_and_no_call_fails() {
    let rig = Rig::start(&[]).await;
    let pem = std::fs::read_to_string(rig.file("gateway-signing.pem")).unwrap();
    let old = Arc::new(SigningKey::from_pem(&pem).unwrap());
    let load = Load::start(&rig, 4).await;
    for round in 0..rounds() {
        renew_signing_key(&rig, round).await;
    }
    load.finish().await;

    let catalog = CatalogClient::new(rig.link_signed(Audience::Registry, "gateway", old));
    let name = testkit::draft("under.load").name;
    let refused = catalog
        .get(&context(&[Scope::ToolsRead]), &name, None)
        .await;
    assert_eq!(refused.unwrap_err().code(), ErrorCode::Unauthenticated);

    // What cannot be read changes nothing.
    write(&rig.file("verify.toml"), "not a key");
    rig.reload().await;
    let end = Instant::now() + Duration::from_secs(10);
    while !rig
        .registry
        .log()
        .iter()
        .any(|line| line.contains("cannot be used"))
    {
        assert!(Instant::now() < end, "{:#?}", rig.registry.log());
        sleep(Duration::from_millis(20)).await;
    }
    rig.works("after.all").await;
    rig.stop().await;
}
