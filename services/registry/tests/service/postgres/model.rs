//! Random operations against the model of `super::super::model`.

use std::sync::Arc;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use registry::{PostgresSettings, PostgresStore, Registry};
use testkit::postgres::{Cluster, Durability};

use super::super::metrics;
use super::super::model::{run, steps};
use super::database;

const CASES: usize = 12;

/// The generator is seeded the same every time: what it makes is many different histories, not new
/// ones on each run.
#[tokio::test]
async fn the_registry_does_what_the_model_does() {
    let cluster = Cluster::start(Durability::Relaxed).await;
    let mut runner = TestRunner::deterministic();
    for case in 0..CASES {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        let settings = PostgresSettings {
            schema: format!("case_{case}"),
            ..database(&cluster)
        };
        run(steps, async |rules| {
            let metrics = metrics();
            let store = PostgresStore::open(settings.clone(), metrics.clone()).await;
            Registry::new(Arc::new(store.unwrap()), rules, metrics)
        })
        .await;
    }
}
