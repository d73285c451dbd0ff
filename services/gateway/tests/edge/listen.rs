//! `subscriptions/listen`.

use std::sync::Arc;
use std::time::Duration;

use domain::TenantId;
use gateway::http::{HttpAuth, anonymous};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::rig::{Answer, Pieces, Rig, modern, settings};

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

async fn listen(rig: &Rig, filter: Value) -> Pieces {
    let response = rig
        .send(modern(
            "subscriptions/listen",
            json!({"notifications": filter}),
        ))
        .await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    Pieces::of(response)
}

#[tokio::test(start_paused = true)]
async fn changes_of_the_catalogue_are_told_after_the_acknowledgement() {
    let rig = Rig::new(true);
    let filter = json!({"toolsListChanged": true, "promptsListChanged": true});
    let mut stream = listen(&rig, filter).await;
    let first = stream.message().await.unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    // Only what is really sent is accepted.
    assert_eq!(
        first["params"]["notifications"],
        json!({"toolsListChanged": true})
    );
    assert_eq!(first["params"]["_meta"][SUBSCRIPTION], 7);
    for _ in 0..2 {
        for _ in 0..10 {
            rig.fake.change();
        }
        let told = stream.message().await.unwrap();
        assert_eq!(told["method"], "notifications/tools/list_changed");
        assert_eq!(told["params"]["_meta"][SUBSCRIPTION], 7);
    }
    let more = timeout(Duration::from_secs(5), stream.message()).await;
    assert!(more.is_err(), "a burst is told once: {more:?}");

    rig.lifecycle.closing.cancel();
    let last = stream.message().await.unwrap();
    assert_eq!(last["id"], 7);
    assert_eq!(last["result"]["resultType"], "complete");
    assert_eq!(stream.message().await, None);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_of_another_tenants_changes() {
    let acme = TenantId::parse("acme").unwrap();
    let mut settings = settings(true);
    let mut caller = (*anonymous(true)).clone();
    caller.tenant = acme.clone();
    settings.auth = HttpAuth::Anonymous(Arc::new(caller));
    let rig = Rig::with(settings);
    let mut stream = listen(&rig, json!({"toolsListChanged": true})).await;
    stream.message().await.unwrap();
    rig.fake.change();
    let told = timeout(Duration::from_secs(60), stream.message()).await;
    assert!(told.is_err(), "{told:?}");
    rig.fake.change_for(&acme);
    let told = stream.message().await.unwrap();
    assert_eq!(told["method"], "notifications/tools/list_changed");
}

#[tokio::test(start_paused = true)]
async fn nothing_outside_the_filter_is_sent() {
    let rig = Rig::new(true);
    let mut stream = listen(&rig, json!({"resourcesListChanged": true})).await;
    let first = stream.message().await.unwrap();
    assert_eq!(first["params"]["notifications"], json!({}));
    rig.fake.change();
    assert!(
        timeout(Duration::from_secs(60), stream.message())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn subscriptions_of_one_caller_are_bounded_and_given_back() {
    let rig = Rig::new(true);
    let mut open = Vec::new();
    for _ in 0..100 {
        open.push(listen(&rig, json!({"toolsListChanged": true})).await);
    }
    let one_more = || modern("subscriptions/listen", json!({"notifications": {}}));
    let refused = Answer::read(rig.send(one_more()).await).await;
    assert_eq!(refused.error(), (429, 429));
    assert_eq!(refused.json()["id"], 7);
    assert_eq!(refused.header("retry-after"), "1");
    drop(open);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(rig.send(one_more()).await.status(), 200);
}
