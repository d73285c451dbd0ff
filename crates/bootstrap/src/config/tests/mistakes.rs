use super::*;

#[test]
fn all_mistakes_are_listed_at_once() {
    let many = start(
        "--prot 1 --host --port 70000 --dynamic-max-tools=none --transport pigeon stray \
         --sandbox-memory 1t --sandbox-cpu nan --config missing.toml",
        &[
            ("MCP_TOOL_RATE_WINDOW_MS", "2d"),
            ("MCP_REQUIRE_ADMIN_TOKEN", "maybe"),
            ("LOG_LEVEL", "info,gateway=loud"),
            ("MCP_PATH", "/a b"),
            ("HEALTH_CHECK_PATH", "/metrics"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://collector:4317"),
        ],
    );
    insta::assert_snapshot!(many.refused::<StandaloneConfig>());
}

#[test]
fn a_configuration_file_is_checked_key_by_key() {
    let file = start("--config c.toml", &[]).file(
        "c.toml",
        "[http]\nprot = 1\nport = [1, 2]\nhost = {a = 1}\n[security.rateLimit]\nglobal = 1\n[[tools]]\nname = \"x\"\n[caching]\nenabled = true\n[registry]\nlisten = \"127.0.0.1:1\"\n",
    );
    insta::assert_snapshot!(file.refused::<StandaloneConfig>());
}

#[test]
fn a_file_that_cannot_be_parsed_does_not_show_its_lines() {
    for (name, content) in [
        ("c.toml", "[dynamic]\nadminToken = \"canary\" oops\n"),
        ("c.json", "{\"dynamic\":{\"adminToken\":\"canary\" oops}}"),
        ("c.yaml", "dynamic: {adminToken: \"canary\" oops: [}"),
    ] {
        let text = start(&format!("--config {name}"), &[]).file(name, content);
        let text = text.refused::<StandaloneConfig>();
        assert!(
            text.contains("CONFIG_PATH") && text.contains("line"),
            "{text}"
        );
        assert!(!text.contains("canary"), "{text}");
    }
    let ini = start("--config c.ini", &[])
        .file("c.ini", "")
        .refused::<StandaloneConfig>();
    assert!(ini.contains(".toml, .json, .yaml or .yml"), "{ini}");
}

#[test]
fn keys_of_another_program_are_refused_with_its_name() {
    let mut variables = GATEWAY.to_vec();
    variables.extend([
        ("DOCKER_HOST", "unix:///var/run/docker.sock"),
        ("MCP_DYNAMIC_PG_URL", "postgres://user:canary@db/x"),
        ("MCP_DYNAMIC_STORE", "x.db"),
        ("MCP_EXECUTOR_LISTEN", "127.0.0.1:1"),
        ("MCP_TRANSPORT", "http"),
    ]);
    let text = start("--execution-engine auto", &variables).refused::<GatewayConfig>();
    assert!(!text.contains("canary"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_platforms_port_variable_only_warns_where_it_means_nothing() {
    let mut variables = INNER.to_vec();
    variables.push(("PORT", "1"));
    let loaded = start("", &variables).load::<RegistryConfig>().unwrap();
    assert_eq!(
        loaded.warnings,
        ["the environment variable PORT is not used: it belongs to dynamic-mcp and gateway"]
    );
}

#[test]
fn keys_of_later_versions_are_never_silently_ignored() {
    let text = start("", &[("MCP_EXPERIMENTAL_UPSTREAM_MCP_ATTACH", "true")])
        .refused::<StandaloneConfig>();
    assert!(!text.contains("canary"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn harmless_keys_of_later_versions_start_with_a_warning_or_nothing() {
    let loaded = start(
        "",
        &[
            ("MCP_EXPERIMENTAL_UPSTREAM_MCP_ATTACH", "FALSE"),
            ("MCP_EXPERIMENTAL_UPSTREAM_MCP_ATTACH_MAX", "8"),
        ],
    )
    .standalone();
    insta::assert_debug_snapshot!(loaded.warnings);
}

#[test]
fn settings_of_sessions_and_installs_that_contradict_each_other_do_not_start() {
    let text = start(
        "",
        &[
            ("MCP_SANDBOX_SESSION_TIMEOUT_SECONDS", "3600"),
            ("MCP_SANDBOX_SESSION_LIFETIME_SECONDS", "1800"),
            ("MCP_SANDBOX_NPM_REGISTRY", "ftp://user:canary@npm"),
            ("MCP_SANDBOX_PIP_INDEX", "https://pip/simple?canary"),
            ("MCP_SANDBOX_INSTALL_CACHE_BYTES", "100m"),
        ],
    )
    .refused::<StandaloneConfig>();
    assert!(!text.contains("canary"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn unknown_variables_are_warnings_with_the_nearest_name() {
    let loaded = start(
        "",
        &[
            ("MCP_PROT", "1"),
            ("MCP_XYZZY", "1"),
            ("MCP_ADMIN_TOKEN_FIEL", "x"),
        ],
    )
    .file(".env", "MCP_DYNAMIC_MAX_TOOL=1\n")
    .standalone();
    assert_eq!(
        loaded.warnings,
        [
            "the environment variable MCP_ADMIN_TOKEN_FIEL is unknown and ignored; \
             did you mean MCP_ADMIN_TOKEN_FILE?",
            "the environment variable MCP_DYNAMIC_MAX_TOOL is unknown and ignored; \
             did you mean MCP_DYNAMIC_MAX_TOOLS?",
            "the environment variable MCP_PROT is unknown and ignored; did you mean MCP_PORT?",
            "the environment variable MCP_XYZZY is unknown and ignored",
        ]
    );
}

#[test]
fn secrets_have_rules_of_their_own() {
    let both = start(
        "",
        &[("MCP_ADMIN_TOKEN", "canary"), ("MCP_ADMIN_TOKEN_FILE", "t")],
    );
    let both = both.file("t", "canary").refused::<StandaloneConfig>();
    assert!(
        both.contains("is set twice") && !both.contains("canary"),
        "{both}"
    );
    let missing = start("--admin-token-file none", &[]).refused::<StandaloneConfig>();
    assert!(
        missing.contains("MCP_ADMIN_TOKEN_FILE = `none`"),
        "{missing}"
    );
    let empty = start("--admin-token-file t", &[])
        .file("t", "\n")
        .refused::<StandaloneConfig>();
    assert!(empty.contains("the file is empty"), "{empty}");
    let large = start("--admin-token-file t", &[]).file("t", &"x".repeat(70_000));
    assert!(
        large
            .refused::<StandaloneConfig>()
            .contains("larger than 65536 bytes")
    );
    let example = start("--admin-token Change-Me", &[]).refused::<StandaloneConfig>();
    assert!(example.contains("everybody knows"), "{example}");
    let needed = start("--require-admin-token", &[]).refused::<StandaloneConfig>();
    assert!(
        needed.contains("needs MCP_ADMIN_TOKEN, which is not set"),
        "{needed}"
    );
    let short = start("--admin-token short --require-admin-token", &[]).standalone();
    assert!(
        short.warnings[0].contains("shorter than 32 characters"),
        "{:?}",
        short.warnings
    );
    let key = start("", &[("MCP_INTERNAL_SIGNING_KEY", "canary")]).refused::<GatewayConfig>();
    assert!(
        key.contains("is not PEM text") && !key.contains("canary"),
        "{key}"
    );
}

#[test]
fn anonymous_access_from_outside_must_be_asked_for() {
    for mode in ["auto", "none"] {
        let open = format!("--host 0.0.0.0 --auth-mode {mode}");
        if mode == "none" {
            let text = start(&open, &[]).refused::<StandaloneConfig>();
            assert!(text.contains("MCP_AUTH_ALLOW_ANONYMOUS=true"), "{text}");
        } else {
            let loaded = start(&open, &[]).standalone();
            assert_eq!(loaded.config.public.admission, Admission::FirstKey);
        }
        assert!(
            start(&open, GATEWAY)
                .refused::<GatewayConfig>()
                .contains("MCP_HOST")
        );
        let asked = start(&format!("{open} --auth-allow-anonymous"), &[]).standalone();
        assert_eq!(asked.config.public.admission, Admission::Everyone);
        // Over stdio nobody can connect.
        let piped = start(&format!("{open} --transport stdio"), &[]).standalone();
        assert_eq!(piped.config.public.admission, Admission::Everyone);
    }
    for host in ["localhost", "::1", "127.0.0.2"] {
        let here = start(&format!("--host {host}"), &[]).standalone();
        assert_eq!(here.config.public.admission, Admission::Everyone);
    }
}

#[test]
fn plain_channels_stay_on_this_machine_unless_asked_for() {
    fn each<C: ServiceConfig>(arguments: &str, needs: &[(&str, &str)], name: &str) {
        let text = start(arguments, needs).refused::<C>();
        assert!(
            text.contains(name) && text.contains("MCP_INTERNAL_INSECURE=true"),
            "{text}"
        );
        start(&format!("{arguments} --internal-insecure"), needs)
            .load::<C>()
            .unwrap();
    }
    each::<RegistryConfig>("--registry-listen 0.0.0.0:1", INNER, "MCP_REGISTRY_LISTEN");
    each::<ExecutorConfig>("--executor-listen [::]:1", INNER, "MCP_EXECUTOR_LISTEN");
    each::<ExecutorConfig>(
        "--registry-url http://registry:1",
        INNER,
        "MCP_REGISTRY_URL",
    );
    each::<GatewayConfig>(
        "--registry-url http://registry:1",
        GATEWAY,
        "MCP_REGISTRY_URL",
    );
    let urls = "--executor-urls http://127.0.0.1:1,dns+http://executors:1";
    each::<GatewayConfig>(urls, GATEWAY, "MCP_EXECUTOR_URLS");
    let tls = start("--registry-url https://registry:1", GATEWAY).refused::<GatewayConfig>();
    assert!(tls.contains("no certificate to show"), "{tls}");
}

#[test]
fn services_need_their_keys() {
    let gateway = start("", &[]).refused::<GatewayConfig>();
    assert!(
        gateway.contains("MCP_INTERNAL_SIGNING_KEY: must be set"),
        "{gateway}"
    );
    assert!(
        start("", &[])
            .refused::<RegistryConfig>()
            .contains("MCP_INTERNAL_VERIFY_KEYS")
    );
    assert!(
        start("", &[])
            .refused::<ExecutorConfig>()
            .contains("MCP_INTERNAL_VERIFY_KEYS")
    );
}

#[test]
fn contradictions_between_keys() {
    for (arguments, expected) in [
        (
            "--http-request-timeout-ms 60s",
            "is less than MCP_SANDBOX_MAX_TIMEOUT_MS + 10 s",
        ),
        ("--metrics-port 8788", "is the same as MCP_PORT"),
        ("--path /health", "is also HEALTH_CHECK_PATH"),
        ("--path /livez", "/livez is taken"),
        ("--health-check-path /", "/ is taken"),
    ] {
        let text = start(arguments, &[]).refused::<StandaloneConfig>();
        assert!(text.contains(expected), "{arguments}: {text}");
        assert!(text.contains("1 problem "), "{text}");
    }
    start("--path /", &[]).standalone();
}

#[test]
fn values_at_their_bounds() {
    for key in keys().filter(|key| key.services.contains(Service::Standalone)) {
        let (below, least, most, above) = match key.kind {
            Kind::Integer(min, max) | Kind::Size(min, max) | Kind::Duration(_, min, max) => {
                (min.checked_sub(1), min, max, max + 1)
            }
            _ => continue,
        };
        let flag = &key.flags()[0];
        let named = |value: u64| {
            let start = start(&format!("--{flag} {value}"), &[]);
            match start.load::<StandaloneConfig>() {
                Ok(_) => false,
                // A contradiction with another key is not about the range.
                Err(error) => error
                    .problems
                    .iter()
                    .any(|p| p.message.starts_with("must be")),
            }
        };
        assert!(!named(least) && !named(most), "{} at its bounds", key.name);
        assert!(named(above), "{} above", key.name);
        assert!(below.is_none_or(named), "{} below", key.name);
    }
}

#[test]
fn values_that_are_not_utf8_are_named() {
    let mut odd = start("", &[]);
    odd.environment.unreadable = vec!["MCP_PORT".to_owned(), "HOME".to_owned()];
    let text = odd.refused::<StandaloneConfig>();
    assert!(
        text.contains("MCP_PORT: its value is not valid UTF-8"),
        "{text}"
    );
    assert!(!text.contains("HOME"), "{text}");
}

#[test]
fn a_broken_dotenv_is_an_error() {
    let text = start("", &[])
        .file(".env", "oops")
        .refused::<StandaloneConfig>();
    assert!(text.contains(".env: cannot be read: line 1"), "{text}");
}

#[test]
fn parts_that_contradict_each_other_do_not_start() {
    let text = start(
        "--dynamic-pg-schema Pg_Catalog",
        &[
            ("MCP_DYNAMIC_PG_URL", "mysql://user:canary@db/x"),
            ("MCP_DYNAMIC_BACKEND", "postgres"),
            ("DOCKER_HOST", "ssh://me@far"),
            ("MCP_AUTH_MODE", "jwt"),
            ("MCP_AUTH_JWKS_URL", "http://issuer.example/keys"),
            ("MCP_AUTH_RESOURCE", "ftp://mcp.example/#x"),
            ("MCP_PROFILE", "enterprise"),
            ("MCP_TRANSPORT", "http"),
        ],
    )
    .refused::<StandaloneConfig>();
    assert!(!text.contains("canary"), "{text}");
    insta::assert_snapshot!(text);
    for (name, value) in [
        ("MCP_DYNAMIC_BACKEND", "postgres"),
        ("MCP_DYNAMIC_PG_URL", "postgres://user:canary@db/x"),
        ("MCP_AUTH_MODE", "jwt"),
        ("MCP_AUTH_ISSUER", ""),
    ] {
        let loaded = start("", &[(name, value)]).load::<StandaloneConfig>();
        assert_eq!(loaded.is_err(), !value.is_empty(), "{name}={value}");
    }
}

#[test]
fn tokens_are_asked_for_where_their_keys_are_named() {
    let tokens = [
        ("MCP_AUTH_JWKS_URL", "https://issuer.example/keys"),
        ("MCP_AUTH_ISSUER", "https://issuer.example/"),
        ("MCP_AUTH_AUDIENCE", "dynamic-mcp"),
    ];
    let mut variables = tokens.to_vec();
    variables.push(("MCP_HOST", "0.0.0.0"));
    variables.push(("MCP_TRANSPORT", "http"));
    let loaded = start("", &variables).standalone();
    assert_eq!(loaded.config.public.auth.decided(), AuthMode::Jwt);
    variables.push(("MCP_AUTH_MODE", "none"));
    let text = start("", &variables).refused::<StandaloneConfig>();
    assert!(text.contains("MCP_HOST"), "{text}");
}

#[test]
fn a_database_whose_channel_others_can_read_is_warned_of() {
    for (place, warned) in [
        ("db/x", true),
        ("db/x?sslmode=disable", true),
        ("db/x?sslmode=prefer", true),
        ("db/x?sslmode=require", true),
        ("db/x?sslmode=verify-full", false),
        ("db/x?sslmode=verify-ca", false),
        ("127.0.0.1:5432/x", false),
        ("[::1]/x?sslmode=disable", false),
        ("/x?host=/run/postgresql", false),
    ] {
        let url = format!("postgres://user:canary@{place}");
        let url = url.replace("canary@/", "canary@localhost/");
        let postgres = [
            ("MCP_DYNAMIC_BACKEND", "postgres"),
            ("MCP_DYNAMIC_PG_URL", &*url),
        ];
        let warnings = start("", &postgres).standalone().warnings.join("\n");
        assert_eq!(
            warnings.contains("verify-full"),
            warned,
            "{place}: {warnings}"
        );
        assert!(!warnings.contains("canary"), "{warnings}");
    }
}

#[test]
fn a_secret_that_everybody_may_read_does_not_start() {
    use std::os::unix::fs::PermissionsExt as _;
    let secret = "canary of more than thirty-two characters";
    let start = start("", &[("MCP_ADMIN_TOKEN_FILE", "token")]).file("token", secret);
    let mode = |mode| {
        let rights = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(start.path().join("token"), rights).unwrap();
    };
    for allowed in [0o400, 0o440, 0o600, 0o660] {
        mode(allowed);
        start.standalone();
    }
    for refused in [0o404, 0o644, 0o602, 0o666] {
        mode(refused);
        let text = start.refused::<StandaloneConfig>();
        let named = format!("mode {refused:04o}");
        for part in [
            "MCP_ADMIN_TOKEN_FILE",
            &*named,
            "chmod 600",
            "without a file",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(
            text.contains("1 problem in") && !text.contains("canary"),
            "{text}"
        );
    }
}

#[test]
fn secrets_in_files_of_other_things_are_warned_of_when_everybody_may_read_them() {
    use std::os::unix::fs::PermissionsExt as _;
    let secret = "canary of more than thirty-two characters";
    let toml = format!("[dynamic]\nadminToken = \"{secret}\"\n");
    let dotenv = format!("MCP_ADMIN_TOKEN={secret}\n");
    for (arguments, name, content) in [
        ("--config c.toml", "c.toml", toml),
        ("", ".env", dotenv),
        ("--config c.toml", "c.toml", "[http]\nport = 7\n".to_owned()),
    ] {
        let start = start(arguments, &[]).file(name, &content);
        let warned = |mode| {
            let rights = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(start.path().join(name), rights).unwrap();
            let warnings = start.standalone().warnings.join("\n");
            assert!(!warnings.contains("canary"), "{warnings}");
            warnings.contains("chmod 600") && warnings.contains(name)
        };
        assert!(!warned(0o600), "{name}");
        assert_eq!(warned(0o644), content.contains("canary"), "{name}");
    }
}

#[test]
fn an_admin_token_that_everybody_tries_is_refused_and_a_short_one_warned_of() {
    for known in [
        "change-me",
        "CHANGE_ME",
        "changeme123",
        "admin",
        "Admin-Token",
        "secret",
        "password1",
        "your-token",
        "12345678",
        "---",
        "replace me",
    ] {
        let text = start("", &[("MCP_ADMIN_TOKEN", known)]).refused::<StandaloneConfig>();
        for part in ["MCP_ADMIN_TOKEN", "everybody knows", "openssl rand -hex 32"] {
            assert!(text.contains(part), "{known}: {text}");
        }
    }
    let warnings = |token: &str| {
        start("", &[("MCP_ADMIN_TOKEN", token)])
            .standalone()
            .warnings
    };
    let short = warnings("kJ3-x9q-7Zw").join("\n");
    assert!(
        short.contains("shorter than 32") && !short.contains("kJ3"),
        "{short}"
    );
    assert!(warnings(&"kJ3x9q7Z".repeat(4)).is_empty());
}
