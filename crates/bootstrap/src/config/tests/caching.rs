//! The response cache, Redis and declared tools.

use std::time::Duration;

use super::*;

const DECLARED: &str = "[[tools]]\nname = \"one.tool\"\ndescription = \"One\"\nhandler = \"one.js\"\n\
     [tools.inputSchema]\ntype = \"object\"\n\
     [caching]\nenabled = true\nttl = \"10m\"\nmaxSize = \"8m\"\n\
     [caching.tools]\n\"one.tool\" = 5\nother = \"1m\"\n";

#[test]
fn the_sections_of_a_file_are_read() {
    let loaded = start("--config c.toml", &[])
        .file("c.toml", DECLARED)
        .file("one.js", "return 1;")
        .standalone();
    let cache = &loaded.config.public.cache;
    assert_eq!(cache.ttl, Duration::from_secs(600));
    assert_eq!(cache.max_size.0, 8 << 20);
    assert_eq!(cache.tools.0["one.tool"], Duration::from_secs(5));
    assert_eq!(cache.tools.0["other"], Duration::from_secs(60));
    let tools = loaded.config.declared.tools.as_ref().unwrap();
    assert_eq!(&*tools[0].draft.code, "return 1;");
    let view = &loaded.view;
    assert_eq!(view["tools"], serde_json::json!(["one.tool"]));
    assert_eq!(
        view["caching"]["tools"],
        serde_json::json!(["one.tool=5", "other=60"])
    );
    assert_eq!(view["redis"]["urlSet"], false);
}

#[test]
fn nothing_is_declared_without_a_word() {
    let loaded = start("", &[]).standalone();
    assert!(loaded.config.declared.tools.is_none());
    let json = r#"{"tools": []}"#;
    let loaded = start("--config c.json", &[])
        .file("c.json", json)
        .standalone();
    assert!(loaded.config.declared.tools.unwrap().is_empty());
}

#[test]
fn declared_tools_belong_to_whom_keeps_tools_and_the_cache_to_whom_serves() {
    let gateway = start("--config c.toml", GATEWAY)
        .file("c.toml", DECLARED)
        .file("one.js", "return 1;")
        .refused::<GatewayConfig>();
    assert!(
        gateway.contains("MCP_DECLARED_TOOLS (configuration file: tools): belongs to dynamic-mcp and registry, not to gateway"),
        "{gateway}"
    );
    let registry = start("--config c.toml", INNER)
        .file("c.toml", DECLARED)
        .file("one.js", "return 1;")
        .refused::<RegistryConfig>();
    assert!(
        registry.contains("(configuration file: caching.enabled): belongs to dynamic-mcp and gateway, not to registry"),
        "{registry}"
    );
    assert!(!registry.contains("MCP_DECLARED_TOOLS"), "{registry}");
}

#[test]
fn every_mistake_of_declared_tools_and_of_the_cache_is_named() {
    let text = start(
        "--config c.toml",
        &[
            ("REDIS_URL", "redis://:canary@r/x?y"),
            ("MCP_CACHE_TTL_SECONDS", "0"),
            ("MCP_CACHE_MAX_SIZE", "1"),
        ],
    )
    .file(
        "c.toml",
        &format!("{DECLARED}bad = \"2d\"\n[[tools]]\nname = \"two.tool\"\nhandler = \"two.js\"\n"),
    )
    .refused::<StandaloneConfig>();
    assert!(!text.contains("canary"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_redis_that_cannot_be_meant_is_refused_and_a_risky_one_named() {
    for wrong in [
        "http://r",
        "redis://",
        "redis://r/a",
        "redis://r/1/2",
        "rediss://r/#insecure",
        "redis://r?protocol=resp3",
        "r:6379",
        "redis+unix:///r.sock",
    ] {
        let text = start("", &[("REDIS_URL", wrong)]).refused::<StandaloneConfig>();
        assert!(
            text.contains("REDIS_URL") && text.contains("rediss:// for TLS"),
            "{wrong}: {text}"
        );
    }
    let warned = |variables: &[(&str, &str)]| start("", variables).standalone().warnings.join("\n");
    for fine in [
        "redis://127.0.0.1",
        "redis://:p@[::1]:1/15",
        "rediss://u:p@redis.example:6380/0",
    ] {
        assert_eq!(warned(&[("REDIS_URL", fine)]), "", "{fine}");
    }
    let open = warned(&[("REDIS_URL", "redis://:canary@redis.example")]);
    assert!(
        open.contains("in the clear") && !open.contains("canary"),
        "{open}"
    );
    let unused = warned(&[
        ("REDIS_URL", "redis://127.0.0.1"),
        ("MCP_CACHE_ENABLED", "false"),
    ]);
    assert!(unused.contains("is not used"), "{unused}");
    for url in [None, Some("redis://127.0.0.1")] {
        let url = url.map(|url| ("REDIS_URL", url));
        let variables: Vec<_> = url
            .into_iter()
            .chain([("REDIS_TLS_CA", "ca.pem")])
            .collect();
        let text = start("", &variables).refused::<StandaloneConfig>();
        assert!(text.contains("REDIS_TLS_CA"), "{text}");
    }
}

#[test]
fn the_list_can_stand_in_a_variable() {
    let list = r#"[{"name": "one.tool", "description": "One", "handler": "one.js"}]"#;
    let started = start("", &[("MCP_DECLARED_TOOLS", list)]).file("one.js", "return 1;");
    let declared = started.standalone().config.declared;
    assert_eq!(declared.tools.as_ref().unwrap().len(), 1);
    std::fs::write(started.path().join("one.js"), "return 2;").unwrap();
    let again = declared.read_again().unwrap();
    assert_eq!(&*again.tools.unwrap()[0].draft.code, "return 2;");
}

/// The first block of this language on a page of the docs.
fn block<'a>(page: &'a str, language: &str) -> &'a str {
    let (_, from) = page.split_once(&format!("```{language}\n")).unwrap();
    from.split_once("```").unwrap().0
}

#[test]
fn the_files_on_the_pages_load() {
    let page = include_str!("../../../../../docs/caching.md");
    let cached = start("--config c.toml", &[]).file("c.toml", block(page, "toml"));
    let cached = cached.standalone().config.public.cache;
    assert_eq!(cached.tools.0["news.top"], Duration::ZERO);
    assert_eq!(cached.ttl, Duration::from_secs(3600));

    let page = include_str!("../../../../../docs/declared-tools.md");
    let declared = start("--config c.toml", &[]).file("c.toml", block(page, "toml"));
    std::fs::create_dir(declared.path().join("tools")).unwrap();
    std::fs::write(
        declared.path().join("tools/weather.js"),
        "return args.place",
    )
    .unwrap();
    let tools = declared.standalone().config.declared.tools.unwrap();
    let spec = &tools[0].draft.spec;
    assert_eq!(spec.timeout_ms, 5000);
    assert_eq!(spec.cache.unwrap().scope, domain::tool::CacheScope::Tenant);
}
