//! The executor is killed while sessions are open, and in the middle of an install.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::docker::Docker;
use testkit::mcp::{Client, Era};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{SWEPT, calls};
use crate::deployment::{Deployment, IMAGE, Kind};
use crate::packages;
use crate::production::soak;

/// The first sweep finds everything of a dead life; volumes are looked into by a container first.
const GONE: Duration = Duration::from_secs(90);

/// Three processes with containers on the daemon that the tests share: a session wants a shell.
async fn deployment() -> Deployment {
    let trusted = packages::trusted();
    let mut env = vec![
        ("MCP_PROFILE", "enterprise"),
        ("MCP_EXECUTION_ENGINE", "docker"),
        ("MCP_SANDBOX_ALLOWED_IMAGES", IMAGE),
        ("MCP_SANDBOX_POOL_SIZE", "1"),
    ];
    env.extend(trusted.iter().map(|(name, file)| (*name, file.as_str())));
    Deployment::start(Kind::Three, &env).await
}

/// Names of what the executor of a deployment has on the daemon.
struct Owned {
    docker: Docker,
    folder: String,
}

impl Owned {
    fn of(deployment: &Deployment) -> Self {
        Self {
            docker: testkit::docker::daemon(),
            folder: deployment.folder().display().to_string(),
        }
    }

    async fn listed(&self, args: &[&str]) -> BTreeSet<String> {
        let format = "{{.Label \"dynamic-mcp.owner\"}} {{.Name}}";
        let format = if args[0] == "ps" {
            format.replace(".Name}", ".Names}")
        } else {
            format.to_owned()
        };
        let args = [args, &["--format", &format]].concat();
        let listed = self.docker.run(&args).await;
        let ours = listed.lines().filter(|line| line.contains(&self.folder));
        ours.filter_map(|line| Some(line.rsplit_once(' ')?.1.to_owned()))
            .collect()
    }

    async fn containers(&self) -> BTreeSet<String> {
        self.listed(&["ps", "--all"]).await
    }

    async fn volumes(&self) -> BTreeSet<String> {
        self.listed(&["volume", "ls"]).await
    }

    /// Those for packages; without them, for the working out of which.
    async fn packages(&self) -> BTreeSet<String> {
        let filter = "label=dynamic-mcp.packages=node";
        self.listed(&["volume", "ls", "--filter", filter]).await
    }

    async fn assert_gone(&self, dead: &BTreeSet<String>, limit: Duration) {
        let end = Instant::now() + limit;
        loop {
            let now = &self.containers().await | &self.volumes().await;
            if now.is_disjoint(dead) {
                return;
            }
            let left: BTreeSet<_> = now.intersection(dead).collect();
            assert!(Instant::now() < end, "left of the dead: {left:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn open(client: &Client) -> String {
    let opened = client.ok("sandbox.initialize", json!({})).await;
    opened["sessionId"].as_str().unwrap().to_owned()
}

fn exec(session: &str, command: &str) -> Value {
    json!({"sessionId": session, "commands": [command]})
}

/// 24, 28, 53: sessions end with their executor: their containers are gone after its restart, used or
/// not, whoever was in the middle of a command is told that it may have run, and the handles are
/// not found, with the reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_24_28_53_sessions_end_with_their_executor_alone() {
    let mut deployment = deployment().await;
    let owned = Owned::of(&deployment);
    let client = deployment.client(Era::Modern);
    let (used, unused, busy) = (
        open(&client).await,
        open(&client).await,
        open(&client).await,
    );
    let written = client
        .ok("sandbox.exec", exec(&used, "echo kept > f; cat f"))
        .await;
    assert_eq!(written["results"][0]["stdout"], "kept\n", "{written}");
    let mut running = JoinSet::new();
    {
        let (client, busy) = (client.clone(), busy.clone());
        running.spawn(async move { client.call("sandbox.exec", exec(&busy, "sleep 60")).await });
    }
    sleep(Duration::from_millis(500)).await;
    let dead = owned.containers().await;
    assert!(dead.len() >= 3, "{dead:?}");
    deployment.kill_executor().await;
    let told = running.join_next().await.unwrap().unwrap();
    assert_eq!(told["structuredContent"]["code"], "unavailable", "{told}");
    assert_eq!(told["structuredContent"]["mayHaveRun"], true, "{told}");
    deployment.restart_executor();
    calls::served(&client, SWEPT).await;
    owned.assert_gone(&dead, SWEPT).await;
    for session in [&used, &unused, &busy] {
        for (tool, arguments) in [
            ("sandbox.exec", exec(session, "true")),
            ("sandbox.stop", json!({"sessionId": session})),
        ] {
            let told = client.call(tool, arguments).await;
            let failure = &told["structuredContent"];
            assert_eq!(failure["code"], "not_found", "{tool}: {told}");
            let words = failure["error"].as_str().unwrap();
            assert!(words.contains("restarted"), "{tool}: {told}");
        }
    }
    let listed = client.ok("sandbox.session.list", json!({})).await;
    assert_eq!(listed["sessions"], json!([]));
    let again = open(&client).await;
    let there = client.ok("sandbox.exec", exec(&again, "ls -A")).await;
    assert_eq!(there["results"][0]["stdout"], "", "{there}");
    deployment.stop().await;
    let left = &owned.containers().await | &owned.volumes().await;
    assert!(left.is_empty(), "{left:?}");
}

/// 24, 68: killed in the middle of an install: no volume that is half full stays, none is ever used, and
/// the next call installs anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_24_68_an_install_that_dies_with_its_executor_alone_leaves_nothing() {
    let mut deployment = deployment().await;
    let owned = Owned::of(&deployment);
    let client = deployment.client(Era::Modern);
    let code = "return [require('lodash').chunk([1, 2, 3], 2).length, require('date-fns').format(new Date(0), 'yyyy')]";
    let dependencies = [("lodash", "4.17.21"), ("date-fns", "3.6.0")];
    let dependencies =
        dependencies.map(|(name, version)| json!({"name": name, "version": version}));
    let asked = json!({"code": code, "dependencies": dependencies, "timeoutMs": 60_000});
    let rounds = if soak() { 10 } else { 2 };
    let mut rng = fastrand::Rng::with_seed(0x5eed_0068);
    let mut interrupted = 0;
    for round in 0..rounds {
        let before = owned.volumes().await;
        let mut calling = JoinSet::new();
        {
            let (client, asked) = (client.clone(), asked.clone());
            calling.spawn(async move { client.call("run_js_ephemeral", asked).await });
        }
        // In turn while it works out what to install, and while it installs.
        let installs = round % 2 == 1;
        let end = Instant::now() + Duration::from_secs(60);
        let fresh = loop {
            let now = match installs {
                true => owned.packages().await,
                false => owned.volumes().await,
            };
            let fresh = &now - &before;
            if !fresh.is_empty() {
                break fresh;
            }
            assert!(Instant::now() < end, "no volume is made");
        };
        let delay = Duration::from_millis(rng.u64(..300));
        super::print(&format!("kill {round}: {delay:?} after {fresh:?}"));
        sleep(delay).await;
        let left = &owned.containers().await | &fresh;
        deployment.kill_executor().await;
        let told = calling.join_next().await.unwrap().unwrap();
        let failure = &told["structuredContent"];
        interrupted += usize::from(failure["code"] == "unavailable");
        deployment.restart_executor();
        calls::served(&client, SWEPT).await;
        owned.assert_gone(&left, GONE).await;
    }
    assert_eq!(interrupted, rounds, "each kill was in time");
    let answer = client.ok("run_js_ephemeral", asked.clone()).await;
    assert_eq!(answer["result"], json!([2, "1970"]));
    let kept = owned.volumes().await;
    assert_eq!(kept.len(), 1, "one set of packages: {kept:?}");
    // It is a cache: it outlives its executor, and is used again.
    deployment.kill_executor().await;
    deployment.restart_executor();
    calls::served(&client, SWEPT).await;
    let answer = client.ok("run_js_ephemeral", asked).await;
    assert_eq!(answer["result"], json!([2, "1970"]));
    assert_eq!(owned.volumes().await, kept);
    deployment.stop().await;
    let left = owned.containers().await;
    assert!(left.is_empty(), "{left:?}");
    for volume in kept {
        owned.docker.run(&["volume", "rm", &volume]).await;
    }
}
