use std::collections::VecDeque;

use async_trait::async_trait;
use domain::catalog::Deleted;
use domain::tool::ToolWithCode;
use domain::{
    CallContext, Catalog, ChangeStream, CodeDigest, Error, Revision, ToolDraft, ToolPatch,
};
use futures::stream;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::*;

fn record(name: &str, version: u64) -> ToolRecord {
    ToolRecord {
        tenant: TenantId::default(),
        name: ToolName::parse(name).unwrap(),
        spec: testkit::spec(),
        code_digest: CodeDigest::of(""),
        code_size_bytes: 0,
        revision: Revision(version),
        version: CatalogVersion(version),
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    }
}

fn upserted(name: &str, version: u64) -> CatalogChange {
    CatalogChange::Upserted(Box::new(record(name, version)))
}

fn removed(name: &str, version: u64) -> CatalogChange {
    CatalogChange::Removed {
        tenant: TenantId::default(),
        name: ToolName::parse(name).unwrap(),
        version: CatalogVersion(version),
    }
}

fn synced(version: u64) -> CatalogChange {
    CatalogChange::Synced(CatalogVersion(version))
}

/// Names and versions of what the snapshot holds.
fn held(catalogue: &Catalogue) -> Vec<(String, u64)> {
    let tools = catalogue.tools(&TenantId::default());
    let shown = |entry: &Arc<Entry>| {
        (
            entry.record.name.as_str().to_owned(),
            entry.record.version.0,
        )
    };
    tools.entries.iter().map(shown).collect()
}

fn pairs(list: &[(&str, u64)]) -> Vec<(String, u64)> {
    list.iter()
        .map(|(name, version)| ((*name).to_owned(), *version))
        .collect()
}

#[tokio::test]
async fn tools_are_sorted_and_found() {
    let catalogue = Catalogue::default();
    catalogue
        .apply(vec![upserted("b.b", 1), upserted("a.a", 2), synced(2)])
        .unwrap();
    assert_eq!(held(&catalogue), pairs(&[("a.a", 2), ("b.b", 1)]));
    assert!(catalogue.find(&TenantId::default(), "b.b").is_some());
    assert!(catalogue.find(&TenantId::default(), "B.b").is_none());
    let other = TenantId::parse("other").unwrap();
    assert!(catalogue.find(&other, "b.b").is_none());
    assert_eq!(catalogue.extent(), (CatalogVersion(2), 2));
}

#[tokio::test]
async fn a_late_event_never_undoes_an_own_write() {
    let catalogue = Catalogue::default();
    catalogue
        .apply(vec![upserted("a.a", 1), synced(1)])
        .unwrap();
    catalogue.learn(record("a.a", 3)).unwrap();
    catalogue.apply(vec![upserted("a.a", 2)]).unwrap();
    assert_eq!(held(&catalogue), pairs(&[("a.a", 3)]));

    let name = ToolName::parse("a.a").unwrap();
    catalogue.learn_removal(&TenantId::default(), &name, CatalogVersion(4));
    catalogue
        .apply(vec![upserted("a.a", 3), synced(3)])
        .unwrap();
    assert_eq!(held(&catalogue), pairs(&[]), "deleted stays deleted");
    catalogue
        .apply(vec![removed("a.a", 4), upserted("a.a", 5), synced(5)])
        .unwrap();
    assert_eq!(
        held(&catalogue),
        pairs(&[("a.a", 5)]),
        "until it is made again"
    );
}

#[tokio::test]
async fn an_own_write_that_comes_late_does_not_bring_back_what_the_feed_has_removed() {
    let catalogue = Catalogue::default();
    catalogue
        .apply(vec![upserted("a.a", 1), removed("a.a", 2), synced(2)])
        .unwrap();
    catalogue.learn(record("a.a", 1)).unwrap();
    assert_eq!(held(&catalogue), pairs(&[]));
}

#[tokio::test]
async fn a_whole_catalogue_is_seen_when_it_is_complete_and_keeps_newer_own_writes() {
    let catalogue = Catalogue::default();
    catalogue
        .apply(vec![upserted("a.a", 1), upserted("b.b", 2), synced(2)])
        .unwrap();
    catalogue
        .apply(vec![CatalogChange::Reset, upserted("b.b", 2)])
        .unwrap();
    assert_eq!(
        held(&catalogue),
        pairs(&[("a.a", 1), ("b.b", 2)]),
        "not yet"
    );
    catalogue.learn(record("c.c", 4)).unwrap();
    assert_eq!(held(&catalogue).len(), 3, "an own write is seen at once");
    catalogue.apply(vec![synced(3)]).unwrap();
    assert_eq!(held(&catalogue), pairs(&[("b.b", 2), ("c.c", 4)]));
}

#[tokio::test]
async fn listeners_hear_of_what_the_list_shows_only() {
    let catalogue = Catalogue::default();
    let mut ours = catalogue.subscribe(&TenantId::default());
    let mut theirs = catalogue.subscribe(&TenantId::parse("other").unwrap());
    catalogue
        .apply(vec![upserted("a.a", 1), synced(1)])
        .unwrap();
    assert!(ours.has_changed().unwrap());
    assert!(!theirs.has_changed().unwrap());
    ours.mark_unchanged();
    let before = catalogue.tools(&TenantId::default()).generation;
    catalogue
        .apply(vec![upserted("a.a", 2), synced(2)])
        .unwrap();
    assert!(!ours.has_changed().unwrap(), "only its code is another");
    assert_eq!(catalogue.tools(&TenantId::default()).generation, before);
    let mut disabled = record("a.a", 3);
    disabled.spec.enabled = false;
    catalogue
        .apply(vec![CatalogChange::Upserted(Box::new(disabled))])
        .unwrap();
    assert!(ours.has_changed().unwrap());
    assert_ne!(catalogue.tools(&TenantId::default()).generation, before);
    theirs.mark_unchanged();
}

#[tokio::test]
async fn a_stored_tool_with_a_name_of_ours_is_kept_but_not_served() {
    let catalogue = Catalogue::default();
    catalogue
        .apply(vec![upserted("sandbox.exec", 1), synced(1)])
        .unwrap();
    let entry = catalogue
        .find(&TenantId::default(), "sandbox.exec")
        .unwrap();
    assert!(entry.shadowed && !entry.served());
}

#[tokio::test]
async fn the_books_agree_with_a_plain_model() {
    let mut seed = 7_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    for _ in 0..200 {
        // A history of versions, delivered to the gateway by its own writes and by the feed at
        // different times: at the end both agree with the history itself.
        let names = ["a.a", "b.b", "c.c"];
        let history: Vec<_> = (1..30)
            .map(|version| (names[random(3) as usize], version, random(3) > 0))
            .collect();
        let mut model = std::collections::BTreeMap::new();
        for (name, version, put) in &history {
            if *put {
                model.insert((*name).to_owned(), *version);
            } else {
                model.remove(*name);
            }
        }
        let catalogue = Catalogue::default();
        let mut feed: VecDeque<_> = history.iter().collect();
        let mut own: Vec<_> = history.iter().filter(|_| random(2) == 0).collect();
        let mut sent = 0;
        while !feed.is_empty() || !own.is_empty() {
            if !own.is_empty() && random(2) == 0 {
                let (name, version, put) = own.remove(random(own.len() as u64) as usize);
                if *put {
                    catalogue.learn(record(name, *version)).unwrap();
                } else {
                    let name = ToolName::parse(name).unwrap();
                    catalogue.learn_removal(&TenantId::default(), &name, CatalogVersion(*version));
                }
            } else if let Some((name, version, put)) = feed.pop_front() {
                sent = *version;
                let change = if *put {
                    upserted(name, sent)
                } else {
                    removed(name, sent)
                };
                let mut batch = vec![change];
                if random(2) == 0 {
                    batch.push(synced(sent));
                }
                catalogue.apply(batch).unwrap();
            }
        }
        catalogue.apply(vec![synced(sent)]).unwrap();
        assert_eq!(
            held(&catalogue),
            model.into_iter().collect::<Vec<_>>(),
            "{history:?}"
        );
    }
}

/// A registry whose feed is scripted: each opening takes the next script and then breaks.
struct Scripted {
    feeds: Mutex<VecDeque<Vec<CatalogChange>>>,
    since: Mutex<Vec<u64>>,
}

#[async_trait]
impl Catalog for Scripted {
    async fn create(&self, _: &CallContext, _: ToolDraft) -> Result<ToolRecord> {
        Err(Error::unavailable("registry"))
    }
    async fn update(
        &self,
        _: &CallContext,
        _: &ToolName,
        _: ToolPatch,
        _: Option<Revision>,
    ) -> Result<ToolRecord> {
        Err(Error::unavailable("registry"))
    }
    async fn delete(&self, _: &CallContext, _: &ToolName, _: Option<Revision>) -> Result<Deleted> {
        Err(Error::unavailable("registry"))
    }
    async fn get(
        &self,
        _: &CallContext,
        _: &ToolName,
        _: Option<Revision>,
    ) -> Result<ToolWithCode> {
        Err(Error::unavailable("registry"))
    }
    async fn code(&self, _: &CallContext, _: &ToolName, _: Revision) -> Result<Arc<str>> {
        Err(Error::unavailable("registry"))
    }
    async fn lock(
        &self,
        _: &CallContext,
        _: &ToolName,
        _: Revision,
    ) -> Result<Option<domain::Lockfile>> {
        Err(Error::unavailable("registry"))
    }
    async fn set_lock(
        &self,
        _: &CallContext,
        _: &ToolName,
        _: Revision,
        _: domain::Lockfile,
    ) -> Result<domain::Lockfile> {
        Err(Error::unavailable("registry"))
    }
    async fn watch(&self, _: &CallContext, since: CatalogVersion) -> Result<ChangeStream> {
        use futures::StreamExt as _;
        self.since.lock().push(since.0);
        match self.feeds.lock().pop_front() {
            Some(script) => {
                let end = stream::once(async { Err(Error::unavailable("registry")) });
                Ok(Box::pin(
                    stream::iter(script.into_iter().map(Ok)).chain(end),
                ))
            }
            None => Ok(Box::pin(stream::pending())),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_breaks_or_falls_silent_is_opened_again_from_where_it_was() {
    let registry = Arc::new(Scripted {
        feeds: Mutex::new(VecDeque::from([
            vec![upserted("a.a", 1), synced(1)],
            vec![upserted("b.b", 2)],
            vec![upserted("b.b", 2), synced(2)],
            vec![CatalogChange::Reset, upserted("c.c", 1)],
            vec![CatalogChange::Reset, upserted("d.d", 1), synced(1)],
        ])),
        since: Mutex::default(),
    });
    let catalogue = Arc::new(Catalogue::default());
    assert!(catalogue.is_stale() && !catalogue.has_synced());
    let stop = CancellationToken::new();
    let build = telemetry::BuildInfo {
        service: "gateway",
        version: "0",
        commit: "unknown",
    };
    let metrics = Arc::new(telemetry::Metrics::new(build).unwrap());
    let following = Arc::clone(&catalogue).follow(
        Arc::clone(&registry) as Arc<dyn Catalog>,
        Arc::clone(&metrics),
        stop.clone(),
    );
    let mut following = Box::pin(following);
    tokio::select! {
        () = &mut following => panic!("it goes on for ever"),
        () = tokio::time::sleep(Duration::from_secs(10)) => {}
    }
    assert_eq!(
        *registry.since.lock(),
        [0, 1, 1, 2, 2, 1],
        "half a catalogue counts for nothing"
    );
    assert_eq!(held(&catalogue), pairs(&[("d.d", 1)]));
    assert!(catalogue.has_synced());
    let lags = metrics.catalogue_lag.get_sample_count();
    assert_eq!(
        lags, 2,
        "`b.b` each time it came; whole catalogues have no lag"
    );
    // The last feed says nothing at all.
    tokio::select! {
        () = &mut following => panic!("it goes on for ever"),
        () = tokio::time::sleep(Duration::from_secs(30)) => {}
    }
    assert!(registry.since.lock().len() > 6, "silence is a broken feed");
    assert!(catalogue.is_stale());
    stop.cancel();
    following.await;
}
