//! The registry dies, Postgres stops: what is known is served on, writes are refused in time, and
//! everything heals by itself.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::mcp::{Client, Era};
use testkit::postgres::Stop;
use tokio::time::{Instant, sleep, timeout};

use crate::deployment::{Deployment, Kind};
use crate::faults::{make, works_within};

/// Longest wait for a refusal: 2 s for a connection, or 5 s for a statement and one for the news of
/// it, and what a busy machine adds.
const REFUSED_WITHIN: Duration = Duration::from_secs(8);
/// Longest wait until all works again.
const HEALED_WITHIN: Duration = Duration::from_secs(10);

fn create(name: &str) -> Value {
    json!({"tool": {"name": name, "description": "Of a test.", "code": "return 'made'"}})
}

async fn writes_are_refused(client: &Client, name: &str) {
    let refused = client.refusal("dynamic.tool.create", create(name));
    let refused = timeout(REFUSED_WITHIN, refused).await;
    assert_eq!(refused.expect("a write hangs"), "unavailable");
}

/// Lists and calls of what is known go on.
async fn reads_go_on(client: &Client) {
    let names = client.names().await;
    assert!(names.contains(&"kept.warm".to_owned()), "{names:?}");
    assert_eq!(client.ok("kept.warm", json!({})).await["result"], "warm");
}

async fn healed(deployment: &Deployment, client: &Client, name: &str) {
    works_within(client, "dynamic.tool.create", create(name), HEALED_WITHIN).await;
    assert_eq!(client.ok(name, json!({})).await["result"], "made");
    let end = Instant::now() + HEALED_WITHIN;
    loop {
        let (status, health) = deployment.get("/health").await;
        if status == 200 {
            return;
        }
        assert!(Instant::now() < end, "{health}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn without_postgres_and_without_the_registry_reads_go_on_and_all_heals_by_itself() {
    let mut deployment = Deployment::start(Kind::Production, &[]).await;
    let client = deployment.client(Era::Modern);
    make(&client, "kept.warm", "return 'warm'").await;
    client.ok("kept.warm", json!({})).await;
    let code = "await new Promise(done => setTimeout(done, 3000)); return 'survived'";
    for (round, way) in [Stop::Fast, Stop::Immediate].into_iter().enumerate() {
        let running = client.ok("run_js_ephemeral", json!({"code": code}));
        let away = async {
            sleep(Duration::from_millis(300)).await;
            deployment.postgres().stop(way).await;
            reads_go_on(&client).await;
            writes_are_refused(&client, "made.never").await;
            reads_go_on(&client).await;
        };
        let (survived, ()) = tokio::join!(running, away);
        assert_eq!(survived["result"], "survived");
        deployment.postgres().resume().await;
        healed(&deployment, &client, &format!("made.after{round}")).await;
    }

    // A database that hangs is no better than one that is gone.
    deployment.postgres().pause();
    writes_are_refused(&client, "made.never").await;
    reads_go_on(&client).await;
    deployment.postgres().unpause();
    healed(&deployment, &client, "made.unpaused").await;

    let running = client.ok("run_js_ephemeral", json!({"code": code}));
    let away = async {
        sleep(Duration::from_millis(300)).await;
        deployment.kill_registry().await;
        reads_go_on(&client).await;
        writes_are_refused(&client, "made.never").await;
    };
    let (survived, ()) = tokio::join!(running, away);
    assert_eq!(survived["result"], "survived");
    deployment.restart_registry();
    healed(&deployment, &client, "made.restarted").await;
    deployment.stop().await;
}
