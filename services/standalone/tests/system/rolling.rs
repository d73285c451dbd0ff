//! Threat 120: every service is restarted, one after the other, while clients work through the real nginx:
//! not one request fails, and nothing that was acknowledged is lost.

mod load;
mod rig;

use std::time::Duration;

use serde_json::json;
use testkit::mcp::Era;
use tokio::time::{Instant, sleep};

use self::load::Load;
use self::rig::{Rig, Which};
use crate::production::soak;

/// How often everything is restarted: ten times in the soak.
fn rolls() -> u32 {
    if soak() { 10 } else { 1 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_120_rolling_restarts_of_every_service_fail_no_request() {
    let mut rig = Rig::start(rig::SHORT).await;
    let load = Load::start(&rig).await;
    for roll in 0..rolls() {
        for which in Which::ALL {
            let before = load.answered();
            let took = rig.restart(which).await;
            load.assert_clean(&format!("roll {roll}, {which:?}"), &rig);
            load.wait_for_more(before).await;
            eprintln_line(&format!(
                "roll {roll}: {which:?} in {took:?}, {} answers",
                load.answered()
            ));
        }
    }
    let tally = load.stop(&rig).await;
    let kinds = [tally.lists, tally.calls, tally.long_calls, tally.writes];
    assert!(kinds.iter().all(|count| *count > 0), "{tally:?}");
    assert!(tally.slowest < Duration::from_secs(20), "{tally:?}");
    assert!(tally.subscriptions > 0, "{tally:?}");
    // Nothing that was acknowledged is lost.
    for (tool, revision) in &tally.revisions {
        let found = rig
            .client(Era::Modern)
            .ok("dynamic.tool.get", json!({"name": tool}))
            .await;
        assert_eq!(
            found["tool"]["revision"],
            json!(revision),
            "{tool}: {found}"
        );
    }
    eprintln_line(&format!("{tally:?}"));
    rig.stop().await;
}

/// Readiness goes first: requests are served until the delay is over, and each says that its connection
/// ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_120_readiness_goes_off_before_anything_else() {
    let mut rig = Rig::start(rig::LONG).await;
    let gateway = rig.gateway_port(0);
    rig.signal(Which::Gateway(0), "TERM").await;
    let told = Instant::now();
    let address = format!("127.0.0.1:{gateway}");
    loop {
        let ready = testkit::http::exchange(&address, "GET", "/readyz", &[], b"").await;
        if ready.status == 503 {
            assert!(ready.text().contains("draining"), "{}", ready.text());
            break;
        }
        assert!(told.elapsed() < rig::LONG / 2, "still ready");
    }
    let mut kept = rig::Kept::connect(gateway).await;
    let head = kept.get("/livez").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.to_lowercase().contains("connection: close"), "{head}");
    assert!(
        told.elapsed() < rig::LONG,
        "too slow a machine to see it: {:?}",
        told.elapsed()
    );
    rig.wait_end(Which::Gateway(0)).await;
    assert!(told.elapsed() >= rig::LONG, "{:?}", told.elapsed());
    sleep(Duration::from_millis(10)).await;
    assert!(tokio::net::TcpStream::connect(&address).await.is_err());
    rig.start_again(Which::Gateway(0)).await;
    rig.stop().await;
}

fn eprintln_line(text: &str) {
    use std::io::Write as _;
    assert!(writeln!(std::io::stderr(), "{text}").is_ok());
}
