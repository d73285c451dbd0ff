//! Whoever goes away, or whose time is over, leaves nothing running.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::{User, serve};
use crate::deployment::Kind;

/// A command with children of every kind: in the background, in a session of its own, forked away
/// twice.
const FAMILY: &str = "sleep 301 & (setsid sleep 302 &) ; ( ( sleep 303 & ) & ) ; \
                      nohup sleep 304 >/dev/null 2>&1 & exec sleep 305";

/// How many of the family there are.
async fn family(user: &User<'_>) -> usize {
    let (_, out, _) = user
        .sh("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -o 'sleep 30[1-5]' | sort -u | wc -l")
        .await;
    out.trim().parse().unwrap()
}

async fn until_none(user: &User<'_>) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let left = family(user).await;
        if left == 0 {
            return;
        }
        assert!(Instant::now() < end, "{left} are left");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn nothing_is_left(kind: Kind) {
    let (deployment, client) = serve(kind, &[]).await;
    let user = User::new(&client, json!({})).await;
    // What ran before and is meant to stay, stays.
    user.sh("sleep 999 & echo $! > pid").await;

    // Time: the command's own.
    let late = json!({"commands": [FAMILY, "echo after"], "timeoutMs": 1_000});
    let answer = user.call("sandbox.exec", late).await;
    assert_eq!(answer["isError"], true, "{answer}");
    let results = &answer["structuredContent"]["results"];
    assert_eq!(results[0]["timedOut"], true, "{answer}");
    assert_eq!(results[1]["stdout"], "after\n", "{answer}");
    until_none(&user).await;

    // The client goes away.
    let arguments = user.with(json!({ "commands": [FAMILY] }));
    let gone = timeout(
        Duration::from_secs(1),
        client.call("sandbox.exec", arguments),
    );
    assert!(gone.await.is_err());
    until_none(&user).await;

    // The same for code.
    let code = "require('node:child_process').spawn('sleep', ['301'], {detached: true}); \
                await new Promise(() => setInterval(() => {}, 1000))";
    let arguments = user.with(json!({ "code": code }));
    let gone = timeout(
        Duration::from_secs(1),
        client.call("sandbox.run_js", arguments),
    );
    assert!(gone.await.is_err());
    until_none(&user).await;
    let late = json!({"code": "for (;;) {}", "timeoutMs": 1_000});
    let answer = user.call("sandbox.run_js", late).await;
    assert_eq!(answer["structuredContent"]["code"], "timeout", "{answer}");

    let (code, _, _) = user.sh("kill -0 $(cat pid)").await;
    assert_eq!(code, 0, "what was there before still runs");
    deployment.stop().await;
}

#[tokio::test]
async fn docker_cancelled_commands_leave_nothing_direct() {
    nothing_is_left(Kind::Direct).await;
}

#[tokio::test]
async fn docker_cancelled_commands_leave_nothing_in_three_processes() {
    nothing_is_left(Kind::Three).await;
}
