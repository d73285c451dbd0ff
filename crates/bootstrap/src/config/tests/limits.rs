use std::time::Duration;

use super::*;

fn limits(start: &Start) -> LimitsConfig {
    start.standalone().config.public.limits
}

fn rate(max_requests: u32, seconds: u64) -> Rate {
    Rate {
        max_requests,
        window: Duration::from_secs(seconds),
    }
}

/// Every form of the file, the ways that the Node server's users write it included.
const FILES: &[(&str, &str)] = &[
    (
        "c.toml",
        "[security.rateLimit]\nglobal = { window = 60000, maxRequests = 1000 }\n\
         [security.rateLimit.perApiKey]\nwindow = \"1m\"\nmaxRequests = 60\n\
         [security.rateLimit.perApiKey.Pro_1]\nwindow = \"1m\"\nmaxRequests = 600\n\
         [security.rateLimit.perTool.\"my.tool\"]\nwindow = \"1h\"\nmaxRequests = 5\n",
    ),
    (
        "c.yaml",
        "security:\n  rate_limit:\n    global: {window: 60000, max_requests: 1000}\n    perApiKey:\n      \
         window: 1m\n      maxRequests: 60\n      Pro_1: {window: 1m, maxRequests: 600}\n    perTool:\n      \
         my.tool: {window: 1h, maxRequests: 5}\n",
    ),
    (
        "c.json",
        r#"{"security":{"rateLimit":{"global":"1000/1m","perApiKey":["60/1m","Pro_1=600/1m"],
            "perTool":{"my":{"tool":{"window":"1h","maxRequests":5}}}}}}"#,
    ),
];

#[test]
fn rates_are_read_from_tables_and_from_variables() {
    for (name, content) in FILES {
        let file = start(&format!("--config {name}"), &[]).file(name, content);
        let read = limits(&file);
        assert_eq!(read.global, Some(rate(1_000, 60)), "{name}");
        assert_eq!(read.callers.any, Some(rate(60, 60)), "{name}");
        assert_eq!(read.callers.of("Pro_1"), Some(rate(600, 60)), "{name}");
        assert_eq!(read.tools.of("my.tool"), Some(rate(5, 3_600)), "{name}");
        assert_eq!((read.tools.any, read.addresses), (None, None), "{name}");
    }
    let variables = start(
        "--rate-limit-per-address 5/1s",
        &[
            ("MCP_RATE_LIMIT_GLOBAL", "1000/60000"),
            ("MCP_RATE_LIMIT_PER_TENANT", "acme=7/1m"),
        ],
    );
    let read = limits(&variables);
    assert_eq!(read.global, Some(rate(1_000, 60)));
    assert_eq!(read.addresses, Some(rate(5, 1)));
    assert_eq!(read.tenants.of("acme"), Some(rate(7, 60)));
    assert_eq!(read.tenants.of("other"), None);
}

#[test]
fn what_is_printed_can_be_loaded_again_and_the_view_has_the_files_shape() {
    let (name, content) = FILES[0];
    let loaded = start("--config c.toml", &[])
        .file(name, content)
        .standalone();
    assert_eq!(loaded.view["security"]["rateLimit"]["global"], "1000/60000");
    let again = start("--config again.toml", &[]).file("again.toml", &loaded.printed);
    let read = limits(&again);
    assert_eq!(read.callers, loaded.config.public.limits.callers);
    assert_eq!(read.tools, loaded.config.public.limits.tools);
    assert_eq!(read.global, Some(rate(1_000, 60)));
}

#[test]
fn a_wrong_rate_is_named() {
    for (content, wanted) in [
        ("global = 1", "is not a rate"),
        (
            "global = { window = 1 }",
            "needs both maxRequests and window",
        ),
        (
            "global = { window = 1, maxRequests = 0 }",
            "a rate allows 1 to",
        ),
        (
            "global = { window = \"2d\", maxRequests = 1 }",
            "is not a duration",
        ),
        (
            "global = { windows = 1, maxRequests = 1 }",
            "neither maxRequests nor window",
        ),
        (
            "global = { pro = { window = 1, maxRequests = 1 } }",
            "has no names",
        ),
        ("perApiKey = { pro = { window = 1 } }", "`pro` needs both"),
        (
            "perApiKey = { \"a b\" = { window = 1, maxRequests = 1 } }",
            "is not a name",
        ),
        ("perKey = { window = 1, maxRequests = 1 }", "is not a key"),
    ] {
        let content = format!("[security.rateLimit]\n{content}\n");
        let text = start("--config c.toml", &[]).file("c.toml", &content);
        let text = text.refused::<StandaloneConfig>();
        assert!(text.contains(wanted), "{content}{text}");
    }
}
