//! Random operations against a model that fits on a page.

use std::collections::BTreeMap;

use domain::catalog::CatalogChange;
use domain::tool::{Change, ToolPatch};
use domain::{Catalog, CatalogVersion, ErrorCode, Result, Revision};
use futures::StreamExt;
use proptest::prelude::*;
use registry::{Registry, Settings};

use super::{admin, name, service, small};

const MAX_TOOLS: usize = 2;
const MAX_REVISIONS: u64 = 3;
const NAMES: usize = 3;

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Create(usize),
    Update(usize, Expect),
    Delete(usize, Expect),
    Read(usize, u64),
    Reopen,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Expect {
    Nothing,
    Current,
    Revision(u64),
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let expect = prop_oneof![
        2 => Just(Expect::Nothing),
        3 => Just(Expect::Current),
        2 => (0_u64..9).prop_map(Expect::Revision),
    ];
    let step = prop_oneof![
        4 => (0..NAMES).prop_map(Step::Create),
        5 => (0..NAMES, expect.clone()).prop_map(|(tool, expect)| Step::Update(tool, expect)),
        3 => (0..NAMES, expect).prop_map(|(tool, expect)| Step::Delete(tool, expect)),
        3 => (0..NAMES, 0_u64..12).prop_map(|(tool, revision)| Step::Read(tool, revision)),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..50)
}

/// A name: the last number it used, and while it exists the first one of this life.
#[derive(Debug, Clone, Copy, Default)]
struct Model {
    last: u64,
    born: Option<u64>,
}

fn code<T>(result: &Result<T>) -> Option<ErrorCode> {
    result.as_ref().err().map(domain::Error::code)
}

fn expected(model: Model, expect: Expect) -> (Option<Revision>, Option<ErrorCode>) {
    let expected = match expect {
        Expect::Nothing => None,
        Expect::Current => Some(model.last),
        Expect::Revision(revision) => Some(revision),
    };
    let refusal = if model.born.is_none() {
        Some(ErrorCode::NotFound)
    } else if expected.is_some_and(|expected| expected != model.last) {
        Some(ErrorCode::RevisionConflict)
    } else {
        None
    };
    (expected.map(Revision), refusal)
}

/// Runs the steps on what `open` opens, again and again the same store.
pub(crate) async fn run(steps: Vec<Step>, open: impl AsyncFn(Settings) -> Registry) {
    let settings = Settings {
        max_tools: MAX_TOOLS as u32,
        max_revisions: MAX_REVISIONS as u32,
        ..Settings::default()
    };
    let mut registry = open(settings.clone()).await;
    let mut models = [Model::default(); NAMES];
    let mut version = None;
    let tool = |at: usize| name(&format!("tool{at}"));
    for step in steps {
        match step {
            Step::Create(at) => {
                let live = models.iter().filter(|model| model.born.is_some()).count();
                let refusal = if models[at].born.is_some() {
                    Some(ErrorCode::AlreadyExists)
                } else if live >= MAX_TOOLS {
                    Some(ErrorCode::LimitExceeded)
                } else {
                    None
                };
                let result = registry.create(&admin(), small(tool(at).as_str())).await;
                assert_eq!(code(&result), refusal);
                if let Ok(made) = result {
                    models[at].last += 1;
                    models[at].born = Some(models[at].last);
                    assert_eq!(made.revision.0, models[at].last);
                    assert!(version.is_none_or(|version| made.version.0 == version + 1));
                    version = Some(made.version.0);
                }
            }
            Step::Update(at, expect) => {
                let (expected, refusal) = expected(models[at], expect);
                let title = format!("{}", models[at].last + 1);
                let patch = ToolPatch {
                    title: Change::Set(title),
                    ..ToolPatch::default()
                };
                let result = registry.update(&admin(), &tool(at), patch, expected).await;
                assert_eq!(code(&result), refusal);
                if let Ok(changed) = result {
                    models[at].last += 1;
                    assert_eq!(changed.revision.0, models[at].last);
                    version = version.map(|version| version + 1);
                    assert_eq!(Some(changed.version.0), version);
                }
            }
            Step::Delete(at, expect) => {
                let (expected, refusal) = expected(models[at], expect);
                let result = registry.delete(&admin(), &tool(at), expected).await;
                assert_eq!(code(&result), refusal);
                if let Ok(deleted) = result {
                    models[at].born = None;
                    version = version.map(|version| version + 1);
                    assert_eq!(Some(deleted.version.0), version);
                }
            }
            Step::Read(at, revision) => {
                let Model { last, born } = models[at];
                let kept = born.is_some_and(|born| {
                    (born..=last).contains(&revision) && revision + MAX_REVISIONS > last
                });
                let result = registry
                    .get(&admin(), &tool(at), Some(Revision(revision)))
                    .await;
                assert_eq!(result.is_ok(), kept, "{at} at {revision}: {:?}", models[at]);
            }
            Step::Reopen => {
                registry.close().await;
                registry = open(settings.clone()).await;
            }
        }
    }
    let mut feed = Catalog::watch(&registry, &service(), CatalogVersion(0))
        .await
        .unwrap();
    let mut seen = BTreeMap::new();
    loop {
        match feed.next().await.unwrap().unwrap() {
            CatalogChange::Upserted(record) => {
                seen.insert(record.name.to_string(), record.revision.0);
            }
            CatalogChange::Removed { .. } => panic!("a removal after a reset"),
            CatalogChange::Reset => {}
            CatalogChange::Synced(synced) => {
                assert!(version.is_none_or(|version| synced.0 == version));
                break;
            }
        }
    }
    let wanted: BTreeMap<String, u64> = models
        .iter()
        .enumerate()
        .filter(|(_, model)| model.born.is_some())
        .map(|(at, model)| (tool(at).to_string(), model.last))
        .collect();
    assert_eq!(seen, wanted);
    registry.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_registry_does_what_the_model_does(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registry.db");
        runtime.block_on(run(steps, async |settings| super::open(&path, settings).await));
    }
}
