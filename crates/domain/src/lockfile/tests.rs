use proptest::prelude::*;

use super::*;

const HASH: &str = "sha512-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";

/// What npm writes for a tool that needs `a`, which needs `b` under another name.
fn written() -> serde_json::Value {
    serde_json::json!({
        "name": "tool", "version": "1.0.0", "lockfileVersion": 3, "requires": true,
        "packages": {
            "": {"name": "tool", "version": "1.0.0", "license": "X", "dependencies": {"a": "^1.0.0"}},
            "node_modules/a": {
                "version": "1.2.3", "resolved": "https://registry.example/npm/a/-/a-1.2.3.tgz",
                "integrity": format!("sha1-AAAA {HASH}"), "license": "MIT",
                "engines": {"node": ">=4"}, "dependencies": {"b-alias": "npm:PM2@^2"},
                "bundleDependencies": ["c"], "funding": {"url": "x"}
            },
            "node_modules/a/node_modules/c": {"version": "0.1.0", "inBundle": true},
            "node_modules/b-alias": {
                "name": "PM2", "version": "2.0.0-rc.1", "integrity": HASH,
                "resolved": "https://elsewhere.example/PM2/-/PM2-2.0.0.tgz"
            }
        }
    })
}

fn lock(value: &serde_json::Value) -> Result<Lockfile> {
    let lock = npm::Lock::of_npm(&value.to_string(), "https://registry.example/npm/")?;
    Lockfile::parse(Runtime::Node, &serde_json::to_string(&lock).unwrap())
}

#[test]
fn what_npm_wrote_is_kept_without_addresses_and_given_back_with_the_registry_s() {
    let lock = lock(&written()).unwrap();
    assert!(!lock.text().contains("example"), "{}", lock.text());
    assert!(!lock.text().contains("sha1") && !lock.text().contains("license"));
    let list: Vec<_> = lock
        .packages()
        .map(|it| (it.name.as_str(), it.version.as_str(), it.path.join(">")))
        .collect();
    assert_eq!(
        list,
        [
            ("PM2", "2.0.0-rc.1", "a>PM2".to_owned()),
            ("a", "1.2.3", "a".to_owned()),
            ("c", "0.1.0", "a>c".to_owned()),
        ]
    );
    let parsed: npm::Lock = serde_json::from_str(lock.text()).unwrap();
    let given = parsed.with_registry("http://other.example:8081/x/");
    assert_eq!(
        given.packages["node_modules/a"].resolved.as_deref(),
        Some("http://other.example:8081/x/a/-/a-1.2.3.tgz")
    );
    assert_eq!(given.packages["node_modules/b-alias"].resolved, None);
    let wanted = |version: &str| {
        [Dependency {
            name: "a".to_owned(),
            version: version.to_owned(),
        }]
    };
    lock.check_for(&wanted("^1.0.0")).unwrap();
    lock.check_for(&wanted("^1.0.1")).unwrap_err();
    lock.check_for(&[]).unwrap_err();
}

#[test]
fn fault_64_a_blocked_package_is_found_behind_others_and_behind_another_name() {
    let lock = lock(&written()).unwrap();
    let blocked = |name: &str| lock.check_blocked(&[name.to_owned()]);
    for name in ["pm2", "PM2", "b-alias"] {
        let error = blocked(name).unwrap_err();
        assert_eq!(error.code(), ErrorCode::PolicyDenied);
        assert!(error.to_string().contains("a > PM2"), "{error}");
    }
    blocked("c").unwrap_err();
    blocked("d").unwrap();
}

#[test]
fn fault_64_what_is_not_from_the_registry_is_refused_wherever_it_stands() {
    let a = "/packages/node_modules~1a";
    for (pointer, value) in [
        (
            format!("{a}/resolved"),
            serde_json::json!("git+ssh://git@x/a.git#1"),
        ),
        (format!("{a}/resolved"), serde_json::json!("file:../../etc")),
        (format!("{a}/link"), serde_json::json!(true)),
        (format!("{a}/integrity"), serde_json::json!("sha1-AAAA")),
        (format!("{a}/integrity"), serde_json::json!("sha512-AAAA")),
        (format!("{a}/integrity"), serde_json::json!(null)),
        (format!("{a}/version"), serde_json::json!("^1")),
        (format!("{a}/version"), serde_json::json!("1.2")),
        (format!("{a}/version"), serde_json::json!("https://x/y.tgz")),
        (format!("{a}/name"), serde_json::json!("../../x")),
        (
            format!("{a}/dependencies/b-alias"),
            serde_json::json!("git://x/y"),
        ),
        (
            format!("{a}/optionalDependencies"),
            serde_json::json!({"y": "u/r"}),
        ),
        (format!("{a}/bin"), serde_json::json!({"x": "../../../x"})),
        (format!("{a}/bin"), serde_json::json!({"../x": "x"})),
        (
            "/packages/..~1x".to_owned(),
            serde_json::json!({"version": "1.0.0", "integrity": HASH}),
        ),
        (
            "/packages/node_modules~1..~1x".to_owned(),
            serde_json::json!({"version": "1.0.0", "integrity": HASH}),
        ),
        (
            "/packages/node_modules~1c".to_owned(),
            serde_json::json!({"version": "1.0.0", "inBundle": true}),
        ),
        (
            "/packages//dependencies/z".to_owned(),
            serde_json::json!("latest"),
        ),
    ] {
        let mut bad = written();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        let member = member.replace("~1", "/");
        bad.pointer_mut(parent).unwrap()[member] = value.clone();
        let error = lock(&bad).expect_err(&format!("{pointer} = {value}"));
        assert_eq!(error.code(), ErrorCode::InvalidArgument);
    }
    // What is stored cannot name another place either.
    let parsed: npm::Lock = serde_json::from_str(lock(&written()).unwrap().text()).unwrap();
    for path in [
        "/x",
        "../x",
        "a//b",
        "http://x",
        "a/%2E%2e/b",
        "a?b",
        "a#b",
        "",
        "a/./b",
        "@x:y",
    ] {
        let mut bad = parsed.clone();
        bad.packages.get_mut("node_modules/a").unwrap().resolved = Some(path.to_owned());
        Lockfile::parse(Runtime::Node, &serde_json::to_string(&bad).unwrap()).expect_err(path);
    }
}

fn wheels() -> pypi::Lock {
    let package = |name: &str, requires: &[&str]| pypi::Package {
        name: name.to_owned(),
        version: "1.0.post1".to_owned(),
        hashes: vec![format!("sha256:{}", "ab".repeat(32))],
        requires: requires.iter().map(|&it| it.to_owned()).collect(),
    };
    let mut lock = pypi::Lock {
        version: 1,
        python: "3.11".to_owned(),
        requested: vec![Dependency {
            name: "Top".to_owned(),
            version: ">=1".to_owned(),
        }],
        packages: vec![
            package("top", &["mid_dle"]),
            package("Mid.Dle", &["node_pty"]),
            package("node-PTY", &[]),
        ],
    };
    lock.sort();
    lock
}

#[test]
fn fault_64_a_lock_of_wheels_is_checked_the_same_way() {
    let parse =
        |lock: &pypi::Lock| Lockfile::parse(Runtime::Python, &serde_json::to_string(lock).unwrap());
    let good = parse(&wheels()).unwrap();
    let error = good.check_blocked(&["Node.Pty".to_owned()]).unwrap_err();
    assert!(
        error.to_string().contains("top > Mid.Dle > node-PTY"),
        "{error}"
    );
    let changes: [fn(&mut pypi::Lock); 9] = [
        |lock| lock.packages[0].hashes.clear(),
        |lock| lock.packages[0].hashes[0] = "md5:00".to_owned(),
        |lock| lock.packages[0].hashes[0].push('0'),
        |lock| lock.packages[0].name = "x @ https://y".to_owned(),
        |lock| lock.packages[0].version = "1.0 --hash=x".to_owned(),
        |lock| lock.packages[0].version = ">=1".to_owned(),
        |lock| lock.packages.reverse(),
        |lock| lock.python = "3.11\n".to_owned(),
        |lock| lock.requested[0].version = "@ file:x".to_owned(),
    ];
    for change in changes {
        let mut bad = wheels();
        change(&mut bad);
        parse(&bad).unwrap_err();
    }
}

#[test]
fn fault_68_a_lockfile_has_bounds() {
    let mut many = written();
    let packages = many["packages"].as_object_mut().unwrap();
    for number in 0..LOCKED_PACKAGES {
        let package = serde_json::json!({"version": "1.0.0", "integrity": HASH});
        packages.insert(format!("node_modules/p{number}"), package);
    }
    let error = lock(&many).unwrap_err();
    assert_eq!(error.limit(), Some("2000"));
    let long = format!("{{\"x\":\"{}\"}}", "y".repeat(LOCKFILE_BYTES));
    for runtime in [Runtime::Node, Runtime::Python] {
        Lockfile::parse(runtime, &long).unwrap_err();
        Lockfile::parse(runtime, "{}").unwrap_err();
        Lockfile::parse(runtime, "").unwrap_err();
    }
}

proptest! {
    #[test]
    fn nothing_panics(text in "\\PC{0,300}", place in "[a-z/@._-]{0,60}") {
        for runtime in [Runtime::Node, Runtime::Python] {
            prop_assert!(Lockfile::parse(runtime, &text).is_err());
        }
        let mut odd = written();
        odd["packages"][format!("node_modules/{place}")] = serde_json::json!({"version": "1.0.0", "integrity": HASH});
        drop(lock(&odd));
    }
}
