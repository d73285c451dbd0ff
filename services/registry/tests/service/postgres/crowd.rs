//! Writers through two registries and followers of both, who all keep count.

#![allow(
    clippy::print_stderr,
    reason = "what came of a fault is shown on demand"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::catalog::CatalogChange;
use domain::tool::{Change, ToolPatch};
use domain::{Catalog, CatalogVersion, ErrorCode, Revision};
use futures::StreamExt;
use registry::{Registry, Settings};
use testkit::postgres::Cluster;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::super::{admin, name, service, small};
use super::open;

const WRITERS: usize = 4;
const FOLLOWERS: usize = 2;

/// What one writer did to its own tool: titles, which are never used twice.
#[derive(Default)]
pub(super) struct Account {
    /// Answered with success, with the revision it said.
    acknowledged: BTreeMap<String, Revision>,
    /// Answered with an error that says that it may have been done.
    unknown: BTreeSet<String>,
    /// Answered with an error that says that nothing was done.
    refused: BTreeSet<String>,
}

/// Tool and revision, as a follower has them.
type Seen = BTreeMap<String, Revision>;

pub(super) struct Crowd {
    registries: [Registry; 2],
    stop: CancellationToken,
    writers: JoinSet<(usize, Account)>,
    followers: JoinSet<()>,
    seen: Vec<watch::Receiver<Seen>>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) acknowledged: usize,
    pub(super) refused: usize,
    pub(super) unknown: usize,
    pub(super) converged_after: Duration,
}

impl Crowd {
    /// Two registries, writers and followers on each.
    pub(super) async fn gather(cluster: &Cluster) -> Self {
        let settings = Settings {
            max_revisions: 100_000,
            ..Settings::default()
        };
        let registries = [
            open(cluster, settings.clone()).await,
            open(cluster, settings).await,
        ];
        let stop = CancellationToken::new();
        let (mut writers, mut followers, mut seen) = (JoinSet::new(), JoinSet::new(), Vec::new());
        for (at, registry) in registries.iter().enumerate() {
            for _ in 0..FOLLOWERS {
                let (tell, told) = watch::channel(Seen::new());
                seen.push(told);
                followers.spawn(follow(registry.clone(), tell));
            }
            for writer in 0..WRITERS / 2 {
                let id = at * WRITERS + writer;
                registry.create(&admin(), small(&tool(id))).await.unwrap();
                let work = write(registry.clone(), id, stop.clone());
                writers.spawn(async move { (id, work.await) });
            }
        }
        Self {
            registries,
            stop,
            writers,
            followers,
            seen,
        }
    }

    /// Ends the writers, and checks that what was acknowledged is there, that what was refused is
    /// not, and that every follower comes to have what is there.
    pub(super) async fn settle(mut self) -> Tally {
        self.stop.cancel();
        let mut tally = Tally {
            acknowledged: 0,
            refused: 0,
            unknown: 0,
            converged_after: Duration::ZERO,
        };
        let mut expected = Seen::new();
        let mut accounts = Vec::new();
        while let Some(account) = self.writers.join_next().await {
            accounts.push(account.unwrap());
        }
        for (id, account) in accounts {
            expected.insert(tool(id), self.check(id, &account).await);
            tally.acknowledged += account.acknowledged.len();
            tally.refused += account.refused.len();
            tally.unknown += account.unknown.len();
        }
        let began = Instant::now();
        for (at, seen) in self.seen.iter_mut().enumerate() {
            let limit = Duration::from_secs(10);
            let all = timeout(limit, seen.wait_for(|it| *it == expected))
                .await
                .is_ok();
            let seen = seen.borrow();
            assert!(all, "follower {at} has {seen:?} and not {expected:?}");
        }
        tally.converged_after = began.elapsed();
        self.followers.shutdown().await;
        for registry in self.registries {
            registry.close().await;
        }
        tally
    }

    async fn check(&self, id: usize, account: &Account) -> Revision {
        let registry = &self.registries[1 - id % 2];
        let name = name(&tool(id));
        let newest = registry.get(&admin(), &name, None).await.unwrap();
        let mut missing = account.acknowledged.clone();
        for revision in 2..=newest.record.revision.0 {
            let revision = Revision(revision);
            let kept = registry.get(&admin(), &name, Some(revision)).await.unwrap();
            let title = kept.record.spec.title.unwrap();
            match missing.remove(&title) {
                Some(said) => assert_eq!(said, revision, "{title}"),
                None => assert!(
                    account.unknown.contains(&title),
                    "{title} is there at {revision}; refused: {}",
                    account.refused.contains(&title)
                ),
            }
        }
        assert!(missing.is_empty(), "acknowledged and lost: {missing:?}");
        newest.record.revision
    }
}

fn tool(id: usize) -> String {
    format!("writer.{id}")
}

/// Changes its tool until it is stopped.
async fn write(registry: Registry, id: usize, stop: CancellationToken) -> Account {
    let mut account = Account::default();
    let name = name(&tool(id));
    for round in 0_u64.. {
        if stop.is_cancelled() {
            break;
        }
        let title = format!("{id} round {round}");
        let patch = ToolPatch {
            title: Change::Set(title.clone()),
            ..ToolPatch::default()
        };
        match registry.update(&admin(), &name, patch, None).await {
            Ok(record) => {
                account.acknowledged.insert(title, record.revision);
            }
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::Unavailable, "{error:?}");
                if error.message().contains("may have been made") {
                    account.unknown.insert(title);
                } else {
                    assert!(error.message().contains("nothing was done"), "{error}");
                    account.refused.insert(title);
                }
                sleep(Duration::from_millis(10)).await;
            }
        }
    }
    account
}

/// Follows a registry as a gateway does: from where it was, again and again.
async fn follow(registry: Registry, tell: watch::Sender<Seen>) {
    let mut synced = CatalogVersion(0);
    loop {
        if let Ok(mut feed) = Catalog::watch(&registry, &service(), synced).await {
            let mut whole = None::<Seen>;
            while let Some(Ok(change)) = feed.next().await {
                let put = |seen: &mut Seen| match &change {
                    CatalogChange::Upserted(record) => {
                        seen.insert(record.name.to_string(), record.revision);
                    }
                    CatalogChange::Removed { name, .. } => {
                        seen.remove(name.as_str());
                    }
                    CatalogChange::Reset | CatalogChange::Synced(_) => {}
                };
                match (&change, &mut whole) {
                    (CatalogChange::Reset, _) => whole = Some(Seen::new()),
                    (CatalogChange::Synced(version), _) => {
                        synced = *version;
                        if let Some(whole) = whole.take() {
                            tell.send_replace(whole);
                        }
                    }
                    (_, Some(whole)) => put(whole),
                    (_, None) => tell.send_modify(put),
                }
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Runs `fault` on a cluster while a crowd works, and shows what came of it.
pub(super) async fn under<F: AsyncFnOnce(&mut Cluster)>(
    what: &str,
    mut cluster: Cluster,
    fault: F,
) -> Tally {
    let crowd = Crowd::gather(&cluster).await;
    sleep(Duration::from_millis(300)).await;
    fault(&mut cluster).await;
    sleep(Duration::from_millis(300)).await;
    let tally = crowd.settle().await;
    eprintln!("{what}: {tally:?}");
    assert!(tally.acknowledged > 10, "{tally:?}");
    tally
}
