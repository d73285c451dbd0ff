use std::time::Duration;

use super::*;

const TOML: (&str, &str) = ("c.toml", "[http]\nport = 4\n");

fn port(start: &Start) -> u16 {
    start.standalone().config.public.http.port
}

#[test]
fn flags_win_over_environment_over_dotenv_over_file_over_default() {
    let file = ("CONFIG_PATH", "c.toml");
    let all = start("--port 1", &[("MCP_PORT", "2"), file]).file(".env", "MCP_PORT=3");
    assert_eq!(port(&all.file(TOML.0, TOML.1)), 1);
    let no_flag = start("", &[("MCP_PORT", "2"), file]).file(".env", "MCP_PORT=3");
    assert_eq!(port(&no_flag.file(TOML.0, TOML.1)), 2);
    let dotenv = start("", &[file])
        .file(".env", "MCP_PORT=3")
        .file(TOML.0, TOML.1);
    assert_eq!(port(&dotenv), 3);
    assert_eq!(port(&start("", &[file]).file(TOML.0, TOML.1)), 4);
    assert_eq!(port(&start("", &[])), 8788);
}

#[test]
fn the_last_of_repeated_flags_counts() {
    assert_eq!(port(&start("--port 1 --mcp-port=2 --port 3", &[])), 3);
}

#[test]
fn a_variable_set_to_nothing_is_not_set_but_a_list_is_empty() {
    assert_eq!(port(&start("", &[("MCP_PORT", " "), ("PORT", "7")])), 7);
    let policy = |value| {
        let start = start("", &[("MCP_SANDBOX_ALLOWED_IMAGES", value)]);
        start.standalone().config.policy.allowed_images
    };
    assert_eq!(policy(""), [""; 0]);
    assert_eq!(policy(" a , b,, "), ["a", "b"]);
}

#[test]
fn other_names_mean_the_same_and_the_own_name_wins() {
    let loaded = start(
        "",
        &[
            ("PORT", "5"),
            ("MAX_REQUEST_SIZE", "2m"),
            ("REQUEST_TIMEOUT", "200s"),
        ],
    )
    .standalone()
    .config;
    assert_eq!(loaded.public.http.port, 5);
    assert_eq!(loaded.public.http.max_request.0, 2 << 20);
    assert_eq!(loaded.public.request_timeout, Duration::from_secs(200));
    assert_eq!(port(&start("", &[("PORT", "5"), ("MCP_PORT", "6")])), 6);
}

#[test]
fn files_may_be_toml_json_or_yaml_in_either_spelling() {
    for (name, content) in [
        (
            "c.toml",
            "profile = \"enterprise\"\n[http]\nmaxRequestBytes = 99\n[sandbox]\nallowed_images = [\"a\", \"b\"]\n",
        ),
        (
            "c.json",
            r#"{"profile":"enterprise","http":{"max_request_bytes":99},"sandbox":{"allowedImages":["a","b"]}}"#,
        ),
        (
            "c.yaml",
            "profile: enterprise\nhttp:\n  maxRequestBytes: 99\nsandbox:\n  allowedImages: [a, b]\n",
        ),
        (
            "c.yml",
            "profile: enterprise\nhttp: {max_request_bytes: '99'}\nsandbox: {allowedImages: 'a,b'}\n",
        ),
    ] {
        let config = start(&format!("--config {name}"), &[])
            .file(name, content)
            .standalone()
            .config;
        assert_eq!(config.public.profile, Profile::Enterprise, "{name}");
        assert_eq!(config.public.http.max_request.0, 99, "{name}");
        assert_eq!(config.policy.allowed_images, ["a", "b"], "{name}");
    }
    let empty = start("--config c.yaml", &[]).file("c.yaml", "");
    assert_eq!(port(&empty), 8788);
}

#[test]
fn a_secret_may_come_from_a_file_by_variable_flag_or_dotenv() {
    let token = |start: Start| {
        let loaded = start.standalone();
        loaded
            .config
            .public
            .access
            .token
            .unwrap()
            .expose()
            .to_owned()
    };
    let content = "a secret of more than thirty-two characters";
    let line = format!("{content}\n");
    let variable = start("", &[("MCP_ADMIN_TOKEN_FILE", "token")]);
    assert_eq!(token(variable.file("token", &line)), content);
    let flag = start(
        "--admin-token-file token",
        &[("MCP_ADMIN_TOKEN", "another")],
    );
    assert_eq!(token(flag.file("token", &line)), content);
    let dotenv = start("", &[]).file(".env", "MCP_ADMIN_TOKEN_FILE=token\n");
    assert_eq!(token(dotenv.file("token", &line)), content);
}

#[test]
fn the_environment_wins_over_dotenv_for_a_secret_in_a_file_too() {
    let both = start("", &[("MCP_ADMIN_TOKEN_FILE", "token")]).file(".env", "MCP_ADMIN_TOKEN=dev");
    let loaded = both.file("token", "from the file").standalone();
    assert_eq!(
        loaded.config.public.access.token.unwrap().expose(),
        "from the file"
    );
}

#[test]
fn only_standalone_reads_dotenv() {
    let gateway = start("", GATEWAY).file(".env", "MCP_PORT=3\nnonsense");
    assert_eq!(
        gateway
            .load::<GatewayConfig>()
            .unwrap()
            .config
            .public
            .http
            .port,
        8788
    );
}

#[test]
fn a_pem_in_one_line_is_put_into_lines() {
    let one_line = KEY_PEM.replace('\n', "\\n");
    let gateway = start("", &[("MCP_INTERNAL_SIGNING_KEY", &one_line)]);
    let signing = gateway.load::<GatewayConfig>().unwrap().config.signing;
    assert_eq!(signing.key.unwrap().value.expose(), KEY_PEM);
}

#[test]
fn the_request_timeout_follows_the_longest_tool() {
    let config = start("--sandbox-max-timeout-ms 5s", &[]).standalone();
    assert_eq!(
        config.config.public.request_timeout,
        Duration::from_secs(15)
    );
    assert_eq!(config.view["http"]["requestTimeoutMs"], 15_000);
}
