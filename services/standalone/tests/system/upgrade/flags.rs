//! Every variable and every flag of the Node server: known, and meaning what it meant.

use super::{checked, effective, printed};

/// A variable of `src/config/runtime.ts`, its flag, the default there, and another value that both
/// servers take.
struct Setting(&'static str, &'static str, &'static str, &'static str);

/// In the order of the Node server's reference.
const SETTINGS: &[Setting] = &[
    Setting("MCP_PROFILE", "profile", "mvp", "enterprise"),
    Setting("MCP_TRANSPORT", "transport", "stdio", "http"),
    Setting("MCP_HOST", "host", "127.0.0.1", "127.0.0.2"),
    Setting("MCP_PORT", "port", "8788", "9000"),
    Setting("MCP_PATH", "path", "/mcp", "/other"),
    Setting(
        "MCP_HTTP_SESSION_TTL_SECONDS",
        "http-session-ttl-seconds",
        "1800",
        "604800",
    ),
    Setting(
        "MCP_HTTP_MAX_REQUEST_BYTES",
        "http-max-request-bytes",
        "102400",
        "50000",
    ),
    Setting("MCP_DYNAMIC_BACKEND", "dynamic-backend", "file", "file"),
    Setting(
        "MCP_DYNAMIC_STORE",
        "dynamic-store",
        ".dynamic-mcp/tools.json",
        "data/tools.json",
    ),
    Setting("MCP_DYNAMIC_MAX_TOOLS", "dynamic-max-tools", "256", "10000"),
    Setting(
        "MCP_DYNAMIC_READ_ONLY",
        "dynamic-read-only",
        "false",
        "true",
    ),
    Setting(
        "MCP_REQUIRE_ADMIN_TOKEN",
        "require-admin-token",
        "false",
        "true",
    ),
    Setting(
        "MCP_ADMIN_TOKEN",
        "admin-token",
        "",
        "0123456789abcdef0123456789abcdef",
    ),
    Setting(
        "MCP_DYNAMIC_PG_URL",
        "dynamic-pg-url",
        "",
        "postgresql://u:p@h:1/d?sslmode=require",
    ),
    Setting(
        "MCP_DYNAMIC_PG_SCHEMA",
        "dynamic-pg-schema",
        "dynamic_mcp",
        "tools_2",
    ),
    Setting(
        "MCP_DYNAMIC_PG_INIT_MAX_ATTEMPTS",
        "dynamic-pg-init-max-attempts",
        "10",
        "100",
    ),
    Setting(
        "MCP_DYNAMIC_PG_INIT_BACKOFF_MS",
        "dynamic-pg-init-backoff-ms",
        "1000",
        "60000",
    ),
    Setting("MCP_EXECUTION_ENGINE", "execution-engine", "auto", "docker"),
    Setting(
        "MCP_SANDBOX_DOCKER_BIN",
        "docker-bin",
        "docker",
        "/usr/bin/podman",
    ),
    Setting("MCP_SANDBOX_MEMORY_LIMIT", "sandbox-memory", "512m", "1g"),
    Setting("MCP_SANDBOX_CPU_LIMIT", "sandbox-cpu", "1", "0.5"),
    Setting(
        "MCP_SANDBOX_MAX_DEPENDENCIES",
        "sandbox-max-dependencies",
        "32",
        "256",
    ),
    Setting(
        "MCP_SANDBOX_MAX_OUTPUT_BYTES",
        "sandbox-max-output-bytes",
        "200000",
        "10000000",
    ),
    Setting(
        "MCP_SANDBOX_MAX_TIMEOUT_MS",
        "sandbox-max-timeout-ms",
        "120000",
        "300000",
    ),
    Setting(
        "MCP_SANDBOX_ALLOWED_IMAGES",
        "sandbox-allowed-images",
        "node:lts-slim",
        "a:1,b/c:2",
    ),
    Setting(
        "MCP_SANDBOX_BLOCKED_PACKAGES",
        "sandbox-blocked-packages",
        "child_process,node-pty,npm,pm2",
        "one,two",
    ),
    Setting(
        "MCP_SANDBOX_SESSION_TIMEOUT_SECONDS",
        "sandbox-session-timeout-seconds",
        "1800",
        "172800",
    ),
    Setting(
        "MCP_SANDBOX_MAX_SESSIONS",
        "sandbox-max-sessions",
        "20",
        "1000",
    ),
    Setting(
        "MCP_TOOL_MAX_CONCURRENCY",
        "tool-max-concurrency",
        "8",
        "10000",
    ),
    Setting(
        "MCP_TOOL_MAX_CALLS_PER_WINDOW",
        "tool-max-calls-per-window",
        "300",
        "1000000",
    ),
    Setting(
        "MCP_TOOL_RATE_WINDOW_MS",
        "tool-rate-window-ms",
        "60000",
        "86400000",
    ),
    Setting("MCP_AUTH_MODE", "auth-mode", "none", "none"),
    Setting(
        "MCP_AUTH_JWKS_URL",
        "auth-jwks-url",
        "",
        "https://issuer.example/keys",
    ),
    Setting(
        "MCP_AUTH_ISSUER",
        "auth-issuer",
        "",
        "https://issuer.example/",
    ),
    Setting("MCP_AUTH_AUDIENCE", "auth-audience", "", "dynamic-mcp"),
    Setting(
        "MCP_AUTH_REQUIRED_SCOPES",
        "auth-required-scopes",
        "",
        "mcp.invoke,mcp:tools",
    ),
    Setting(
        "MCP_EXPERIMENTAL_UPSTREAM_MCP_ATTACH",
        "experimental-upstream-mcp-attach",
        "false",
        "false",
    ),
    Setting(
        "MCP_EXPERIMENTAL_UPSTREAM_MCP_ATTACH_MAX",
        "experimental-upstream-mcp-attach-max",
        "8",
        "256",
    ),
    Setting("MCP_AUDIT_ENABLED", "audit-enabled", "false", "true"),
    Setting(
        "MCP_AUDIT_FILE",
        "audit-file",
        ".dynamic-mcp/audit.log",
        "data/audit.log",
    ),
    Setting(
        "MCP_AUDIT_MAX_EVENT_BYTES",
        "audit-max-event-bytes",
        "20000",
        "1000000",
    ),
    Setting(
        "MCP_AUDIT_MAX_FILE_BYTES",
        "audit-max-file-bytes",
        "10000000",
        "1000000000",
    ),
    Setting("MCP_AUDIT_MAX_FILES", "audit-max-files", "5", "100"),
];

/// Whose default is another now. The document has a line on each.
const OTHER_DEFAULTS: &[&str] = &[
    "MCP_TRANSPORT",
    "MCP_HTTP_MAX_REQUEST_BYTES",
    "MCP_DYNAMIC_BACKEND",
    "MCP_DYNAMIC_STORE",
    "MCP_SANDBOX_DOCKER_BIN",
    "MCP_SANDBOX_ALLOWED_IMAGES",
    "MCP_AUTH_MODE",
];

/// Whose parts come later: known, and not in the effective configuration.
const LATER: &[&str] = &[
    "MCP_EXPERIMENTAL_UPSTREAM_MCP_ATTACH",
    "MCP_EXPERIMENTAL_UPSTREAM_MCP_ATTACH_MAX",
];

/// What a value needs beside it.
fn beside(variable: &str) -> &'static [(&'static str, &'static str)] {
    match variable {
        "MCP_REQUIRE_ADMIN_TOKEN" => &[("MCP_ADMIN_TOKEN", "0123456789abcdef0123456789abcdef")],
        "MCP_DYNAMIC_PG_URL" => &[("MCP_DYNAMIC_BACKEND", "postgres")],
        "MCP_AUTH_JWKS_URL" => &[("MCP_AUTH_ISSUER", "i"), ("MCP_AUTH_AUDIENCE", "a")],
        _ => &[],
    }
}

/// A list is printed as one.
fn plain(printed: &str) -> String {
    let listed = printed.trim_matches(['[', ']']).replace(['"', ' '], "");
    listed.strip_suffix(".0").unwrap_or(&listed).to_owned()
}

#[tokio::test]
async fn every_variable_is_known_and_does_what_it_did() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(SETTINGS.len(), 43);
    for Setting(variable, _, _, value) in SETTINGS {
        let mut env = vec![(*variable, *value)];
        env.extend(beside(variable));
        let ended = effective(folder.path(), &[], &env).await;
        assert!(!ended.err.contains("unknown"), "{variable}: {}", ended.err);
        if LATER.contains(variable) {
            continue;
        }
        let got = plain(&printed(&ended, variable));
        let secret = ["MCP_ADMIN_TOKEN", "MCP_DYNAMIC_PG_URL"].contains(variable);
        let wanted = if secret { "***" } else { *value };
        assert_eq!(got, plain(wanted), "{variable}");
    }
    // The platform's own name for the port, after ours.
    let ended = effective(folder.path(), &[], &[("PORT", "9001")]).await;
    assert_eq!(printed(&ended, "MCP_PORT"), "9001");
    let both = [("PORT", "9001"), ("MCP_PORT", "9002")];
    assert_eq!(
        printed(&effective(folder.path(), &[], &both).await, "MCP_PORT"),
        "9002"
    );
}

#[tokio::test]
async fn every_flag_is_known_in_both_forms_and_wins_over_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    for Setting(variable, flag, default, value) in SETTINGS {
        let (name, joined) = (format!("--{flag}"), format!("--{flag}={value}"));
        for arguments in [vec![name.as_str(), *value], vec![joined.as_str()]] {
            let mut env = beside(variable).to_vec();
            if !default.is_empty() && *variable != "MCP_AUDIT_ENABLED" {
                env.push((*variable, *default));
            }
            let ended = effective(folder.path(), &arguments, &env).await;
            if !LATER.contains(variable) && !value.contains("://") && *flag != "admin-token" {
                let got = plain(&printed(&ended, variable));
                assert_eq!(got, plain(value), "{arguments:?}");
            }
        }
    }
    // A flag without a value is on.
    let ended = effective(
        folder.path(),
        &["--dynamic-read-only", "--port", "9003"],
        &[],
    )
    .await;
    assert_eq!(printed(&ended, "MCP_DYNAMIC_READ_ONLY"), "true");
    assert_eq!(printed(&ended, "MCP_PORT"), "9003");
}

#[tokio::test]
async fn a_default_is_the_old_one_or_has_a_line_in_the_document() {
    let folder = tempfile::tempdir().unwrap();
    let ended = effective(folder.path(), &[], &[]).await;
    for Setting(variable, _, default, _) in SETTINGS {
        if LATER.contains(variable) {
            continue;
        }
        let same = plain(&printed(&ended, variable)) == plain(default);
        assert_eq!(
            same,
            !OTHER_DEFAULTS.contains(variable),
            "{variable}: {default:?}"
        );
    }
    let enterprise = [("MCP_PROFILE", "enterprise")];
    let ended = effective(folder.path(), &[], &enterprise).await;
    assert_eq!(printed(&ended, "MCP_AUDIT_ENABLED"), "true");
}

/// The admin token is required by default for enterprise over HTTP with tokens, as it was.
#[tokio::test]
async fn the_admin_token_is_required_where_it_was() {
    let jwt = [
        ("MCP_PROFILE", "enterprise"),
        ("MCP_TRANSPORT", "http"),
        ("MCP_AUTH_MODE", "jwt"),
        ("MCP_AUTH_JWKS_URL", "https://issuer.example/keys"),
        ("MCP_AUTH_ISSUER", "https://issuer.example/"),
        ("MCP_AUTH_AUDIENCE", "dynamic-mcp"),
    ];
    checked(&[], &jwt).await.assert(78, &["MCP_ADMIN_TOKEN"]);
    for (at, other) in [(0, "mvp"), (1, "stdio"), (2, "none")] {
        let mut env = jwt;
        env[at].1 = other;
        checked(&[], &env).await.assert(0, &[]);
    }
    let off = [&jwt[..], &[("MCP_REQUIRE_ADMIN_TOKEN", "false")]].concat();
    checked(&[], &off).await.assert(0, &[]);
}
