use jiff::SignedDuration;

use super::*;
use crate::error::ErrorCode;
use crate::id::TenantId;

fn now() -> Timestamp {
    "2026-07-28T12:00:00Z".parse().unwrap()
}

fn after(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

fn key() -> NewKey {
    NewKey {
        prefix: KeyPrefix::of([1, 2, 3, 0xab]),
        digest: KeyDigest::of([7; 32]),
        name: "ci of the team @ blue/green".to_owned(),
        subject: None,
        scopes: BTreeSet::from(["mcp:invoke".to_owned()]),
        role: None,
        tier: None,
        expires_at: None,
    }
}

fn made(key: NewKey) -> ApiKeyRecord {
    ApiKeyRecord::made(key, TenantId::default(), "alice", now())
}

#[test]
fn what_a_key_may_say_is_checked() {
    key().check(now()).unwrap();
    let long = "x".repeat(MAX_SCOPES_BYTES);
    let set = |scopes: &[&str]| scopes.iter().map(|&scope| scope.to_owned()).collect();
    type Change = Box<dyn Fn(&mut NewKey)>;
    let changes: Vec<(&str, Change)> = vec![
        ("name", Box::new(|key| key.name = String::new())),
        ("name", Box::new(|key| key.name = " a".to_owned())),
        ("name", Box::new(|key| key.name = "a\nb".to_owned())),
        ("name", Box::new(|key| key.name = "a".repeat(65))),
        ("name", Box::new(|key| key.name = "ü".to_owned())),
        ("subject", Box::new(|key| key.subject = Some(String::new()))),
        (
            "subject",
            Box::new(|key| key.subject = Some("a\0".to_owned())),
        ),
        (
            "subject",
            Box::new(|key| key.subject = Some("key:00000000".to_owned())),
        ),
        (
            "subject",
            Box::new(|key| key.subject = Some("a".repeat(257))),
        ),
        ("scopes", Box::new(|key| key.scopes.clear())),
        ("scopes", Box::new(move |key| key.scopes = set(&["a b"]))),
        ("scopes", Box::new(move |key| key.scopes = set(&[""]))),
        (
            "scopes",
            Box::new(move |key| key.scopes = set(&["dynamic-mcp:internal"])),
        ),
        (
            "scopes",
            Box::new(move |key| key.scopes = BTreeSet::from([long.clone()])),
        ),
        ("role", Box::new(|key| key.role = Some("a b".to_owned()))),
        ("tier", Box::new(|key| key.tier = Some("a b".to_owned()))),
        ("tier", Box::new(|key| key.tier = Some("a".repeat(65)))),
        ("expires_at", Box::new(|key| key.expires_at = Some(now()))),
    ];
    for (field, change) in changes {
        let mut key = key();
        change(&mut key);
        let error = key.check(now()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument, "{key:?}");
        assert_eq!(error.field(), Some(field), "{key:?}");
    }
}

#[test]
fn a_key_works_until_it_expires_or_is_revoked() {
    let mut record = made(NewKey {
        expires_at: Some(after(60)),
        ..key()
    });
    assert_eq!(record.subject, "key:010203ab");
    assert_eq!(record.state(after(59)), KeyState::Active);
    assert_eq!(record.state(after(60)), KeyState::Expired);
    record.revoked_at = Some(after(1));
    assert_eq!(record.state(after(2)), KeyState::Revoked);
    assert!(!record.state(after(2)).works());
}

#[test]
fn a_rotated_key_works_for_its_overlap_and_hands_on_what_it_is() {
    let rotation = Rotation {
        prefix: KeyPrefix::of([9; 4]),
        digest: KeyDigest::of([8; 32]),
        overlap_seconds: 30,
        expires_at: None,
    };
    rotation.check(now()).unwrap();
    let record = made(NewKey {
        tier: Some("gold".to_owned()),
        expires_at: Some(after(20)),
        ..key()
    });
    let (old, new) = record.rotated(&rotation, "bob", after(10)).unwrap();
    assert_eq!(old.state(after(11)), KeyState::Rotated);
    assert_eq!(old.ends_at(), Some(after(20)), "its own end comes first");
    assert_eq!(old.state(after(20)), KeyState::Expired);
    assert_eq!(new.state(after(1_000)), KeyState::Active);
    assert_eq!(new.subject, "key:010203ab", "it is the same caller");
    assert_eq!(
        (new.tier.as_deref(), new.created_by.as_str()),
        (Some("gold"), "bob")
    );
    let again = old.rotated(&rotation, "bob", after(11)).unwrap_err();
    assert_eq!(again.code(), ErrorCode::PolicyDenied);
    for overlap_seconds in [-1, MAX_OVERLAP_SECONDS + 1] {
        let bad = Rotation {
            overlap_seconds,
            ..rotation.clone()
        };
        assert_eq!(bad.check(now()).unwrap_err().field(), Some("overlap"));
    }
}

#[test]
fn prefixes_are_eight_digits_and_digests_are_not_printed() {
    let prefix = KeyPrefix::parse("0a1b2c3d").unwrap();
    assert_eq!(prefix.to_string(), "0a1b2c3d");
    for bad in [
        "",
        "0a1b2c3",
        "0a1b2c3d0",
        "0A1B2C3D",
        "0a1b2c3g",
        "dmcp_0a1",
    ] {
        assert!(KeyPrefix::parse(bad).is_err(), "{bad}");
    }
    let digest = KeyDigest::of([0xaa; 32]);
    assert_eq!(KeyDigest::parse(&digest.to_hex()).unwrap(), digest);
    assert!(!format!("{digest:?}").contains("aa"));
    assert!(KeyDigest::parse("aa").is_err() && KeyDigest::from_bytes(&[1]).is_err());
}
