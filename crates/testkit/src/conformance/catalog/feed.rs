//! The change feed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::catalog::{CatalogChange, ChangeStream};
use domain::{Catalog, CatalogVersion, ToolRecord};
use futures::StreamExt;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Catalogs, Rules, admin, caller, draft, name, patch, service, small};

/// A follower of the feed: what a gateway's snapshot does.
struct Follower {
    feed: ChangeStream,
    tools: BTreeMap<(String, String), ToolRecord>,
    resets: usize,
    /// Version of the last change.
    position: CatalogVersion,
    /// Version of the last `Synced`.
    synced: CatalogVersion,
}

impl Follower {
    async fn new(catalog: &Arc<dyn Catalog>, since: CatalogVersion) -> Self {
        let feed = catalog.watch(&service(), since).await.unwrap();
        Self {
            feed,
            tools: BTreeMap::new(),
            resets: 0,
            position: since,
            synced: since,
        }
    }

    async fn next(&mut self) -> CatalogChange {
        let change = timeout(Duration::from_secs(20), self.feed.next()).await;
        let change = change
            .expect("the feed is silent")
            .expect("the feed ended")
            .unwrap();
        match &change {
            CatalogChange::Reset => {
                self.resets += 1;
                self.tools.clear();
                self.position = CatalogVersion::default();
            }
            CatalogChange::Upserted(record) => {
                self.moved(record.version);
                let key = (record.tenant.to_string(), record.name.to_string());
                self.tools.insert(key, (**record).clone());
            }
            CatalogChange::Removed {
                tenant,
                name,
                version,
            } => {
                self.moved(*version);
                self.tools.remove(&(tenant.to_string(), name.to_string()));
            }
            CatalogChange::Synced(version) => {
                assert!(*version >= self.position, "synced behind a change");
                self.synced = *version;
            }
        }
        change
    }

    /// Changes come in the order of their versions, each once.
    fn moved(&mut self, version: CatalogVersion) {
        assert!(
            version > self.position,
            "{version:?} after {:?}",
            self.position
        );
        self.position = version;
    }

    /// Follows until everything up to `version` is here.
    async fn until(&mut self, version: CatalogVersion) {
        while self.synced < version || self.synced < self.position {
            self.next().await;
        }
    }

    async fn first_sync(&mut self) {
        while !matches!(self.next().await, CatalogChange::Synced(_)) {}
    }

    fn names(&self) -> Vec<&str> {
        self.tools.keys().map(|(_, name)| name.as_str()).collect()
    }
}

/// From zero: a reset, every tool, no deleted one, `Synced`.
pub async fn the_feed_starts_with_everything(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let (catalog, me) = (&subject.catalog, admin());
    let mut empty = Follower::new(catalog, CatalogVersion(0)).await;
    assert_eq!(empty.next().await, CatalogChange::Reset);
    assert!(matches!(empty.next().await, CatalogChange::Synced(_)));

    let mut records = Vec::new();
    for tool in ["aaa", "bbb", "ccc"] {
        records.push(catalog.create(&me, small(tool)).await.unwrap());
    }
    catalog.delete(&me, &name("bbb"), None).await.unwrap();
    let off = patch(&json!({ "enabled": false }));
    let changed = catalog.update(&me, &name("aaa"), off, None).await.unwrap();
    let mut feed = Follower::new(catalog, CatalogVersion(0)).await;
    assert_eq!(feed.next().await, CatalogChange::Reset);
    assert_eq!(
        feed.next().await,
        CatalogChange::Upserted(Box::new(records[2].clone()))
    );
    assert_eq!(
        feed.next().await,
        CatalogChange::Upserted(Box::new(changed.clone()))
    );
    assert_eq!(feed.next().await, CatalogChange::Synced(changed.version));
}

/// Each change arrives soon, in order, as the writer was told.
pub async fn the_feed_goes_on_with_every_change(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let (catalog, me) = (&subject.catalog, admin());
    let mut feed = Follower::new(&subject.other, CatalogVersion(0)).await;
    feed.first_sync().await;
    let made = catalog.create(&me, small("live")).await.unwrap();
    feed.until(made.version).await;
    assert_eq!(feed.tools.values().collect::<Vec<_>>(), [&made]);
    for at in 0..5 {
        let change = patch(&json!({ "description": format!("d{at}") }));
        let changed = catalog.update(&me, &made.name, change, None).await.unwrap();
        feed.until(changed.version).await;
        assert_eq!(feed.tools.values().collect::<Vec<_>>(), [&changed]);
    }
    let deleted = catalog.delete(&me, &made.name, None).await.unwrap();
    feed.until(deleted.version).await;
    assert!(feed.tools.is_empty());
    let again = catalog.create(&me, small("live")).await.unwrap();
    feed.until(again.version).await;
    assert_eq!(feed.tools.values().collect::<Vec<_>>(), [&again]);
    assert_eq!(feed.resets, 1, "only the first");
}

/// A follower that was away gets what it missed and nothing else, deletions too.
pub async fn the_feed_goes_on_from_a_version(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let (catalog, me) = (&subject.catalog, admin());
    for tool in ["aaa", "bbb", "ccc"] {
        catalog.create(&me, small(tool)).await.unwrap();
    }
    let mut first = Follower::new(catalog, CatalogVersion(0)).await;
    first.first_sync().await;
    let (tools, synced) = (first.tools.clone(), first.synced);
    drop(first);
    let changed = catalog
        .update(&me, &name("bbb"), patch(&json!({})), None)
        .await
        .unwrap();
    let deleted = catalog.delete(&me, &name("aaa"), None).await.unwrap();
    let made = catalog.create(&me, small("ddd")).await.unwrap();

    let mut feed = Follower::new(catalog, synced).await;
    feed.tools = tools;
    assert_eq!(
        feed.next().await,
        CatalogChange::Upserted(Box::new(changed))
    );
    let CatalogChange::Removed {
        tenant,
        name: removed,
        version,
    } = feed.next().await
    else {
        panic!("the deletion is missing");
    };
    assert_eq!((tenant.as_str(), removed.as_str()), ("default", "aaa"));
    assert_eq!(version, deleted.version);
    assert_eq!(
        feed.next().await,
        CatalogChange::Upserted(Box::new(made.clone()))
    );
    assert_eq!(feed.next().await, CatalogChange::Synced(made.version));
    assert_eq!(feed.names(), ["bbb", "ccc", "ddd"]);
    // From the newest there is nothing to send.
    let mut feed = Follower::new(catalog, made.version).await;
    assert_eq!(feed.next().await, CatalogChange::Synced(made.version));
}

/// A version that this catalogue never had starts the feed over.
pub async fn the_feed_starts_again_for_a_foreign_version(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let made = subject
        .catalog
        .create(&admin(), small("here"))
        .await
        .unwrap();
    for foreign in [1, made.version.0 + 1, made.version.0 + 1_000_000, u64::MAX] {
        let mut feed = Follower::new(&subject.catalog, CatalogVersion(foreign)).await;
        assert_eq!(feed.next().await, CatalogChange::Reset, "{foreign}");
        assert_eq!(
            feed.next().await,
            CatalogChange::Upserted(Box::new(made.clone()))
        );
        assert_eq!(feed.next().await, CatalogChange::Synced(made.version));
    }
}

/// One feed for all tenants, each record naming its own.
pub async fn the_feed_shows_all_tenants(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    for tenant in ["red", "blue"] {
        let me = caller(tenant, &["mcp:tools:write"]);
        subject.catalog.create(&me, small("same")).await.unwrap();
    }
    let mut feed = Follower::new(&subject.catalog, CatalogVersion(0)).await;
    feed.first_sync().await;
    let of: Vec<_> = feed
        .tools
        .keys()
        .map(|(tenant, _)| tenant.as_str())
        .collect();
    assert_eq!(of, ["blue", "red"]);
}

/// Silence means that the feed is broken, so there is none for longer than five seconds.
pub async fn the_feed_repeats_synced(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let mut feed = Follower::new(&subject.catalog, CatalogVersion(0)).await;
    feed.first_sync().await;
    for _ in 0..2 {
        let next = timeout(Duration::from_secs(5), feed.next())
            .await
            .expect("silent for 5 s");
        assert_eq!(next, CatalogChange::Synced(feed.synced));
    }
}

/// A watcher that does not read while many change their tools ends up with what there is.
pub async fn a_slow_watcher_misses_nothing(catalogs: &dyn Catalogs) {
    let subject = catalogs.make(Rules::default()).await;
    let mut feed = Follower::new(&subject.catalog, CatalogVersion(0)).await;
    feed.first_sync().await;
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let catalog = Arc::clone(&subject.catalog);
        writers.spawn(async move {
            let me = admin();
            let mut last = CatalogVersion::default();
            for round in 0..12 {
                let tool = format!("w{writer}.{}", round % 3);
                last = match catalog.create(&me, small(&tool)).await {
                    Ok(made) => made.version,
                    Err(_) if round % 2 == 0 => {
                        catalog
                            .delete(&me, &name(&tool), None)
                            .await
                            .unwrap()
                            .version
                    }
                    Err(_) => {
                        let change = patch(&json!({ "title": format!("{round}") }));
                        catalog
                            .update(&me, &name(&tool), change, None)
                            .await
                            .unwrap()
                            .version
                    }
                };
            }
            last
        });
    }
    let last = writers.join_all().await.into_iter().max().unwrap();
    feed.until(last).await;
    let mut fresh = Follower::new(&subject.catalog, CatalogVersion(0)).await;
    fresh.until(last).await;
    assert_eq!(feed.tools, fresh.tools);
    assert!(!feed.tools.is_empty());
    assert_eq!(feed.resets, 1);
}

/// 10,000 tools of 2 KiB of code and 1 KiB of schema: all of them, in order, in one replay.
pub async fn ten_thousand_tools_are_listed(catalogs: &dyn Catalogs) {
    const TOOLS: usize = 10_000;
    const WRITERS: usize = 16;
    let subject = catalogs
        .make(Rules {
            max_tools: 10_000,
            ..Rules::default()
        })
        .await;
    let schema = json!({ "type": "object", "description": "s".repeat(1_000) });
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (catalog, schema) = (Arc::clone(&subject.catalog), schema.clone());
        writers.spawn(async move {
            let (me, spec) = (
                admin(),
                json!({ "description": "d", "inputSchema": schema }),
            );
            for at in (writer..TOOLS).step_by(WRITERS) {
                let code = format!("return {at};{}", "c".repeat(2_048));
                let made = catalog
                    .create(&me, draft(&format!("t{at:05}"), &spec, &code))
                    .await;
                made.unwrap();
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let mut feed = Follower::new(&subject.catalog, CatalogVersion(0)).await;
    feed.first_sync().await;
    assert_eq!(feed.tools.len(), TOOLS);
    assert_eq!(
        feed.tools.values().map(|tool| tool.code_size_bytes).min(),
        Some(2_057)
    );
    let names: Vec<String> = (0..TOOLS).map(|at| format!("t{at:05}")).collect();
    assert_eq!(feed.names(), names);
}
