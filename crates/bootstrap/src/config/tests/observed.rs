use super::*;

const SENTRY: &str = "https://thekey@o1.example.com/42";

#[test]
fn where_traces_and_reports_go_is_checked_and_never_shown() {
    let ok = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318/base"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20canary"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ("SENTRY_DSN", SENTRY),
        ("LOG_FILE", "x.log"),
    ];
    let loaded = start("", &ok).standalone();
    let telemetry = &loaded.config.process.telemetry;
    assert_eq!(telemetry.otlp_protocol, OtlpProtocol::HttpProtobuf);
    assert_eq!(telemetry.sampler, Sampler::ParentRatio);
    assert!((telemetry.sampler_share - 0.25).abs() < 1e-9);
    let shown = format!("{}{}", loaded.printed, loaded.view);
    assert!(
        !shown.contains("canary") && !shown.contains("thekey"),
        "{shown}"
    );
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://canary@collector"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "canary"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("SENTRY_DSN", "canary"),
        ("SENTRY_DSN", "https://canary.example.com/1"),
        ("LOG_MAX_FILE_BYTES", "1"),
        ("LOG_MAX_FILES", "0"),
    ] {
        let text = start("", &[(name, value)]).refused::<StandaloneConfig>();
        assert!(text.contains(name) && text.contains("fix:"), "{text}");
        let is_secret = !matches!(name, "OTEL_EXPORTER_OTLP_ENDPOINT");
        assert!(!is_secret || !text.contains("canary"), "{text}");
    }
}

#[test]
fn only_the_inner_services_have_a_token_for_profiles() {
    let with = |token: &'static str| [INNER, &[("MCP_PROFILING_TOKEN", token)]].concat();
    let long = "a-token-of-more-than-thirty-two-characters";
    let config = start("", &with(long))
        .load::<RegistryConfig>()
        .unwrap()
        .config;
    assert_eq!(
        config.profile_token().map(crate::Secret::expose),
        Some(long)
    );
    let config = start("", INNER).load::<ExecutorConfig>().unwrap().config;
    assert!(config.profile_token().is_none());
    for weak in ["canary", "change-me"] {
        let text = start("", &with(weak)).refused::<ExecutorConfig>();
        assert!(
            text.contains("MCP_PROFILING_TOKEN") && !text.contains("canary"),
            "{text}"
        );
    }
    let text = start("", &[("MCP_PROFILING_TOKEN", long)]).refused::<StandaloneConfig>();
    assert!(
        text.contains("registry and executor") || text.contains("registry"),
        "{text}"
    );
    let config = start("", &[("MCP_ADMIN_TOKEN", long)]).standalone().config;
    assert_eq!(
        config.profile_token().map(crate::Secret::expose),
        Some(long)
    );
}
