use std::collections::BTreeSet;

use async_trait::async_trait;
use auth::MadeKey;
use domain::keys::{
    ApiKeyRecord, KeyChange, KeyPrefix, KeyStream, KeyUse, Keys, NewKey, Rotated, Rotation,
};
use domain::{CallContext, CatalogVersion, Error, Result, TenantId};
use futures::StreamExt as _;
use jiff::SignedDuration;
use secrecy::ExposeSecret as _;
use telemetry::BuildInfo;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;

fn metrics() -> Arc<Metrics> {
    let build = BuildInfo {
        service: "gateway",
        version: "0",
        commit: "test",
    };
    Arc::new(Metrics::new(build).unwrap())
}

/// A key and its text.
fn key(tenant: &str) -> (String, KeptKey) {
    let made = MadeKey::generate().unwrap();
    let key = NewKey {
        prefix: made.prefix,
        digest: made.digest,
        name: "test".to_owned(),
        subject: None,
        scopes: BTreeSet::from(["mcp:invoke".to_owned()]),
        role: None,
        tier: Some("gold".to_owned()),
        expires_at: None,
    };
    let tenant = TenantId::parse(tenant).unwrap();
    let record = ApiKeyRecord::made(key, tenant, "test", Timestamp::now());
    let digest = made.digest;
    (
        made.text.expose_secret().to_owned(),
        KeptKey { record, digest },
    )
}

fn put(key: &KeptKey) -> KeyChange {
    KeyChange::Put(Box::new(key.clone()))
}

fn revoked(key: &KeptKey) -> KeptKey {
    let mut key = key.clone();
    key.record.revoked_at = Some(Timestamp::now());
    key
}

/// A registry that says what the test says.
#[derive(Default)]
struct Scripted {
    feeds: Mutex<Vec<mpsc::UnboundedReceiver<Result<KeyChange>>>>,
    since: Mutex<Vec<CatalogVersion>>,
    used: Mutex<Vec<KeyUse>>,
    away: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Keys for Scripted {
    async fn create(&self, _: &CallContext, _: NewKey) -> Result<ApiKeyRecord> {
        Err(Error::unavailable("registry"))
    }

    async fn list(&self, _: &CallContext) -> Result<Vec<ApiKeyRecord>> {
        Err(Error::unavailable("registry"))
    }

    async fn revoke(&self, _: &CallContext, _: &KeyPrefix) -> Result<ApiKeyRecord> {
        Err(Error::unavailable("registry"))
    }

    async fn rotate(&self, _: &CallContext, _: &KeyPrefix, _: Rotation) -> Result<Rotated> {
        Err(Error::unavailable("registry"))
    }

    async fn watch(&self, _: &CallContext, since: CatalogVersion) -> Result<KeyStream> {
        let feed = self.feeds.lock().pop();
        let feed = feed.ok_or_else(|| Error::unavailable("registry"))?;
        self.since.lock().push(since);
        let feed = futures::stream::unfold(feed, |mut feed| async move {
            feed.recv().await.map(|change| (change, feed))
        });
        Ok(feed.boxed())
    }

    async fn touch(&self, _: &CallContext, uses: Vec<KeyUse>) -> Result<()> {
        if self.away.load(Ordering::Relaxed) {
            return Err(Error::unavailable("registry"));
        }
        self.used.lock().extend(uses);
        Ok(())
    }
}

type Feed = mpsc::UnboundedSender<Result<KeyChange>>;

struct World {
    ring: Arc<KeyRing>,
    registry: Arc<Scripted>,
    closing: CancellationToken,
    kept: tokio::task::JoinSet<()>,
}

impl World {
    /// A ring that follows feeds, one after the other.
    fn new(feeds: usize) -> (Self, Vec<Feed>) {
        let registry = Arc::new(Scripted::default());
        let mut senders = Vec::new();
        for _ in 0..feeds {
            let (send, receive) = mpsc::unbounded_channel();
            senders.push(send);
            registry.feeds.lock().insert(0, receive);
        }
        let ring = Arc::new(KeyRing::new(Vec::new(), metrics()));
        let mut kept = tokio::task::JoinSet::new();
        let closing = CancellationToken::new();
        let keep = Arc::clone(&ring).keep(registry.clone(), closing.clone());
        kept.spawn(async move {
            let Ok(()) = keep.await;
        });
        let world = Self {
            ring,
            registry,
            closing,
            kept,
        };
        (world, senders)
    }

    async fn until(&self, what: &str, is_so: impl Fn(&KeyRing) -> bool) {
        for _ in 0..2_000 {
            if is_so(&self.ring) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never: {what}");
    }
}

#[test]
fn a_key_of_the_configuration_lets_its_holder_in() {
    let (text, kept) = key("acme");
    let (other, _) = key("acme");
    let ring = KeyRing::new(vec![kept.clone()], metrics());
    let admitted = ring.check(&text).unwrap();
    assert_eq!(admitted.principal.tenant.as_str(), "acme");
    assert_eq!(
        admitted.principal.subject,
        format!("key:{}", kept.record.prefix)
    );
    assert_eq!(admitted.principal.tier.as_deref(), Some("gold"));
    assert!(admitted.remaining.is_none() && !admitted.revoked.is_cancelled());
    let mixed = format!("{}{}", &text[..14], &other[14..]);
    assert_eq!(ring.check(&mixed).unwrap_err(), KeyDenied::Wrong);
    assert_eq!(
        ring.check(&other).unwrap_err(),
        KeyDenied::Unavailable,
        "no snapshot yet"
    );
    for bad in ["", "x", "dmcp_", &text[..56]] {
        assert_eq!(ring.check(bad).unwrap_err(), KeyDenied::Malformed, "{bad}");
    }
}

#[test]
fn a_key_that_ended_says_so_only_to_its_holder() {
    let (text, kept) = key("acme");
    let (_, mut ended) = key("acme");
    ended.record.expires_at = Some(Timestamp::now() - SignedDuration::from_secs(1));
    ended.digest = kept.digest;
    ended.record.prefix = kept.record.prefix;
    let ring = KeyRing::new(vec![ended], metrics());
    assert_eq!(ring.check(&text).unwrap_err(), KeyDenied::Expired);
    let ring = KeyRing::new(vec![revoked(&kept)], metrics());
    assert_eq!(ring.check(&text).unwrap_err(), KeyDenied::Revoked);
    let guessed = format!("{}{}", &text[..14], "A".repeat(43));
    assert_eq!(ring.check(&guessed).unwrap_err(), KeyDenied::Wrong);
}

#[tokio::test(start_paused = true)]
async fn the_feed_brings_keys_and_takes_them_away() {
    let (world, feeds) = World::new(2);
    let (text, kept) = key("acme");
    let (stays, other) = key("acme");
    assert!(!world.ring.has_synced());
    for change in [KeyChange::Reset, put(&kept), put(&other)] {
        feeds[0].send(Ok(change)).unwrap();
    }
    world
        .until("half a whole is not shown", |ring| {
            ring.check(&text).is_err()
        })
        .await;
    feeds[0]
        .send(Ok(KeyChange::Synced(CatalogVersion(7))))
        .unwrap();
    world
        .until("the key is known", |ring| ring.check(&text).is_ok())
        .await;
    assert!(world.ring.has_synced());
    let admitted = world.ring.check(&text).unwrap();

    // Revoked: what goes on by it ends with the word of the feed.
    feeds[0].send(Ok(put(&revoked(&kept)))).unwrap();
    admitted.revoked.cancelled().await;
    assert_eq!(world.ring.check(&text).unwrap_err(), KeyDenied::Revoked);
    let holder = world.ring.check(&stays).unwrap();

    // The feed breaks: the keys that are known go on, and the next feed starts where this one was.
    feeds[0].send(Err(Error::unavailable("registry"))).unwrap();
    world
        .until("followed again", |_| world.registry.since.lock().len() == 2)
        .await;
    assert_eq!(
        *world.registry.since.lock(),
        [CatalogVersion(0), CatalogVersion(7)]
    );
    assert!(world.ring.check(&stays).is_ok());

    // A whole without a key takes it away.
    for change in [KeyChange::Reset, KeyChange::Synced(CatalogVersion(9))] {
        feeds[1].send(Ok(change)).unwrap();
    }
    holder.revoked.cancelled().await;
    assert_eq!(world.ring.check(&stays).unwrap_err(), KeyDenied::Wrong);
}

#[tokio::test(start_paused = true)]
async fn uses_are_told_of_once_and_again_when_the_registry_was_away() {
    let (mut world, feeds) = World::new(1);
    let (text, kept) = key("acme");
    for change in [
        KeyChange::Reset,
        put(&kept),
        KeyChange::Synced(CatalogVersion(7)),
    ] {
        feeds[0].send(Ok(change)).unwrap();
    }
    // Silence would break the feed.
    let alive = feeds[0].clone();
    let mut signs = tokio::task::JoinSet::new();
    signs.spawn(async move {
        while alive.send(Ok(KeyChange::Synced(CatalogVersion(7)))).is_ok() {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    });
    world
        .until("the key is known", |ring| ring.check(&text).is_ok())
        .await;
    world.registry.away.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(world.registry.used.lock().is_empty());
    world.registry.away.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(11)).await;
    let told = world.registry.used.lock().clone();
    assert_eq!(told.len(), 1, "once: {told:?}");
    assert_eq!(told[0].prefix, kept.record.prefix);
    // A use of which nothing was told yet is told of at the end. Uses are told apart by the wall
    // clock's milliseconds.
    std::thread::sleep(Duration::from_millis(2));
    world.ring.check(&text).unwrap();
    world.closing.cancel();
    world.kept.join_next().await.unwrap().unwrap();
    let told = world.registry.used.lock().clone();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1].at > told[0].at);
}

#[test]
fn the_page_about_keys_has_every_reason() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/authentication.md");
    let page = std::fs::read_to_string(page).unwrap();
    for reason in KeyDenied::ALL {
        let row = format!("| `{}` | {} |", reason.as_str(), reason.sentence());
        assert!(page.contains(&row), "docs/authentication.md lacks {row:?}");
    }
}
