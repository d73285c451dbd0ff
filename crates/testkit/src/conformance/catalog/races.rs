//! Many writers at once.

use std::sync::Arc;

use domain::{Catalog, ErrorCode, Result, Revision};
use futures::future::join_all;
use serde_json::json;
use tokio::task::JoinSet;

use super::{Catalogs, Rules, Subject, admin, draft, name, patch, small};

const WRITERS: usize = 64;

/// Whether the full counts were asked for.
#[allow(
    clippy::disallowed_methods,
    reason = "a test has no configuration of its own"
)]
fn soak() -> bool {
    std::env::var("MCP_TEST_SOAK").is_ok_and(|value| value == "1")
}

/// Each writer in a task of its own, half of them through the other side.
async fn all<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
    subject: &Subject,
    writers: usize,
    write: impl Fn(usize, Arc<dyn Catalog>) -> F,
) -> Vec<Result<T>> {
    let mut tasks = JoinSet::new();
    for at in 0..writers {
        let side = if at % 2 == 0 {
            &subject.catalog
        } else {
            &subject.other
        };
        tasks.spawn(write(at, Arc::clone(side)));
    }
    tasks.join_all().await
}

fn split<T>(results: Vec<Result<T>>, refusal: ErrorCode) -> Vec<T> {
    let mut good = Vec::new();
    for result in results {
        match result {
            Ok(value) => good.push(value),
            Err(error) => assert_eq!(error.code(), refusal, "{error}"),
        }
    }
    good
}

/// 64 writers create one name: one succeeds, and its tool is the one that is there.
pub async fn of_64_creators_one_wins(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let results = all(&subject, WRITERS, |at, catalog| async move {
        let tool = draft(
            "one",
            &json!({ "description": format!("by {at}") }),
            "return 1",
        );
        catalog.create(&admin(), tool).await
    })
    .await;
    let mut winners = split(results, ErrorCode::AlreadyExists);
    assert_eq!(winners.len(), 1);
    let there = subject
        .catalog
        .get(&admin(), &name("one"), None)
        .await
        .unwrap();
    assert_eq!(there.record, winners.remove(0));
}

/// 64 writers update the same revision, round after round: one succeeds each time, and the
/// revisions are 1 to n without gap or duplicate.
pub async fn of_64_updaters_one_wins_each_round(catalogs: &dyn Catalogs) {
    let rounds: u64 = if soak() { 1_000 } else { 20 };
    let subject = catalogs.make(Rules::default()).await;
    subject
        .catalog
        .create(&admin(), small("cas"))
        .await
        .unwrap();
    for round in 1..=rounds {
        let results = all(&subject, WRITERS, |at, catalog| async move {
            let change = patch(&json!({ "description": format!("{round} by {at}") }));
            catalog
                .update(&admin(), &name("cas"), change, Some(Revision(round)))
                .await
        })
        .await;
        let winners = split(results, ErrorCode::RevisionConflict);
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(winners[0].revision, Revision(round + 1));
        let there = subject
            .other
            .get(&admin(), &name("cas"), None)
            .await
            .unwrap();
        assert_eq!(there.record, winners[0]);
    }
}

/// Without an expectation no update is lost: each lands on what the one before left.
pub async fn updates_without_an_expectation_all_happen(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    subject
        .catalog
        .create(&admin(), small("all"))
        .await
        .unwrap();
    let results = all(&subject, 16, |at, catalog| async move {
        // Half of them change one field and half the other.
        let change = if at % 4 < 2 {
            json!({ "title": format!("t{at}") })
        } else {
            json!({ "description": format!("d{at}") })
        };
        catalog
            .update(&admin(), &name("all"), patch(&change), None)
            .await
    })
    .await;
    let mut revisions: Vec<u64> = results
        .into_iter()
        .map(|result| result.unwrap().revision.0)
        .collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (2..=17).collect::<Vec<_>>());
    let there = subject
        .catalog
        .get(&admin(), &name("all"), None)
        .await
        .unwrap()
        .record;
    assert!(there.spec.title.is_some() && there.spec.description.starts_with('d'));
}

/// Of an update and a deletion that expect the same revision, exactly one happens.
pub async fn deletion_and_update_race_to_one_end(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    for round in 0..10 {
        let made = subject
            .catalog
            .create(&admin(), small("race"))
            .await
            .unwrap();
        let (me, change) = (admin(), patch(&json!({ "enabled": false })));
        let (updated, deleted) = tokio::join!(
            subject
                .catalog
                .update(&me, &made.name, change, Some(made.revision)),
            subject.other.delete(&me, &made.name, Some(made.revision)),
        );
        assert_ne!(
            updated.is_ok(),
            deleted.is_ok(),
            "round {round}: {updated:?} {deleted:?}"
        );
        if updated.is_ok() {
            subject
                .catalog
                .delete(&admin(), &made.name, None)
                .await
                .unwrap();
        }
    }
}

/// 2N parallel creates with room for N: exactly N tools.
pub async fn max_tools_holds_under_parallel_creates(catalogs: &dyn Catalogs) {
    const ROOM: usize = 24;
    let rules = Rules {
        max_tools: 24,
        ..Rules::default()
    };
    let subject = catalogs.make(rules).await;
    let results = all(&subject, ROOM * 2, |at, catalog| async move {
        catalog.create(&admin(), small(&format!("n{at:03}"))).await
    })
    .await;
    let full = results.iter().find_map(|result| result.as_ref().err());
    assert_eq!(
        full.unwrap().message(),
        format!("Dynamic tool limit reached ({ROOM}).")
    );
    let made = split(results, ErrorCode::LimitExceeded);
    assert_eq!(made.len(), ROOM);
    let me = admin();
    let reads = join_all((0..ROOM * 2).map(|at| {
        let (catalog, me) = (&subject.catalog, &me);
        async move { catalog.get(me, &name(&format!("n{at:03}")), None).await }
    }))
    .await;
    assert_eq!(reads.iter().filter(|read| read.is_ok()).count(), ROOM);
    // A deletion makes room for one.
    subject
        .catalog
        .delete(&me, &made[0].name, None)
        .await
        .unwrap();
    let results = all(&subject, 8, |at, catalog| async move {
        catalog.create(&admin(), small(&format!("m{at:03}"))).await
    })
    .await;
    assert_eq!(split(results, ErrorCode::LimitExceeded).len(), 1);
}
