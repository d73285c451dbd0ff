use domain::keys::{KeyState, KeyUse};
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;

use super::*;

/// A key is kept and listed.
pub async fn a_key_is_kept_and_listed(ports: &impl KeyPorts) {
    let subject = ports.make(Bounds::default()).await;
    let end = Timestamp::now() + SignedDuration::from_hours(1);
    let end = Timestamp::from_millisecond(end.as_millisecond()).unwrap();
    let full = NewKey {
        subject: Some("robot ü".to_owned()),
        scopes: ["mcp:invoke", "team:blue"].map(str::to_owned).into(),
        role: Some("developer".to_owned()),
        tier: Some("gold".to_owned()),
        expires_at: Some(end),
        ..new_key("ci @ blue/green: 1")
    };
    let made = subject.keys.create(&admin(), full.clone()).await.unwrap();
    assert_eq!(
        (made.name.as_str(), made.subject.as_str(), &made.scopes),
        ("ci @ blue/green: 1", "robot ü", &full.scopes)
    );
    assert_eq!(
        (made.role.clone(), made.tier.clone()),
        (full.role, full.tier)
    );
    assert_eq!((made.expires_at, made.last_used_at), (Some(end), None));
    assert_eq!(made.created_by, "conformance");
    assert_eq!(made.state(Timestamp::now()), KeyState::Active);
    let plain = subject
        .other
        .create(&admin(), new_key("plain"))
        .await
        .unwrap();
    assert_eq!(plain.subject, format!("key:{}", plain.prefix));
    assert!(plain.version > made.version);
    let listed = subject.keys.list(&admin()).await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed.contains(&made) && listed.contains(&plain));
}

/// What a key may not say is refused.
pub async fn what_a_key_may_not_say_is_refused(ports: &impl KeyPorts) {
    let subject = ports.make(Bounds::default()).await;
    for (key, field) in [
        (
            NewKey {
                name: String::new(),
                ..new_key("x")
            },
            "name",
        ),
        (
            NewKey {
                scopes: BTreeSet::new(),
                ..new_key("x")
            },
            "scopes",
        ),
        (
            NewKey {
                scopes: ["dynamic-mcp:internal".to_owned()].into(),
                ..new_key("x")
            },
            "scopes",
        ),
        (
            NewKey {
                subject: Some("key:00000000".to_owned()),
                ..new_key("x")
            },
            "subject",
        ),
        (
            NewKey {
                tier: Some(String::new()),
                ..new_key("x")
            },
            "tier",
        ),
        (
            NewKey {
                expires_at: Some(Timestamp::UNIX_EPOCH),
                ..new_key("x")
            },
            "expires_at",
        ),
    ] {
        let made = subject.keys.create(&admin(), key).await;
        let error = refused(made, ErrorCode::InvalidArgument);
        assert_eq!(error.field(), Some(field), "{error}");
    }
    assert!(subject.keys.list(&admin()).await.unwrap().is_empty());
}

/// A prefix is taken once by any tenant.
pub async fn a_prefix_is_taken_once_by_any_tenant(ports: &impl KeyPorts) {
    let subject = ports.make(Bounds::default()).await;
    let key = new_key("first");
    subject.keys.create(&admin(), key.clone()).await.unwrap();
    for tenant in ["default", "other"] {
        let context = caller(tenant, &[Scope::Admin]);
        let again = subject.other.create(&context, key.clone()).await;
        refused(again, ErrorCode::AlreadyExists);
    }
    let old = new_key("old");
    subject.keys.create(&admin(), old.clone()).await.unwrap();
    let taken = Rotation {
        prefix: key.prefix,
        ..rotation()
    };
    let rotated = subject.keys.rotate(&admin(), &old.prefix, taken).await;
    refused(rotated, ErrorCode::AlreadyExists);
}

/// A revoked key stays revoked.
pub async fn a_revoked_key_stays_revoked(ports: &impl KeyPorts) {
    let subject = ports.make(Bounds::default()).await;
    let made = subject.keys.create(&admin(), new_key("x")).await.unwrap();
    let revoked = subject.other.revoke(&admin(), &made.prefix).await.unwrap();
    assert_eq!(revoked.state(Timestamp::now()), KeyState::Revoked);
    let again = subject.keys.revoke(&admin(), &made.prefix).await.unwrap();
    assert_eq!(
        again.revoked_at, revoked.revoked_at,
        "the first time counts"
    );
    let listed = subject.keys.list(&admin()).await.unwrap();
    assert_eq!(listed[0].revoked_at, revoked.revoked_at);
    refused(
        subject.keys.revoke(&admin(), &prefix()).await,
        ErrorCode::NotFound,
    );
}

/// A rotated key hands on what it is.
pub async fn a_rotated_key_hands_on_what_it_is(ports: &impl KeyPorts) {
    let subject = ports.make(Bounds::default()).await;
    let key = NewKey {
        tier: Some("gold".to_owned()),
        ..new_key("ci")
    };
    let made = subject.keys.create(&admin(), key).await.unwrap();
    let rotation = rotation();
    let before = Timestamp::now();
    let rotated = subject
        .other
        .rotate(&admin(), &made.prefix, rotation.clone())
        .await
        .unwrap();
    assert_eq!(rotated.old.prefix, made.prefix);
    assert_eq!(rotated.old.replaced_by, Some(rotation.prefix));
    let overlap = rotated.old.overlap_until.unwrap().duration_since(before);
    assert!((3_590..=3_660).contains(&overlap.as_secs()), "{overlap}");
    assert_eq!(rotated.old.state(Timestamp::now()), KeyState::Rotated);
    let new = &rotated.new;
    assert_eq!(
        (new.prefix, &new.name, &new.subject, &new.scopes, &new.tier),
        (
            rotation.prefix,
            &made.name,
            &made.subject,
            &made.scopes,
            &made.tier
        )
    );
    let listed = subject.keys.list(&admin()).await.unwrap();
    assert!(listed.contains(&rotated.old) && listed.contains(new) && listed.len() == 2);
}

/// A key is rotated once and only while it works.
pub async fn a_key_is_rotated_once_and_only_while_it_works(ports: &impl KeyPorts) {
    let subject = ports.make(Bounds::default()).await;
    let made = subject.keys.create(&admin(), new_key("x")).await.unwrap();
    let at_once = Rotation {
        overlap_seconds: 0,
        ..rotation()
    };
    let rotated = subject
        .keys
        .rotate(&admin(), &made.prefix, at_once)
        .await
        .unwrap();
    assert_eq!(rotated.old.state(Timestamp::now()), KeyState::Expired);
    let again = subject
        .keys
        .rotate(&admin(), &made.prefix, rotation())
        .await;
    refused(again, ErrorCode::PolicyDenied);
    subject
        .keys
        .revoke(&admin(), &rotated.new.prefix)
        .await
        .unwrap();
    let late = subject
        .keys
        .rotate(&admin(), &rotated.new.prefix, rotation())
        .await;
    refused(late, ErrorCode::PolicyDenied);
    refused(
        subject.keys.rotate(&admin(), &prefix(), rotation()).await,
        ErrorCode::NotFound,
    );
    let long = Rotation {
        overlap_seconds: 31 * 24 * 3_600,
        ..rotation()
    };
    let error = refused(
        subject.keys.rotate(&admin(), &made.prefix, long).await,
        ErrorCode::InvalidArgument,
    );
    assert_eq!(error.field(), Some("overlap"));
}

/// Of many rotations at once one is made.
pub async fn of_many_rotations_at_once_one_is_made(ports: &impl KeyPorts) {
    let subject = ports.make(Bounds::default()).await;
    let made = subject.keys.create(&admin(), new_key("x")).await.unwrap();
    let mut all = JoinSet::new();
    for at in 0..16 {
        let keys = Arc::clone(if at % 2 == 0 {
            &subject.keys
        } else {
            &subject.other
        });
        let prefix = made.prefix;
        all.spawn(async move { keys.rotate(&admin(), &prefix, rotation()).await });
    }
    let mut won = 0;
    while let Some(ended) = all.join_next().await {
        match ended.unwrap() {
            Ok(_) => won += 1,
            Err(error) => assert_eq!(error.code(), ErrorCode::PolicyDenied, "{error}"),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(subject.keys.list(&admin()).await.unwrap().len(), 2);
}

/// Tenants do not reach each others keys.
pub async fn tenants_do_not_reach_each_others_keys(ports: &impl KeyPorts) {
    let subject = ports.make(Bounds::default()).await;
    let made = subject.keys.create(&admin(), new_key("x")).await.unwrap();
    let other = caller("other", &[Scope::Admin]);
    assert!(subject.keys.list(&other).await.unwrap().is_empty());
    refused(
        subject.keys.revoke(&other, &made.prefix).await,
        ErrorCode::NotFound,
    );
    refused(
        subject.keys.rotate(&other, &made.prefix, rotation()).await,
        ErrorCode::NotFound,
    );
    let listed = subject.keys.list(&admin()).await.unwrap();
    assert_eq!(listed, [made]);
}

/// Every method needs its right.
pub async fn every_method_needs_its_right(ports: &impl KeyPorts) {
    let subject = ports.make(Bounds::default()).await;
    let keys = &subject.keys;
    let made = keys.create(&admin(), new_key("x")).await.unwrap();
    let almost: Vec<Scope> = Scope::OUTSIDE
        .iter()
        .copied()
        .filter(|scope| *scope != Scope::Admin)
        .collect();
    for context in [
        caller("default", &[]),
        caller("default", &almost),
        service(),
    ] {
        let denied = ErrorCode::PermissionDenied;
        refused(keys.create(&context, new_key("y")).await, denied);
        refused(keys.list(&context).await, denied);
        refused(keys.revoke(&context, &made.prefix).await, denied);
        refused(
            keys.rotate(&context, &made.prefix, rotation()).await,
            denied,
        );
    }
    for context in [caller("default", &[]), admin()] {
        let denied = ErrorCode::PermissionDenied;
        let watched = keys.watch(&context, Default::default()).await;
        refused(watched.map(|_| ()), denied);
        refused(keys.touch(&context, Vec::new()).await, denied);
    }
}

/// The bounds hold.
pub async fn the_bounds_hold(ports: &impl KeyPorts) {
    let bounds = Bounds {
        own: 3,
        everybodys: 4,
        ended: 2,
    };
    let subject = ports.make(bounds).await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(subject.keys.create(&admin(), new_key("x")).await.unwrap());
    }
    let full = subject.keys.create(&admin(), new_key("x")).await;
    refused(full, ErrorCode::LimitExceeded);
    let full = subject
        .keys
        .rotate(&admin(), &made[0].prefix, rotation())
        .await;
    refused(full, ErrorCode::LimitExceeded);
    let other = caller("other", &[Scope::Admin]);
    subject.keys.create(&other, new_key("x")).await.unwrap();
    refused(
        subject.keys.create(&other, new_key("x")).await,
        ErrorCode::LimitExceeded,
    );
    // One that ends makes place, and of those that ended the last two are kept.
    for _ in 0..4 {
        let one = made.pop().unwrap();
        subject.keys.revoke(&admin(), &one.prefix).await.unwrap();
        made.push(subject.keys.create(&admin(), new_key("x")).await.unwrap());
    }
    let listed = subject.keys.list(&admin()).await.unwrap();
    let now = Timestamp::now();
    let works = listed.iter().filter(|key| key.state(now).works()).count();
    assert_eq!((works, listed.len()), (3, 5));
}

/// The last use only goes forward.
pub async fn the_last_use_only_goes_forward(ports: &impl KeyPorts) {
    let subject = ports.make(Bounds::default()).await;
    let made = subject.keys.create(&admin(), new_key("x")).await.unwrap();
    let at = |millis| Timestamp::from_millisecond(millis).unwrap();
    let used = async |millis, prefix| {
        let uses = vec![KeyUse {
            prefix,
            at: at(millis),
        }];
        subject.keys.touch(&service(), uses).await.unwrap();
        subject.other.list(&admin()).await.unwrap()[0].last_used_at
    };
    assert_eq!(used(5_000, made.prefix).await, Some(at(5_000)));
    assert_eq!(
        used(4_000, made.prefix).await,
        Some(at(5_000)),
        "an older one"
    );
    assert_eq!(
        used(6_000, prefix()).await,
        Some(at(5_000)),
        "an unknown key"
    );
    assert_eq!(used(7_000, made.prefix).await, Some(at(7_000)));
    let many = (0..1_025).map(|at| KeyUse {
        prefix: KeyPrefix::of(u32::to_be_bytes(at)),
        at: Timestamp::UNIX_EPOCH,
    });
    let many = subject.keys.touch(&service(), many.collect()).await;
    refused(many, ErrorCode::InvalidArgument);
}
