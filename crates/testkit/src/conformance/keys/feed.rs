use domain::CatalogVersion;
use domain::keys::{KeptKey, KeyChange, KeyStream, KeyUse};
use futures::StreamExt as _;
use jiff::Timestamp;

use super::*;

async fn next(feed: &mut KeyStream) -> KeyChange {
    let change = tokio::time::timeout(Duration::from_secs(10), feed.next());
    change.await.expect("the feed is silent").unwrap().unwrap()
}

/// What the feed says up to the next sync, and that sync.
async fn until_synced(feed: &mut KeyStream) -> (Vec<KeyChange>, CatalogVersion) {
    let mut changes = Vec::new();
    loop {
        match next(feed).await {
            KeyChange::Synced(version) => return (changes, version),
            change => changes.push(change),
        }
    }
}

/// The next key that the feed tells.
async fn next_key(feed: &mut KeyStream) -> KeptKey {
    loop {
        match next(feed).await {
            KeyChange::Put(key) => return *key,
            KeyChange::Synced(_) => {}
            KeyChange::Reset => panic!("it starts again"),
        }
    }
}

/// The feed starts with every tenants keys.
pub async fn the_feed_starts_with_every_tenants_keys(ports: &impl KeyPorts) {
    let subject = ports.make(Bounds::default()).await;
    let one = new_key("x");
    let two = new_key("y");
    let other = caller("other", &[Scope::Admin]);
    let first = subject.keys.create(&admin(), one.clone()).await.unwrap();
    let second = subject.keys.create(&other, two.clone()).await.unwrap();
    let mut feed = subject
        .other
        .watch(&service(), CatalogVersion(0))
        .await
        .unwrap();
    let (changes, synced) = until_synced(&mut feed).await;
    let kept = |record, digest| KeyChange::Put(Box::new(KeptKey { record, digest }));
    assert_eq!(
        changes,
        [
            KeyChange::Reset,
            kept(first, one.digest),
            kept(second.clone(), two.digest)
        ]
    );
    assert!(synced >= second.version);
    let (more, again) = until_synced(&mut feed).await;
    assert_eq!((more, again), (vec![], synced), "a sign of life");
}

/// The feed goes on with every change.
pub async fn the_feed_goes_on_with_every_change(ports: &impl KeyPorts) {
    let subject = ports.make(Bounds::default()).await;
    let mut feed = subject
        .other
        .watch(&service(), CatalogVersion(0))
        .await
        .unwrap();
    until_synced(&mut feed).await;
    let made = subject.keys.create(&admin(), new_key("x")).await.unwrap();
    assert_eq!(next_key(&mut feed).await.record, made);
    let rotation = rotation();
    let rotated = subject
        .keys
        .rotate(&admin(), &made.prefix, rotation.clone())
        .await
        .unwrap();
    assert_eq!(next_key(&mut feed).await.record, rotated.old);
    let new = next_key(&mut feed).await;
    assert_eq!(
        (new.record, new.digest),
        (rotated.new.clone(), rotation.digest)
    );
    let (_, position) = until_synced(&mut feed).await;
    drop(feed);
    let revoked = subject
        .keys
        .revoke(&admin(), &rotated.new.prefix)
        .await
        .unwrap();
    let mut feed = subject.keys.watch(&service(), position).await.unwrap();
    assert_eq!(next_key(&mut feed).await.record, revoked);
}

/// The feed starts again for a foreign version.
pub async fn the_feed_starts_again_for_a_foreign_version(ports: &impl KeyPorts) {
    let subject = ports.make(Bounds::default()).await;
    let made = subject.keys.create(&admin(), new_key("x")).await.unwrap();
    for foreign in [CatalogVersion(1), CatalogVersion(made.version.0 + 1_000)] {
        let mut feed = subject.keys.watch(&service(), foreign).await.unwrap();
        let (changes, _) = until_synced(&mut feed).await;
        assert_eq!((changes.len(), &changes[0]), (2, &KeyChange::Reset));
    }
}

/// Who was away while a revoked key was forgotten must not keep it.
pub async fn the_feed_starts_again_after_keys_were_forgotten(ports: &impl KeyPorts) {
    let bounds = Bounds {
        ended: 1,
        ..Bounds::default()
    };
    let subject = ports.make(bounds).await;
    let gone = subject.keys.create(&admin(), new_key("x")).await.unwrap();
    let mut feed = subject
        .keys
        .watch(&service(), CatalogVersion(0))
        .await
        .unwrap();
    let (_, position) = until_synced(&mut feed).await;
    drop(feed);
    subject.keys.revoke(&admin(), &gone.prefix).await.unwrap();
    let other = subject.keys.create(&admin(), new_key("y")).await.unwrap();
    subject.keys.revoke(&admin(), &other.prefix).await.unwrap();
    let mut feed = subject.other.watch(&service(), position).await.unwrap();
    let (changes, _) = until_synced(&mut feed).await;
    assert_eq!(changes[0], KeyChange::Reset, "{changes:?}");
    let prefixes = changes.iter().filter_map(|change| match change {
        KeyChange::Put(key) => Some(key.record.prefix),
        _ => None,
    });
    assert_eq!(prefixes.collect::<Vec<_>>(), [other.prefix]);
}

/// Uses are no changes.
pub async fn uses_are_no_changes(ports: &impl KeyPorts) {
    let subject = ports.make(Bounds::default()).await;
    let made = subject.keys.create(&admin(), new_key("x")).await.unwrap();
    let mut feed = subject
        .keys
        .watch(&service(), CatalogVersion(0))
        .await
        .unwrap();
    let (_, before) = until_synced(&mut feed).await;
    let used = KeyUse {
        prefix: made.prefix,
        at: Timestamp::now(),
    };
    subject.keys.touch(&service(), vec![used]).await.unwrap();
    let (changes, after) = until_synced(&mut feed).await;
    assert_eq!((changes, after), (vec![], before));
}
