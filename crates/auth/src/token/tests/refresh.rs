//! Keys that are fetched: rotation, floods, and an issuer that is away or lies.

use super::issuer::TestIssuer;
use super::*;

struct Rig {
    issuer: TestIssuer,
    verifier: Arc<TokenVerifier>,
    _task: tokio::task::JoinSet<()>,
}

impl Rig {
    /// A verifier whose task runs, and an issuer that answers as it was told before.
    async fn of(issuer: TestIssuer) -> Self {
        let settings = settings(KeySource::JwksUrl(issuer.url()));
        let verifier = Arc::new(TokenVerifier::new(settings, metrics()).unwrap());
        let mut task = tokio::task::JoinSet::new();
        let fresh = verifier.keep_keys_fresh().unwrap();
        task.spawn(async move { fresh.await.unwrap() });
        Self {
            issuer,
            verifier,
            _task: task,
        }
    }

    async fn with(keys: &[Value]) -> Self {
        let issuer = TestIssuer::start().await;
        issuer.publish(keys);
        let rig = Self::of(issuer).await;
        rig.asked(1).await;
        rig
    }

    /// Waits until the issuer was asked that often and the answer was taken.
    async fn asked(&self, times: usize) {
        let mut ended = self.verifier.keys.ended();
        let all = ended.wait_for(|count| *count >= times as u64);
        tokio::time::timeout(Duration::from_secs(20), all)
            .await
            .unwrap_or_else(|_| panic!("asked {} times", self.issuer.asked()))
            .unwrap();
    }

    fn outcome(&self, outcome: &str) -> u64 {
        let fetches = &self.verifier.metrics.jwks_fetches;
        fetches.with_label_values(&[outcome]).get()
    }
}

/// Lets time pass, as far as tokio's clock goes.
async fn later(time: Duration) {
    // What is under way ends first: its deadline is a matter of the same clock.
    tokio::time::sleep(Duration::from_millis(50)).await;
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_new_key_is_fetched_when_it_is_first_used_and_an_old_one_ends() {
    let (old, new) = (Key::ed25519(), Key::p256());
    let rig = Rig::with(&[old.jwk("old")]).await;
    rig.verifier.verify(&old.good("old")).await.unwrap();
    rig.issuer.publish(&[new.jwk("new")]);
    // Nothing says that the old one is gone until the keys are fetched again.
    rig.verifier.verify(&old.good("old")).await.unwrap();
    rig.verifier.verify(&new.good("new")).await.unwrap();
    assert_eq!(rig.issuer.asked(), 2);
    let refused = rig.verifier.verify(&old.good("old")).await;
    assert_eq!(denied(refused), Denied::UnknownKey);
}

#[tokio::test]
async fn a_removed_key_ends_with_the_next_fetch_also_for_tokens_that_were_seen() {
    let (old, new) = (Key::ed25519(), Key::ed25519());
    let rig = Rig::with(&[old.jwk("old"), new.jwk("new")]).await;
    let token = old.good("old");
    rig.verifier.verify(&token).await.unwrap();
    rig.issuer.publish(&[new.jwk("new")]);
    later(Duration::from_secs(299)).await;
    rig.verifier.verify(&token).await.unwrap();
    later(Duration::from_secs(2)).await;
    rig.asked(2).await;
    assert_eq!(
        denied(rig.verifier.verify(&token).await),
        Denied::UnknownKey
    );
    rig.verifier.verify(&new.good("new")).await.unwrap();
}

#[tokio::test]
async fn a_flood_of_unknown_keys_causes_one_fetch_a_minute_and_delays_nobody() {
    let (known, stranger) = (Key::ed25519(), Key::ed25519());
    let rig = Rig::with(&[known.jwk("known")]).await;
    // The worst moment: the issuer does not answer.
    rig.issuer.hang();
    let good = known.good("known");
    let mut flood = tokio::task::JoinSet::new();
    for number in 0..1_000 {
        let (verifier, token) = (
            Arc::clone(&rig.verifier),
            stranger.good(&number.to_string()),
        );
        flood.spawn(async move { verifier.verify(&token).await });
    }
    for _ in 0..100 {
        let started = std::time::SystemTime::now();
        rig.verifier.verify(&good).await.unwrap();
        let took = started.elapsed().unwrap();
        assert!(took < Duration::from_millis(500), "{took:?}");
        tokio::task::yield_now().await;
    }
    let refused = flood.join_all().await;
    assert!(
        refused
            .into_iter()
            .all(|result| denied(result) == Denied::UnknownKey)
    );
    assert_eq!(rig.issuer.asked(), 2);
    rig.issuer.publish(&[known.jwk("known")]);
    rig.asked(2).await;
    // Within the minute they are refused at once and ask nobody.
    for number in 0..1_000 {
        let token = stranger.good(&number.to_string());
        assert_eq!(
            denied(rig.verifier.verify(&token).await),
            Denied::UnknownKey
        );
    }
    assert_eq!(rig.issuer.asked(), 2);
    later(Duration::from_secs(61)).await;
    for number in 0..10 {
        let token = stranger.good(&number.to_string());
        assert_eq!(
            denied(rig.verifier.verify(&token).await),
            Denied::UnknownKey
        );
    }
    assert_eq!(rig.issuer.asked(), 3);
}

#[tokio::test]
async fn known_keys_are_good_for_an_hour_without_the_issuer_and_then_no_longer() {
    let key = Key::ed25519();
    let rig = Rig::with(&[key.jwk("one")]).await;
    let token = key.good("one");
    rig.issuer.answer(500, "x: y", "down");
    for passed in 1..=7 {
        later(Duration::from_secs(500)).await;
        rig.asked(1 + passed).await;
        rig.verifier.verify(&token).await.unwrap();
        assert_eq!(rig.verifier.key_health().failure, None);
    }
    later(Duration::from_secs(101)).await;
    let refused = rig.verifier.verify(&token).await;
    assert_eq!(denied(refused), Denied::KeysUnavailable);
    let health = rig.verifier.key_health();
    assert_eq!(health.usable, 0);
    assert!(health.failure.unwrap().contains("an hour"), "{health:?}");
    assert!(rig.outcome("status") >= 7);

    rig.issuer.publish(&[key.jwk("one")]);
    later(Duration::from_secs(91)).await;
    rig.verifier.verify(&token).await.unwrap();
    assert_eq!(rig.verifier.key_health().failure, None);
}

#[tokio::test]
async fn an_issuer_that_is_away_at_the_start_is_asked_until_it_is_there() {
    let key = Key::ed25519();
    let issuer = TestIssuer::start().await;
    issuer.answer(503, "x: y", "");
    let rig = Rig::of(issuer).await;
    let refused = rig.verifier.verify(&key.good("one")).await;
    assert_eq!(denied(refused), Denied::KeysUnavailable);
    assert!(rig.verifier.key_health().failure.is_some());
    rig.issuer.publish(&[key.jwk("one")]);
    rig.asked(2).await;
    rig.verifier.verify(&key.good("one")).await.unwrap();
    assert_eq!((rig.outcome("status"), rig.outcome("ok")), (1, 1));
}

#[tokio::test]
async fn a_caller_waits_for_the_first_keys_rather_than_being_refused() {
    let key = Key::ed25519();
    let issuer = TestIssuer::start().await;
    issuer.publish(&[key.jwk("one")]);
    let rig = Rig::of(issuer).await;
    rig.verifier.verify(&key.good("one")).await.unwrap();
}

#[tokio::test]
async fn answers_that_are_no_key_set_change_nothing() {
    let (key, mallory) = (Key::ed25519(), Key::ed25519());
    let rig = Rig::with(&[key.jwk("one")]).await;
    let canary = TestIssuer::start().await;
    canary.publish(&[mallory.jwk("two")]);
    let redirect = format!("location: {}", canary.url());
    let many = json!({"keys": vec![mallory.jwk("two"); 101]}).to_string();
    let huge = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(300 * 1024));
    for (number, (status, header, body, outcome)) in [
        (302, redirect.as_str(), "", "status"),
        (404, "x: y", "", "status"),
        (200, "x: y", "<html>", "malformed"),
        (200, "x: y", &many, "too_many_keys"),
        (200, "x: y", &huge, "too_large"),
    ]
    .into_iter()
    .enumerate()
    {
        let before = rig.outcome(outcome);
        rig.issuer.answer(status, header, body);
        later(Duration::from_secs(301)).await;
        rig.asked(2 * number + 2).await;
        assert_eq!(rig.outcome(outcome), before + 1, "{status} {outcome}");
        rig.verifier.verify(&key.good("one")).await.unwrap();
        let refused = rig.verifier.verify(&mallory.good("two")).await;
        assert_eq!(denied(refused), Denied::UnknownKey);
        // That asked once more, in vain.
        assert_eq!(rig.outcome(outcome), before + 2, "{status} {outcome}");
    }
    assert_eq!(canary.asked(), 0);
}

/// An issuer that publishes no key for signatures has withdrawn those that it had.
#[tokio::test]
async fn an_issuer_without_usable_keys_is_said_and_no_token_is_accepted() {
    let key = Key::ed25519();
    let rig = Rig::with(&[json!({"kty": "oct", "k": "c2VjcmV0", "kid": "one"})]).await;
    let refused = rig.verifier.verify(&key.good("one")).await;
    assert_eq!(denied(refused), Denied::KeysUnavailable);
    let health = rig.verifier.key_health();
    assert!(
        health.failure.unwrap().contains("no usable key"),
        "{health:?}"
    );
}

#[tokio::test]
async fn the_issuer_says_how_long_keys_are_good_within_bounds() {
    let key = Key::ed25519();
    let body = json!({"keys": [key.jwk("one")]}).to_string();
    for (header, seconds) in [
        ("cache-control: max-age=200", 200),
        ("cache-control: max-age=1", 120),
        ("cache-control: no-store", 120),
        ("cache-control: max-age=86400", 900),
        ("x: y", 300),
    ] {
        let issuer = TestIssuer::start().await;
        issuer.answer(200, header, &body);
        let rig = Rig::of(issuer).await;
        rig.asked(1).await;
        later(Duration::from_secs(seconds - 1)).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(rig.issuer.asked(), 1, "{header}");
        later(Duration::from_secs(2)).await;
        rig.asked(2).await;
    }
}
